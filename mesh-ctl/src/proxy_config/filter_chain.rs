//! What a filter chain matches and where it sends traffic, in a few words.

use serde_json::Value;

use super::dump::{entries, number, text, texts};

/// ALPN of plain HTTP, which is shown as one word.
const PLAIN_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// What a chain matches: `ALL`, `Addr: *:9080`, `Trans: tls; App: istio`, `SNI: …`.
pub fn matching(chain: &Value) -> String {
    let found = chain.get("filter_chain_match").unwrap_or(&Value::Null);
    let mut parts = Vec::new();
    let names = texts(found, &["server_names"]);
    if !names.is_empty() {
        parts.push(format!("SNI: {}", names.join(",")));
    }
    let transport = text(found, &["transport_protocol"]);
    if !transport.is_empty() {
        parts.push(format!("Trans: {transport}"));
    }
    let protocols = texts(found, &["application_protocols"]);
    if !protocols.is_empty() {
        let plain = protocols.iter().all(|protocol| PLAIN_HTTP.contains(protocol));
        let shown = if plain { "HTTP".to_owned() } else { protocols.join(",") };
        parts.push(format!("App: {shown}"));
    }
    parts.extend(addresses(found));
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

fn addresses(found: &Value) -> Option<String> {
    let port = number(found, &["destination_port"]).map(|port| format!(":{port}"));
    let ranges: Vec<String> = entries(found, &["prefix_ranges"])
        .iter()
        .map(|range| {
            let address = text(range, &["address_prefix"]);
            let length = number(range, &["prefix_len"]).unwrap_or(0);
            let whole = length == if address.contains(':') { 128 } else { 32 };
            if whole { address.to_owned() } else { format!("{address}/{length}") }
        })
        .collect();
    match (ranges.is_empty(), port) {
        (true, None) => None,
        (true, Some(port)) => Some(format!("Addr: *{port}")),
        (false, port) => Some(format!("Addr: {}{}", ranges.join(","), port.unwrap_or_default())),
    }
}

/// Where a chain sends traffic: `Route: 9080`, `Cluster: outbound|…`, `PassthroughCluster`,
/// `Inline Route: /*`, `Non-HTTP/Non-TCP`.
pub fn destination(chain: &Value) -> String {
    let manager = filters(chain).find(|filter| is(filter, "HttpConnectionManager"));
    if let Some(manager) = manager {
        return of_manager(manager);
    }
    match filters(chain).find(|filter| is(filter, "TcpProxy")) {
        Some(proxy) => of_tcp_proxy(proxy),
        None => "Non-HTTP/Non-TCP".to_owned(),
    }
}

/// Whether the chain is for HTTP.
pub fn is_http(chain: &Value) -> bool {
    filters(chain).any(|filter| is(filter, "HttpConnectionManager"))
}

/// Whether the chain is for connections.
pub fn is_tcp(chain: &Value) -> bool {
    filters(chain).any(|filter| is(filter, "TcpProxy"))
}

fn filters(chain: &Value) -> impl Iterator<Item = &Value> {
    entries(chain, &["filters"]).iter().filter_map(|filter| filter.get("typed_config"))
}

fn is(filter: &Value, message: &str) -> bool {
    text(filter, &["@type"]).rsplit('.').next() == Some(message)
}

fn of_manager(manager: &Value) -> String {
    let name = text(manager, &["rds", "route_config_name"]);
    if !name.is_empty() {
        return format!("Route: {name}");
    }
    let hosts = entries(manager, &["route_config", "virtual_hosts"]);
    let routes: Vec<&Value> = hosts.iter().flat_map(|host| entries(host, &["routes"])).collect();
    if let [route] = routes.as_slice() {
        let cluster = text(route, &["route", "cluster"]);
        if !cluster.is_empty() {
            return cluster_words(cluster);
        }
    }
    let matches: Vec<String> = routes.into_iter().map(route_match).collect();
    format!("Inline Route: {}", matches.join(", "))
}

fn of_tcp_proxy(proxy: &Value) -> String {
    let weighted = entries(proxy, &["weighted_clusters", "clusters"]);
    if weighted.is_empty() {
        return cluster_words(text(proxy, &["cluster"]));
    }
    let parts: Vec<String> = weighted
        .iter()
        .map(|cluster| {
            let weight = number(cluster, &["weight"]).unwrap_or(0);
            format!("{} ({weight})", text(cluster, &["name"]))
        })
        .collect();
    format!("Clusters: {}", parts.join(", "))
}

/// The mesh's own clusters are known by name.
fn cluster_words(name: &str) -> String {
    if name.ends_with("Cluster") { name.to_owned() } else { format!("Cluster: {name}") }
}

/// What a route matches: `/*`, `/login`, `regex ^/a$`.
pub fn route_match(route: &Value) -> String {
    let found = route.get("match").unwrap_or(&Value::Null);
    let path = if let Some(prefix) = found.get("prefix").and_then(Value::as_str) {
        format!("{prefix}*")
    } else if let Some(prefix) = found.get("path_separated_prefix").and_then(Value::as_str) {
        format!("PathPrefix:{prefix}")
    } else if let Some(path) = found.get("path").and_then(Value::as_str) {
        path.to_owned()
    } else {
        match text(found, &["safe_regex", "regex"]) {
            "" => "/*".to_owned(),
            regex => format!("regex {regex}"),
        }
    };
    let headers: Vec<&str> =
        entries(found, &["headers"]).iter().map(|header| text(header, &["name"])).collect();
    if headers.is_empty() { path } else { format!("{path} [{}]", headers.join(",")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_in_words() {
        let cases = [
            (json!({}), "ALL"),
            (json!({"destination_port": 9080}), "Addr: *:9080"),
            (
                json!({"transport_protocol": "tls",
                    "application_protocols": ["istio", "istio-peer-exchange"]}),
                "Trans: tls; App: istio,istio-peer-exchange",
            ),
            (
                json!({"transport_protocol": "raw_buffer",
                    "application_protocols": ["http/1.1", "h2c"]}),
                "Trans: raw_buffer; App: HTTP",
            ),
            (json!({"server_names": ["a.example", "b.example"]}), "SNI: a.example,b.example"),
            (
                json!({"prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32},
                    {"address_prefix": "fd00::", "prefix_len": 8}], "destination_port": 443}),
                "Addr: 10.0.0.1,fd00::/8:443",
            ),
        ];
        for (found, words) in cases {
            assert_eq!(matching(&json!({"filter_chain_match": found})), words);
        }
        assert_eq!(matching(&json!({})), "ALL");
    }

    #[test]
    fn destinations_in_words() {
        let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let cases = [
            (json!({"@type": manager, "rds": {"route_config_name": "9080"}}), "Route: 9080"),
            (
                json!({"@type": manager, "route_config": {"virtual_hosts": [{"routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "inbound|9080||"}}]}]}}),
                "Cluster: inbound|9080||",
            ),
            (
                json!({"@type": manager, "route_config": {"virtual_hosts": [{"routes": [
                    {"match": {"prefix": "/healthz"}}, {"match": {"path": "/a"}}]}]}}),
                "Inline Route: /healthz*, /a",
            ),
            (json!({"@type": proxy, "cluster": "PassthroughCluster"}), "PassthroughCluster"),
            (json!({"@type": proxy, "cluster": "outbound|1||a"}), "Cluster: outbound|1||a"),
            (
                json!({"@type": proxy, "weighted_clusters": {"clusters": [
                    {"name": "a", "weight": 80}, {"name": "b", "weight": 20}]}}),
                "Clusters: a (80), b (20)",
            ),
            (json!({"@type": "type.googleapis.com/x.Other"}), "Non-HTTP/Non-TCP"),
        ];
        for (config, words) in cases {
            let chain = json!({"filters": [{"typed_config": config}]});
            assert_eq!(destination(&chain), words);
        }
    }
}
