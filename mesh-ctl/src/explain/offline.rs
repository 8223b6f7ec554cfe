//! A decision made from a saved config dump, by the code that decides in the proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_api::pool::from_json;
use mesh_api::type_url::TypeUrl;
use proxy_model::explain::{explain as explain_capture, explain_listener};
use proxy_model::facts::{ConnFacts, DetectedTransport, RequestHead};
use proxy_model::stage::{Stage, Upsert};
use serde_json::Value;

use super::{Protocol, Question, Request, Trail};
use crate::error::Error;
use crate::proxy_config::dump::{Dump, text};

/// Ports that captured connections arrive at.
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
/// An application of the pod, as far as its connections are concerned.
const APPLICATION: SocketAddr = SocketAddr::new(SOMEWHERE, 40000);
/// Some address, where only the port decides.
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The decision, and the resources of the dump that cannot be used.
///
/// # Errors
/// When nothing in the dump says which address the host has, or a header is none.
pub fn explain(dump: &Dump, request: &Request) -> Result<(Trail, Vec<String>), Error> {
    let question = &request.question;
    let ip = if question.inbound { SOMEWHERE } else { address(dump, request)? };
    let destination = SocketAddr::new(ip, request.port);
    let mut stage = Stage::default();
    let mut left_out = Vec::new();
    for (ty, resources, key) in [
        (TypeUrl::Cluster, dump.clusters(), "name"),
        (TypeUrl::Endpoint, dump.endpoints(), "cluster_name"),
        (TypeUrl::Listener, dump.listeners(), "name"),
        (TypeUrl::Route, dump.routes(), "name"),
    ] {
        let mut upserts = Vec::new();
        for resource in resources {
            let name = text(resource, &[key]);
            match packed(&ty, resource) {
                Ok(body) => upserts.push(Upsert {
                    name: name.into(),
                    version: "dump".into(),
                    aliases: Vec::new(),
                    body: body.into(),
                }),
                Err(reason) => left_out.push(format!("{ty} {name}: {reason}")),
            }
        }
        let applied = stage.apply(&ty, upserts, &[], Duration::ZERO);
        let rejected = applied.rejected.into_iter();
        left_out
            .extend(rejected.map(|one| format!("{}: {}: {}", one.resource, one.path, one.reason)));
    }
    let snapshot = stage.publish(Duration::ZERO);
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let wrong = || Error::Usage(format!("--header {name}:{value} is no header"));
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        headers.append(name, HeaderValue::try_from(value).map_err(|_| wrong())?);
    }
    let facts = facts(question, destination);
    let authority = request.authority();
    let head = RequestHead {
        method: &question.method,
        scheme: if question.sni.is_some() { "https" } else { "http" },
        authority: &authority,
        path: &question.path,
        headers: &headers,
        is_grpc: question.protocol == Protocol::Grpc,
    };
    let head = (question.protocol != Protocol::Tcp).then_some(&head);
    // What comes in, and what comes to a gateway, comes to a socket of its own.
    let port = if question.inbound { facts.local.port() } else { destination.port() };
    let mut bound = snapshot.bound_listeners();
    let trail = match bound.find(|held| held.addresses().any(|at| at.port() == port)) {
        Some(listener) => explain_listener(&snapshot, listener, &facts, head),
        None => explain_capture(&snapshot, &facts, head),
    };
    let trail = serde_json::to_value(&trail).and_then(serde_json::from_value);
    let trail = trail.map_err(|error| Error::Failed(format!("cannot read the trail: {error}")))?;
    Ok((trail, left_out))
}

/// What is known of the connection.
fn facts(question: &Question, destination: SocketAddr) -> ConnFacts {
    let mut facts = ConnFacts::plain(destination, question.source.unwrap_or(APPLICATION));
    facts.local = SocketAddr::new(SOMEWHERE, if question.inbound { INBOUND } else { OUTBOUND });
    match &question.sni {
        Some(name) => {
            facts.transport = DetectedTransport::Tls;
            facts.server_name = Some(name.to_ascii_lowercase().into());
        }
        None => {
            facts.application_protocols = match question.protocol {
                Protocol::Http => vec!["http/1.1".into()],
                Protocol::Http2 | Protocol::Grpc => vec!["h2c".into()],
                Protocol::Tcp => Vec::new(),
            };
        }
    }
    facts
}

fn packed(ty: &TypeUrl, resource: &Value) -> Result<Vec<u8>, String> {
    let mut resource = resource.clone();
    if let Value::Object(fields) = &mut resource {
        fields.entry("@type").or_insert_with(|| ty.as_str().into());
    }
    from_json(&resource).map(|any| any.value).map_err(|error| error.to_string())
}

/// The address of the host: itself, that of a listener which leads to it, or any where one
/// listener takes the port at all addresses.
fn address(dump: &Dump, request: &Request) -> Result<IpAddr, Error> {
    if let Ok(address) = request.host.parse() {
        return Ok(address);
    }
    let port = request.port;
    let listeners = dump.listeners();
    let own = listeners.iter().find_map(|listener| {
        let (ip, named) = text(listener, &["name"]).rsplit_once('_')?;
        let ip: IpAddr = ip.parse().ok()?;
        let fits = named == port.to_string() && !ip.is_unspecified();
        (fits && leads_to(listener, port, &request.host)).then_some(ip)
    });
    let any = || {
        let name = format!("0.0.0.0_{port}");
        listeners.iter().any(|listener| text(listener, &["name"]) == name).then_some(SOMEWHERE)
    };
    own.or_else(any).ok_or_else(|| {
        Error::Failed(format!(
            "no listener of the dump leads to {}; name an address instead of the host",
            request.authority()
        ))
    })
}

/// Whether a cluster `outbound|<port>|…|<host>` is named anywhere in a listener; the host may be
/// the service's name, with or without its namespace.
fn leads_to(value: &Value, port: u16, host: &str) -> bool {
    match value {
        Value::String(name) => {
            let mut parts = name.split('|');
            parts.next() == Some("outbound")
                && parts.next().is_some_and(|found| found == port.to_string())
                && parts.nth(1).is_some_and(|found| {
                    found == host || found.strip_prefix(host).is_some_and(|r| r.starts_with('.'))
                })
        }
        Value::Array(items) => items.iter().any(|item| leads_to(item, port, host)),
        Value::Object(fields) => fields.values().any(|field| leads_to(field, port, host)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::question;
    use super::super::{Outcome, words};
    use super::*;

    fn dump() -> Dump {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "a", "rds": {"route_config_name": "9080", "config_source": {"ads": {}}},
            "http_filters": [{"name": "router", "typed_config": {"@type":
                "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]});
        let tcp = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "b", "cluster": "outbound|3306||db.shop.svc.cluster.local"});
        let listener = |ip: &str, port: u16, filter: &Value| {
            let name = format!("{ip}_{port}");
            json!({"name": name, "active_state": {"listener": {
                "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                "name": name, "bind_to_port": false,
                "address": {"socket_address": {"address": ip, "port_value": port}},
                "filter_chains": [{"name": "c", "filters": [{"name": "f", "typed_config": filter}]}]}}})
        };
        let section = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
        let route = json!({"route_config": {"name": "9080", "virtual_hosts": [
            {"name": "reviews:9080", "domains": ["reviews", "reviews:9080"], "routes": [
                {"name": "jason", "match": {"prefix": "/", "headers": [{"name": "end-user",
                    "string_match": {"exact": "jason"}}]}, "route": {"cluster": "v2"}},
                {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "v1"}}]}]}});
        let endpoints = json!({"endpoint_config": {"cluster_name": "v2", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address":
                {"address": "10.0.0.9", "port_value": 9080}}}}]}]}});
        let dump = json!({"configs": [
            {"@type": section("Clusters"), "dynamic_active_clusters": [
                {"cluster": {"name": "v1", "type": "EDS"}}, {"cluster": {"name": "v2", "type": "EDS"}},
                {"cluster": {"name": "outbound|3306||db.shop.svc.cluster.local", "type": "EDS"}},
                {"cluster": {"name": "odd", "no_such_field": 1}}]},
            {"@type": section("Endpoints"), "dynamic_endpoint_configs": [endpoints]},
            {"@type": section("Listeners"), "dynamic_listeners": [
                listener("0.0.0.0", 9080, &manager), listener("10.96.0.7", 3306, &tcp)]},
            {"@type": section("Routes"), "dynamic_route_configs": [route]}]});
        Dump::parse(dump.to_string().as_bytes(), "a dump").unwrap()
    }

    fn told(to: &str, header: &str) -> Result<String, String> {
        let request = Request::new(question(to, "/", header)).unwrap();
        let (trail, _) = explain(&dump(), &request).map_err(|error| error.to_string())?;
        Ok(words(&request, &trail))
    }

    #[test]
    fn a_dump_decides_as_the_proxy_would() {
        let text = told("reviews:9080", "end-user: jason").unwrap();
        assert!(text.contains("route         jason") && text.contains("10.0.0.9:9080"), "{text}");
        let text = told("reviews:9080", "a: b").unwrap();
        assert!(text.contains("=> forwarded to v1"), "{text}");
        let text = told("nobody:9080", "a: b").unwrap();
        assert!(text.contains("answers 404: no virtual host"), "{text}");
    }

    #[test]
    fn a_host_is_found_by_the_listener_that_leads_to_it() {
        for host in ["db.shop", "db.shop.svc.cluster.local", "db", "10.96.0.7"] {
            let text = told(&format!("{host}:3306"), "a: b").unwrap();
            assert!(text.contains("10.96.0.7_3306"), "{host}: {text}");
        }
        let error = told("other:3306", "a: b").unwrap_err();
        assert!(error.contains("no listener of the dump leads to other:3306"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let request = Request::new(question("10.0.0.1:1", "/", "a: b")).unwrap();
        let (trail, left_out) = explain(&dump(), &request).unwrap();
        assert!(matches!(trail.outcome, Outcome::Refused { .. }), "{trail:?}");
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert!(left_out[0].contains("odd"), "{left_out:?}");
    }
}
