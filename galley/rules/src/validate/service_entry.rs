//! ServiceEntry: hosts, addresses, ports, and endpoints as the resolution allows.

use std::collections::BTreeSet;

use mesh_api::crd::service_entry::{Location, Resolution};
use mesh_api::crd::{Object, ServiceEntrySpec};
use mesh_api::port::Protocol;

use super::check::At;
use super::common::{export_to, selector, unique};
use super::{Validate, text, workload};

impl Validate for ServiceEntrySpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let resolution = spec.resolution.unwrap_or_default();
        let select = spec.workload_selector.as_ref();
        at.error_if(
            select.is_some() && !spec.endpoints.is_empty(),
            "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
        );
        selector(select.map(|one| &one.labels), &mut at.field("workloadSelector").field("labels"));
        hosts(spec, resolution, &mut at.field("hosts"));
        addresses(spec, resolution, &mut at.field("addresses"));
        ports(spec, &mut at.field("ports"));
        match resolution {
            Resolution::None => none(spec, at),
            Resolution::Static => endpoints(spec, false, at),
            Resolution::Dns | Resolution::DnsRoundRobin => dns(spec, resolution, at),
            Resolution::DynamicDns => dynamic_dns(spec, at),
        }
        mixtures(spec, resolution, at);
        let own = object.metadata.namespace.as_deref().unwrap_or_default();
        export_to(own, &spec.export_to, true, &mut at.field("exportTo"));
    }
}

fn protocol_of(port: &mesh_api::crd::service_entry::ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or_default()
}

fn opaque(port: &mesh_api::crd::service_entry::ServicePort) -> bool {
    let name = protocol_of(port);
    name.is_empty() || Protocol::named(name) == Protocol::Tcp
}

fn hosts(spec: &ServiceEntrySpec, resolution: Resolution, at: &mut At<'_>) {
    at.error_if(spec.hosts.is_empty(), "service entry must have at least one host");
    for (index, host) in spec.hosts.iter().enumerate() {
        let mut at = at.index(index);
        // Full wildcards are a mesh-wide trap: everything unknown would go there.
        if host == "*" {
            at.error("invalid host *");
            continue;
        }
        let partial = host.starts_with('*') && !host.starts_with("*.");
        let inner = host.get(1..).is_some_and(|rest| rest.contains('*'));
        if partial || inner {
            at.warn_if(
                resolution != Resolution::DynamicDns,
                "partial wildcard is discouraged: only names with the whole first label as \
                 wildcard are matched reliably",
            );
            let plain = host.replace('*', "x");
            at.require(text::wildcard(&plain));
        } else {
            at.require(text::wildcard(host));
        }
    }
}

fn addresses(spec: &ServiceEntrySpec, resolution: Resolution, at: &mut At<'_>) {
    for (index, address) in spec.addresses.iter().enumerate() {
        let mut at = at.index(index);
        at.require(text::ip_or_cidr(address));
        at.error_if(
            address.contains('/') && !matches!(resolution, Resolution::None | Resolution::Static),
            "CIDR addresses are allowed only for NONE/STATIC resolution types",
        );
    }
}

fn ports(spec: &ServiceEntrySpec, at: &mut At<'_>) {
    unique(spec.ports.iter().map(|port| port.name.as_str()), "service entry port name", at);
    let mut numbers = BTreeSet::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let mut at = at.index(index);
        if !numbers.insert(port.number) {
            at.field("number").error(format!("port {} is already defined", port.number));
        }
        at.field("number").require(text::port(port.number));
        at.field("name").require(text::dns_label(&port.name));
        if let Some(target) = port.target_port.filter(|target| *target != 0) {
            at.field("targetPort").require(text::port(target));
        }
        let name = protocol_of(port);
        if !name.is_empty() && Protocol::named(name) == Protocol::Unsupported {
            at.field("protocol").error(format!("unsupported protocol: {name:?}"));
        }
        if spec.addresses.is_empty() && opaque(port) {
            at.field("protocol").warn(
                "addresses are required for ports serving TCP (or unset) protocol when ISTIO_META_DNS_AUTO_ALLOCATE is not set on a proxy",
            );
        }
    }
}

fn none(spec: &ServiceEntrySpec, at: &mut At<'_>) {
    at.field("endpoints").error_if(
        !spec.endpoints.is_empty(),
        "no endpoints should be provided for resolution type none",
    );
    at.field("workloadSelector").warn_if(
        spec.workload_selector.is_some(),
        "workloadSelector should not be set when resolution mode is NONE",
    );
}

fn endpoints(spec: &ServiceEntrySpec, names: bool, at: &mut At<'_>) {
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let mut at = at.field("endpoints");
        let mut at = at.index(index);
        workload::entry(endpoint, names, &mut at);
        let socket = endpoint.address.as_deref().unwrap_or_default().starts_with("unix://");
        at.error_if(
            socket && spec.ports.len() != 1,
            "exactly 1 service port required for unix endpoints",
        );
        for name in endpoint.ports.keys() {
            if !spec.ports.iter().any(|port| port.name == *name) {
                at.field("ports")
                    .error(format!("endpoint port {name:?} is not defined by the service entry"));
            }
        }
    }
}

fn dns(spec: &ServiceEntrySpec, resolution: Resolution, at: &mut At<'_>) {
    if spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        for (index, host) in spec.hosts.iter().enumerate() {
            at.field("hosts").index(index).require(text::fqdn(host).map_err(|why| {
                format!(
                    "hosts must be FQDN if no endpoints are provided for resolution mode DNS: {why}"
                )
            }));
        }
    }
    if resolution == Resolution::DnsRoundRobin {
        at.field("endpoints").error_if(
            spec.endpoints.len() > 1,
            "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN",
        );
        at.field("hosts").warn_if(
            spec.endpoints.is_empty() && spec.hosts.len() > 1,
            "only the first host is resolved for resolution mode DNS_ROUND_ROBIN",
        );
    }
    endpoints(spec, true, at);
}

fn dynamic_dns(spec: &ServiceEntrySpec, at: &mut At<'_>) {
    for (index, host) in spec.hosts.iter().enumerate() {
        at.field("hosts").index(index).error_if(
            !host.starts_with('*'),
            "hosts must be wildcard for resolution mode DYNAMIC_DNS",
        );
    }
    at.field("addresses").error_if(
        !spec.addresses.is_empty(),
        "no addresses should be provided for resolution mode DYNAMIC_DNS",
    );
    at.field("endpoints").error_if(
        !spec.endpoints.is_empty() || spec.workload_selector.is_some(),
        "no endpoints should be provided for resolution mode DYNAMIC_DNS",
    );
    for (index, port) in spec.ports.iter().enumerate() {
        let protocol = Protocol::named(protocol_of(port));
        let carries_names = protocol.is_http() || protocol.is_tls();
        at.field("ports").index(index).field("protocol").error_if(
            !carries_names,
            "only HTTP, HTTP2, GRPC, HTTPS and TLS are supported for resolution mode DYNAMIC_DNS",
        );
    }
}

/// Several hosts cannot be told apart on a port whose protocol names none.
fn mixtures(spec: &ServiceEntrySpec, resolution: Resolution, at: &mut At<'_>) {
    if spec.hosts.len() < 2 || resolution == Resolution::None {
        return;
    }
    let named = |port: &mesh_api::crd::service_entry::ServicePort| {
        let protocol = Protocol::named(protocol_of(port));
        protocol.is_http() || protocol.is_tls()
    };
    if spec.ports.iter().all(named) {
        return;
    }
    let dns = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if dns && !spec.addresses.is_empty() && spec.ports.iter().any(opaque) {
        at.field("hosts").warn("addresses of all hosts go to the endpoints of each on TCP ports");
    }
    at.field("hosts").error_if(
        spec.location.unwrap_or_default() == Location::MeshExternal || dns,
        "multiple hosts provided with non-HTTP, non-TLS ports",
    );
}
