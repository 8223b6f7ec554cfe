//! WorkloadEntry and WorkloadGroup, and endpoints of service entries.

use mesh_api::crd::workload_group::{HttpHealthCheck, ReadinessProbe};
use mesh_api::crd::{Object, WorkloadEntrySpec, WorkloadGroupSpec};

use super::check::At;
use super::common::labels;
use super::{Validate, text};

impl Validate for WorkloadEntrySpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        entry(&object.spec, true, at);
    }
}

impl Validate for WorkloadGroupSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        if let Some(metadata) = &spec.metadata {
            labels(&metadata.labels, &mut at.field("metadata").field("labels"));
        }
        template(&spec.template.0, &mut at.field("template"));
        if let Some(settings) = &spec.probe {
            probe(settings, &mut at.field("probe"));
        }
    }
}

/// A workload of its own or an endpoint of a service; `names` says whether its address may be a
/// DNS name.
pub(super) fn entry(entry: &WorkloadEntrySpec, names: bool, at: &mut At<'_>) {
    let address = entry.address.as_deref().unwrap_or_default();
    let remote = entry.network.as_deref().is_some_and(|network| !network.is_empty());
    if address.is_empty() {
        match remote {
            true => at.warn("address is unset with network: the gateways of the network are used"),
            false => at.field("address").error("address must be set"),
        }
    } else if let Some(path) = address.strip_prefix("unix://") {
        at.field("address").require(text::unix_socket(path));
        at.field("ports")
            .error_if(!entry.ports.is_empty(), "unix domain socket endpoint cannot have ports");
    } else if text::ip(address).is_err() {
        match names {
            true => at.field("address").require(text::fqdn(address)),
            false => at.field("address").require(text::ip(address)),
        }
    }
    template(entry, at);
}

fn template(entry: &WorkloadEntrySpec, at: &mut At<'_>) {
    for (name, port) in &entry.ports {
        let mut at = at.field("ports");
        let mut at = at.key(name);
        at.require(text::dns_label(name));
        at.require(text::port(*port));
    }
    labels(&entry.labels, &mut at.field("labels"));
}

fn probe(probe: &ReadinessProbe, at: &mut At<'_>) {
    let methods = [
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.exec.is_some(),
        probe.grpc.is_some(),
    ];
    at.error_if(
        !methods.contains(&true),
        "health check method is missing: set httpGet, tcpSocket, exec or grpc",
    );
    if let Some(check) = &probe.http_get {
        http_check(check, &mut at.field("httpGet"));
    }
    if let Some(check) = &probe.tcp_socket {
        at.field("tcpSocket").field("port").require(text::port(check.port));
    }
    if let Some(check) = &probe.grpc {
        let port = check.port.unwrap_or_default();
        at.field("grpc").field("port").require(text::port(port));
    }
    if let Some(check) = &probe.exec {
        at.field("exec").field("command").error_if(check.command.is_empty(), "must not be empty");
    }
}

fn http_check(check: &HttpHealthCheck, at: &mut At<'_>) {
    at.field("port").require(text::port(check.port));
    if let Some(path) = check.path.as_deref().filter(|path| !path.is_empty()) {
        at.field("path").error_if(!path.starts_with('/'), "must begin with /");
    }
    let scheme = check.scheme.as_deref().unwrap_or_default();
    let known = ["", "HTTP", "HTTPS"].contains(&scheme);
    at.field("scheme").error_if(!known, "scheme must be one of [HTTP, HTTPS]");
    for (index, header) in check.http_headers.iter().enumerate() {
        let mut at = at.field("httpHeaders");
        let name = header.name.as_deref().unwrap_or_default();
        at.index(index).field("name").require(text::strict_header(name));
    }
}
