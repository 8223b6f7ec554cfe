//! VirtualService: hosts, gateways and which routes may stand beside each other.

mod http;
mod l4;
mod modify;
mod reach;

use mesh_api::crd::{Object, VirtualServiceSpec};

use super::Validate;
use super::check::At;
use super::common::export_to;
use super::text;

/// What routes of an object apply to.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// Sidecars.
    mesh: bool,
    /// Hosts of the object.
    hosts: &'a [String],
}

impl Validate for VirtualServiceSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == "mesh");
        let scope = Scope { mesh, hosts: &spec.hosts };
        if spec.hosts.is_empty() {
            delegate(spec, at);
        } else {
            gateways(&spec.gateways, &mut at.field("gateways"));
            hosts(spec, mesh, &mut at.field("hosts"));
        }
        at.error_if(
            spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty(),
            "http, tcp or tls must be provided in virtual service",
        );
        let is_delegate = spec.hosts.is_empty();
        for (index, route) in spec.http.iter().enumerate() {
            http::route(route, scope, is_delegate, &mut at.field("http").index(index));
        }
        for (index, route) in spec.tls.iter().enumerate() {
            l4::tls_route(route, scope, &mut at.field("tls").index(index));
        }
        for (index, route) in spec.tcp.iter().enumerate() {
            l4::tcp_route(route, &mut at.field("tcp").index(index));
        }
        let own = object.metadata.namespace.as_deref().unwrap_or_default();
        export_to(own, &spec.export_to, false, &mut at.field("exportTo"));
        if at.is_valid() {
            reach::check(spec, at);
        }
    }
}

fn delegate(spec: &VirtualServiceSpec, at: &mut At<'_>) {
    let why = "must be empty: a virtual service without hosts is a delegate of another";
    at.field("gateways").error_if(!spec.gateways.is_empty(), why);
    at.field("tls").error_if(!spec.tls.is_empty(), why);
    at.field("tcp").error_if(!spec.tcp.is_empty(), why);
    if spec.http.is_empty() {
        at.field("hosts").error("virtual service must have at least one host");
    }
}

fn hosts(spec: &VirtualServiceSpec, mesh: bool, at: &mut At<'_>) {
    let gateway = spec.gateways.iter().any(|name| name != "mesh");
    for (index, host) in spec.hosts.iter().enumerate() {
        let mut place = at.index(index);
        if host == "*" && mesh {
            place.error(
                "wildcard host * is not allowed for virtual services bound to the mesh gateway",
            );
        }
        if text::ip(host).is_err() && !(gateway && is_sni_name(host)) {
            place.require(text::wildcard(host));
        }
        if let Some(other) =
            spec.hosts[..index].iter().find(|other| text::hosts_overlap(host, other))
        {
            place.error(format!("duplicate hosts in virtual service: {host} & {other}"));
        }
    }
}

/// Names such as `outbound_.80_.v1_.reviews.default.svc.cluster.local`.
fn is_sni_name(host: &str) -> bool {
    let mut parts = host.splitn(4, "_.");
    let head = parts.next() == Some("outbound");
    let port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
    let subset = parts.next().is_some();
    head && port && subset && parts.next().is_some_and(|host| text::wildcard(host).is_ok())
}

/// Names of gateways: `name` or `namespace/name`.
fn gateways(names: &[String], at: &mut At<'_>) {
    for (index, name) in names.iter().enumerate() {
        let mut at = at.index(index);
        let parts: Vec<_> = name.split('/').collect();
        match parts.as_slice() {
            [""] => at.error("gateway name cannot be empty"),
            [one] if one.contains('.') => {
                at.warn(format!(
                    "using legacy gatewayname: use <namespace>/<name> instead of {one:?}"
                ));
                at.require(text::fqdn(one));
            }
            [one] => at.require(text::dns_label(one)),
            [namespace, name] => {
                if *namespace != "." {
                    at.require(text::dns_label(namespace));
                }
                at.require(text::dns_label(name));
            }
            _ => at.error(format!("{name:?} is neither <name> nor <namespace>/<name>")),
        }
    }
}
