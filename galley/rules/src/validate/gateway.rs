//! Gateway: selectors, servers, ports, hosts and TLS.

use mesh_api::crd::gateway::{Server, ServerTlsMode};
use mesh_api::crd::{GatewaySpec, Object};
use mesh_api::port::Protocol;

use super::check::At;
use super::common::{selector, unique};
use super::{Validate, text, tls};

impl Validate for GatewaySpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            at.require(text::dns_label(name).map_err(|why| format!("invalid gateway name: {why}")));
        }
        let spec = &object.spec;
        if !spec.selector.is_empty() {
            selector(Some(&spec.selector), &mut at.field("selector"));
        }
        let mut at = at.field("servers");
        at.error_if(spec.servers.is_empty(), "gateway must have at least one server");
        let names = spec.servers.iter().map(|server| server.port.name.as_str());
        unique(names, "port name in gateway", &mut at);
        for (index, one) in spec.servers.iter().enumerate() {
            server(one, &mut at.index(index));
        }
    }
}

fn server(server: &Server, at: &mut At<'_>) {
    at.field("hosts")
        .error_if(server.hosts.is_empty(), "server config must contain at least one host");
    for (index, host) in server.hosts.iter().enumerate() {
        gateway_host(host, &mut at.field("hosts").index(index));
    }
    let port = &server.port;
    let bind = server.bind.as_deref().unwrap_or_default();
    if let Some(path) = bind.strip_prefix("unix://") {
        at.field("bind").require(text::unix_socket(path));
        at.field("port").field("number").error_if(
            port.number != 0,
            "port number must be 0 for unix domain socket: it is not used",
        );
    } else {
        if !bind.is_empty() {
            at.field("bind").require(text::ip(bind));
        }
        at.field("port").field("number").require(text::port(port.number));
    }
    at.field("port").field("name").error_if(port.name.is_empty(), "port name must be set");
    at.field("port")
        .field("targetPort")
        .error_if(port.target_port.unwrap_or_default() > 0, "targetPort has no impact on Gateways");
    let protocol = Protocol::named(&port.protocol);
    if protocol == Protocol::Unsupported {
        at.field("port").field("protocol").error(format!(
            "invalid protocol {:?}, supported protocol list can be found in the \
                Gateway reference: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, TCP, TLS",
            port.protocol
        ));
    }
    server_tls(server, protocol, at);
}

fn server_tls(server: &Server, protocol: Protocol, at: &mut At<'_>) {
    let Some(settings) = &server.tls else {
        at.error_if(protocol.is_tls(), "server must have TLS settings for HTTPS/TLS protocols");
        return;
    };
    let mut at = at.field("tls");
    tls::server(settings, &mut at);
    let redirects = settings.https_redirect == Some(true);
    at.field("httpsRedirect").warn_if(
        redirects && protocol != Protocol::Http,
        "httpsRedirect should only be used with http servers",
    );
    if protocol == Protocol::Http {
        let secrets = settings.credential_name.is_some()
            || !settings.credential_names.is_empty()
            || settings.server_certificate.is_some()
            || settings.mode.is_some_and(|mode| mode != ServerTlsMode::Passthrough);
        at.error_if(
            secrets,
            "server cannot have TLS settings for plain text HTTP ports, except httpsRedirect",
        );
    } else if !protocol.is_tls() && protocol != Protocol::Unsupported {
        at.error("server cannot have TLS settings for non HTTPS/TLS ports");
    }
}

/// `[namespace/]host`, where the host is a name, a wildcard, or `*`.
fn gateway_host(host: &str, at: &mut At<'_>) {
    let name = match host.split_once('/') {
        Some((namespace, name)) => {
            if !["*", "."].contains(&namespace) {
                at.require(text::dns_label(namespace));
            }
            name
        }
        None => host,
    };
    if name != "*" && !name.contains('.') {
        at.error(format!("short names (non FQDN) are not allowed: {name:?}"));
    }
    if text::ip(name).is_err() {
        at.require(text::wildcard(name));
    }
}
