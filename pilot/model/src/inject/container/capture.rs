//! What sets up capture, or checks it where a CNI plugin has set it up.

use mesh_api::annotations as keys;
use mesh_api::annotations::env as names;
use serde_json::{Map, Value, json};

use super::env;
use super::{PROXY_ID, from_values, image, log_output_level};
use crate::inject::facts::Facts;
use crate::inject::{INIT_CONTAINER, VALIDATION_CONTAINER};

/// Ports of the proxy itself, which are never captured.
const OWN_PORTS: [u16; 2] = [15090, 15021];

/// What is captured.
struct Capture {
    include_ranges: String,
    exclude_ranges: String,
    include_inbound: String,
    exclude_inbound: String,
    include_outbound: String,
    exclude_outbound: String,
    reroute_interfaces: String,
    exclude_interfaces: String,
}

impl Capture {
    fn of(facts: &Facts<'_>) -> Self {
        let values = &facts.values().global.proxy;
        let annotation = |key: &str, default: &str| {
            facts.annotations.raw(key).unwrap_or(default).trim().to_owned()
        };
        let excluded =
            annotation(keys::EXCLUDE_INBOUND_PORTS, &values.exclude_inbound_ports.to_string());
        let rerouted = annotation(keys::KUBEVIRT_INTERFACES, "");
        Self {
            include_ranges: annotation(keys::INCLUDE_OUTBOUND_IP_RANGES, &values.include_ip_ranges),
            exclude_ranges: annotation(keys::EXCLUDE_OUTBOUND_IP_RANGES, &values.exclude_ip_ranges),
            include_inbound: annotation(
                keys::INCLUDE_INBOUND_PORTS,
                &values.include_inbound_ports.to_string(),
            ),
            exclude_inbound: never_captured(facts.status_port, &excluded),
            include_outbound: annotation(
                keys::INCLUDE_OUTBOUND_PORTS,
                &values.include_outbound_ports.to_string(),
            ),
            exclude_outbound: annotation(
                keys::EXCLUDE_OUTBOUND_PORTS,
                &values.exclude_outbound_ports.to_string(),
            ),
            reroute_interfaces: annotation(keys::REROUTE_VIRTUAL_INTERFACES, &rerouted),
            exclude_interfaces: annotation(keys::EXCLUDE_INTERFACES, ""),
        }
    }

    fn args(&self, facts: &Facts<'_>) -> Vec<String> {
        let mesh = facts.mesh;
        let mode = env::mode(facts.mode);
        let mut args: Vec<String> = ["init", "-p"].map(str::to_owned).to_vec();
        args.push(mesh.proxy_listen_port.to_string());
        args.extend(["-z".to_owned(), mesh.proxy_inbound_listen_port.to_string()]);
        args.extend(["-u".to_owned(), PROXY_ID.to_string(), "-m".to_owned(), mode.to_owned()]);
        for (flag, value) in [
            ("-i", &self.include_ranges),
            ("-x", &self.exclude_ranges),
            ("-b", &self.include_inbound),
            ("-d", &self.exclude_inbound),
        ] {
            args.extend([flag.to_owned(), value.clone()]);
        }
        for (flag, value) in [
            ("-q", &self.include_outbound),
            ("-o", &self.exclude_outbound),
            ("-k", &self.reroute_interfaces),
            ("-c", &self.exclude_interfaces),
        ] {
            if !value.is_empty() {
                args.extend([flag.to_owned(), value.clone()]);
            }
        }
        let dns = facts.proxy.proxy_metadata.get(names::META_DNS_CAPTURE);
        if dns.is_some_and(|value| value == "true") {
            args.push("--redirect-dns".to_owned());
        }
        args.push(log_output_level(facts));
        if facts.values().global.log_as_json {
            args.push("--log_as_json".to_owned());
        }
        args
    }
}

/// The proxy's own ports and the user's, each once.
fn never_captured(status_port: u16, user: &str) -> String {
    let own = OWN_PORTS.into_iter().chain((status_port != 0).then_some(status_port));
    let mut ports: Vec<String> = own.map(|port| port.to_string()).collect();
    for port in user.split(',').map(str::trim).filter(|port| !port.is_empty()) {
        if !ports.iter().any(|other| other == port) {
            ports.push(port.to_owned());
        }
    }
    ports.join(",")
}

/// The container that runs before all others.
pub(in crate::inject) fn container(facts: &Facts<'_>) -> Value {
    let global = &facts.values().global;
    let cni = facts.values().cni();
    let mut args = Capture::of(facts).args(facts);
    if cni {
        args.extend(["--run-validation", "--skip-rule-apply"].map(str::to_owned));
    }
    let mut container = Map::new();
    let mut set = |field: &str, value: Value| container.insert(field.to_owned(), value);
    set("name", if cni { VALIDATION_CONTAINER } else { INIT_CONTAINER }.into());
    let name = match global.proxy_init.image.as_str() {
        "" => &global.proxy.image,
        name => name,
    };
    set("image", image(facts, name).into());
    if !global.image_pull_policy.is_empty() {
        set("imagePullPolicy", global.image_pull_policy.clone().into());
    }
    set("args", json!(args));
    let own = global.proxy_init.resources.as_ref();
    if let Some(resources) = from_values(own.unwrap_or(&global.proxy.resources)) {
        set("resources", resources);
    }
    let mut context = if cni {
        json!({"capabilities": {"drop": ["ALL"]}, "runAsGroup": PROXY_ID, "runAsNonRoot": true,
               "runAsUser": PROXY_ID})
    } else {
        json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
               "runAsGroup": 0, "runAsNonRoot": false, "runAsUser": 0})
    };
    context["allowPrivilegeEscalation"] = false.into();
    context["privileged"] = false.into();
    context["readOnlyRootFilesystem"] = true.into();
    if let Some(profile) = &global.proxy.seccomp_profile {
        context["seccompProfile"] = profile.clone();
    }
    set("securityContext", context);
    Value::Object(container)
}

/// What a CNI plugin reads from the pod.
pub(in crate::inject) fn recorded(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let capture = Capture::of(facts);
    let mut all = vec![
        (keys::SIDECAR_INTERCEPTION_MODE, env::mode(facts.mode).to_owned()),
        (keys::INCLUDE_OUTBOUND_IP_RANGES, capture.include_ranges),
        (keys::EXCLUDE_OUTBOUND_IP_RANGES, capture.exclude_ranges),
        (keys::INCLUDE_INBOUND_PORTS, capture.include_inbound),
        (keys::EXCLUDE_INBOUND_PORTS, capture.exclude_inbound),
    ];
    for (key, value) in [
        (keys::INCLUDE_OUTBOUND_PORTS, capture.include_outbound),
        (keys::EXCLUDE_OUTBOUND_PORTS, capture.exclude_outbound),
    ] {
        if !value.is_empty() {
            all.push((key, value));
        }
    }
    all
}
