//! Sidecar: ingress and egress listeners, and what may be left out.

use std::collections::BTreeSet;

use mesh_api::crd::common::SidecarPort;
use mesh_api::crd::gateway::{ServerTlsMode, ServerTlsSettings};
use mesh_api::crd::sidecar::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficMode,
    OutboundTrafficPolicy,
};
use mesh_api::crd::{Object, SidecarSpec};
use mesh_api::port::Protocol;

use super::check::At;
use super::common::{destination, selector};
use super::destination_rule::connection_pool;
use super::{Validate, text, tls};

impl Validate for SidecarSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let select = spec.workload_selector.as_ref().map(|select| &select.labels);
        selector(select, &mut at.field("workloadSelector").field("labels"));
        at.error_if(
            spec.ingress.is_empty()
                && spec.egress.is_empty()
                && spec.outbound_traffic_policy.is_none()
                && spec.inbound_connection_pool.is_none(),
            "sidecar: empty configuration provided",
        );
        let mut numbers = BTreeSet::new();
        for (index, listener) in spec.ingress.iter().enumerate() {
            let mut at = at.field("ingress");
            let mut at = at.index(index);
            if !numbers.insert(listener.port.number) {
                at.field("port").error("sidecar: ports on ingress listener must be unique");
            }
            ingress(listener, &mut at);
        }
        egress_listeners(&spec.egress, &mut at.field("egress"));
        if let Some(policy) = &spec.outbound_traffic_policy {
            outbound(policy, &mut at.field("outboundTrafficPolicy"));
        }
        if let Some(pool) = &spec.inbound_connection_pool {
            connection_pool(pool, &mut at.field("inboundConnectionPool"));
        }
    }
}

fn protocol(port: &SidecarPort) -> Protocol {
    Protocol::named(port.protocol.as_deref().unwrap_or_default())
}

fn port(port: &SidecarPort, number_used: bool, at: &mut At<'_>) {
    let number = port.number.unwrap_or_default();
    if number_used {
        at.field("number").require(text::port(number));
    } else {
        at.field("number").error_if(number != 0, "must be 0 for a unix domain socket");
    }
    at.field("targetPort")
        .error_if(port.target_port.unwrap_or_default() > 0, "targetPort has no impact on Sidecars");
    let name = port.protocol.as_deref().unwrap_or_default();
    if !name.is_empty() && Protocol::named(name) == Protocol::Unsupported {
        at.field("protocol").error(format!("invalid protocol {name:?}"));
    }
}

fn ingress(listener: &IstioIngressListener, at: &mut At<'_>) {
    port(&listener.port, true, &mut at.field("port"));
    if let Some(bind) = listener.bind.as_deref().filter(|bind| !bind.is_empty()) {
        at.field("bind").require(text::ip(bind));
    }
    if let Some(endpoint) = listener.default_endpoint.as_deref().filter(|text| !text.is_empty()) {
        at.field("defaultEndpoint").require(default_endpoint(endpoint));
    }
    if let Some(settings) = &listener.tls {
        let tls_port = protocol(&listener.port).is_tls();
        at.field("tls")
            .error_if(!tls_port, "server cannot have TLS settings for non HTTPS/TLS ports");
        ingress_tls(settings, &mut at.field("tls"));
    }
    if let Some(pool) = &listener.connection_pool {
        at.field("connectionPool").warn_if(
            pool.http.is_some() && !protocol(&listener.port).is_http(),
            "sidecar: HTTP connection pool settings are configured for port of non-HTTP protocol",
        );
        connection_pool(pool, &mut at.field("connectionPool"));
    }
}

fn ingress_tls(settings: &ServerTlsSettings, at: &mut At<'_>) {
    tls::server(settings, at);
    let unused = [
        ("subjectAltNames", !settings.subject_alt_names.is_empty()),
        ("httpsRedirect", settings.https_redirect == Some(true)),
        ("credentialName", settings.credential_name.as_deref().is_some_and(|n| !n.is_empty())),
        ("credentialNames", !settings.credential_names.is_empty()),
        ("tlsCertificates", !settings.tls_certificates.is_empty()),
    ];
    for (field, set) in unused {
        at.field(field).error_if(set, "is not supported by sidecars");
    }
    let mode = settings.mode.unwrap_or_default();
    at.field("mode").error_if(
        matches!(mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough),
        "ISTIO_MUTUAL and AUTO_PASSTHROUGH are not supported by sidecars",
    );
}

fn default_endpoint(endpoint: &str) -> Result<(), String> {
    if let Some(path) = endpoint.strip_prefix("unix://") {
        return text::unix_socket(path);
    }
    let wrong = || {
        format!(
            "{endpoint:?} is neither 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT nor unix://PATH"
        )
    };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(wrong)?;
    let number = port.parse().map_err(|_| wrong())?;
    text::port(number)?;
    match ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"].contains(&host) {
        true => Ok(()),
        false => Err(wrong()),
    }
}

fn egress_listeners(listeners: &[IstioEgressListener], at: &mut At<'_>) {
    let mut binds = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let last = index + 1 == listeners.len();
        let mut at = at.index(index);
        let bind = listener.bind.as_deref().unwrap_or_default();
        let socket = bind.strip_prefix("unix://");
        match (&listener.port, socket) {
            (None, None) => at.error_if(
                !last,
                "sidecar: the egress listener with empty port should be the last listener in the list",
            ),
            (None, Some(_)) => at.field("port").error("is required with a unix domain socket"),
            (Some(given), socket) => port(given, socket.is_none(), &mut at.field("port")),
        }
        if let Some(path) = socket {
            at.field("bind").require(text::unix_socket(path));
            at.field("captureMode").error_if(
                listener.capture_mode == Some(CaptureMode::Iptables),
                "must be DEFAULT or NONE for a unix domain socket",
            );
        } else if !bind.is_empty() {
            at.field("bind").require(text::ip(bind));
        }
        let number = listener.port.as_ref().and_then(|port| port.number);
        if listener.port.is_some() && !binds.insert((bind, number)) {
            at.error("sidecar: egress listeners must have unique bind and port");
        }
        egress_hosts(listener, &mut hosts, &mut at.field("hosts"));
    }
}

fn egress_hosts<'a>(
    listener: &'a IstioEgressListener,
    seen: &mut BTreeSet<(Option<u32>, &'a str)>,
    at: &mut At<'_>,
) {
    at.error_if(
        listener.hosts.is_empty(),
        "sidecar: egress listener must contain at least one host",
    );
    let everything = listener.hosts.iter().any(|host| host == "*/*");
    at.warn_if(everything && listener.hosts.len() > 1, "`*/*` makes the other hosts redundant");
    let number = listener.port.as_ref().and_then(|port| port.number);
    for (index, host) in listener.hosts.iter().enumerate() {
        let mut at = at.index(index);
        if !seen.insert((number, host.as_str())) {
            at.warn(format!("duplicate host {host}"));
        }
        let Some((namespace, name)) = host.split_once('/') else {
            at.error(format!("{host:?} must be of form namespace/dnsName"));
            continue;
        };
        if !["*", ".", "~"].contains(&namespace) {
            at.require(text::dns_label(namespace));
        }
        at.require(text::wildcard(name));
    }
}

fn outbound(policy: &OutboundTrafficPolicy, at: &mut At<'_>) {
    let Some(proxy) = &policy.egress_proxy else { return };
    at.error_if(
        policy.mode.unwrap_or_default() != OutboundTrafficMode::AllowAny,
        "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode",
    );
    let mut at = at.field("egressProxy");
    at.field("port").error_if(proxy.port.is_none(), "sidecar: egress_proxy must specify a port");
    destination(proxy, &mut at);
}
