//! TLS and TCP routes.

use mesh_api::crd::virtual_service::{RouteDestination, TcpRoute, TlsRoute};

use super::Scope;
use crate::validate::check::At;
use crate::validate::common::{destination, labels};
use crate::validate::text;

/// A rule for connections that are routed by server name.
pub(super) fn tls_route(route: &TlsRoute, scope: Scope<'_>, at: &mut At<'_>) {
    at.error_if(route.match_.is_empty(), "TLS route must have at least one match condition");
    for (index, condition) in route.match_.iter().enumerate() {
        let mut at = at.field("match");
        let mut at = at.index(index);
        at.field("sniHosts")
            .error_if(condition.sni_hosts.is_empty(), "TLS match must have at least one SNI host");
        for (index, host) in condition.sni_hosts.iter().enumerate() {
            sni_host(host, scope, &mut at.field("sniHosts").index(index));
        }
        subnets(&condition.destination_subnets, &mut at.field("destinationSubnets"));
        if let Some(port) = condition.port {
            at.field("port").require(text::port(port));
        }
        labels(&condition.source_labels, &mut at.field("sourceLabels"));
        super::gateways(&condition.gateways, &mut at.field("gateways"));
        namespace(condition.source_namespace.as_deref(), &mut at);
    }
    destinations(&route.route, "TLS route is required", at);
}

/// A rule for opaque connections.
pub(super) fn tcp_route(route: &TcpRoute, at: &mut At<'_>) {
    for (index, condition) in route.match_.iter().enumerate() {
        let mut at = at.field("match");
        let mut at = at.index(index);
        subnets(&condition.destination_subnets, &mut at.field("destinationSubnets"));
        if let Some(subnet) = condition.source_subnet.as_deref().filter(|text| !text.is_empty()) {
            at.field("sourceSubnet").require(text::ip_or_cidr(subnet));
        }
        if let Some(port) = condition.port {
            at.field("port").require(text::port(port));
        }
        labels(&condition.source_labels, &mut at.field("sourceLabels"));
        super::gateways(&condition.gateways, &mut at.field("gateways"));
        namespace(condition.source_namespace.as_deref(), &mut at);
    }
    destinations(&route.route, "TCP route is required", at);
}

fn sni_host(host: &str, scope: Scope<'_>, at: &mut At<'_>) {
    if text::ip(host).is_ok() {
        at.warn(format!("using an IP address ({host:?}) goes against SNI spec and most clients do not support this"));
    } else {
        at.require(text::wildcard(host));
    }
    if !scope.hosts.iter().any(|of_object| text::covers(of_object, host)) {
        at.error(format!(
            "SNI host {host:?} is not a compatible subset of any of the virtual service hosts: [{}]",
            scope.hosts.join(", ")
        ));
    }
}

fn subnets(subnets: &[String], at: &mut At<'_>) {
    for (index, subnet) in subnets.iter().enumerate() {
        at.index(index).require(text::ip_or_cidr(subnet));
    }
}

fn namespace(namespace: Option<&str>, at: &mut At<'_>) {
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        at.field("sourceNamespace").require(text::dns_label(namespace));
    }
}

fn destinations(destinations: &[RouteDestination], missing: &str, at: &mut At<'_>) {
    let mut at = at.field("route");
    at.error_if(destinations.is_empty(), missing);
    let mut total = 0_i64;
    for (index, one) in destinations.iter().enumerate() {
        let mut at = at.index(index);
        destination(&one.destination, &mut at.field("destination"));
        let weight = one.weight.unwrap_or_default();
        if weight < 0 {
            at.field("weight").error(format!("weight {weight} < 0"));
        }
        total += i64::from(weight);
    }
    at.error_if(total == 0 && destinations.len() > 1, "total destination weight = 0");
}
