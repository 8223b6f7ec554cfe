//! HTTP connection managers, TCP proxies and access logs.

use mesh_api::crd::destination_rule::TrafficPolicy;
use mesh_api::mesh_config::{AccessLogEncoding, MeshConfig, Normalization};
use serde_json::{Value, json};

use super::document::{duration, set, typed_struct, url};
use crate::class::Class;
use crate::proxy::Dialect;
use crate::snapshot::Snapshot;

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const MANAGER_TYPE: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY_TYPE: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
/// Istio's access log line.
const LOG_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
    %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
    %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% \
    %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" \
    %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
    %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Which way the traffic of a listener goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// From clients to the workload.
    Inbound,
    /// From the workload to services.
    Outbound,
    /// From outside the mesh to services.
    Gateway,
}

/// An HTTP connection manager as a network filter; `route` is its `rds` or `route_config`.
pub(crate) fn manager(
    snapshot: &Snapshot,
    class: &Class,
    side: Side,
    stat_prefix: &str,
    route: (&str, Value),
) -> Value {
    let mut config = json!({
        "@type": url(MANAGER_TYPE),
        "stat_prefix": stat_prefix,
        "http_filters": filters(class, side),
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "stream_idle_timeout": "0s",
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "use_remote_address": side == Side::Gateway,
    });
    normalise(&mut config, snapshot.mesh.path_normalization.normalization);
    config[route.0] = route.1;
    match side {
        Side::Inbound => {
            config["server_name"] = "istio-envoy".into();
            config["forward_client_cert_details"] = "APPEND_FORWARD".into();
            config["set_current_client_cert_details"] =
                json!({ "subject": true, "dns": true, "uri": true });
        }
        Side::Gateway => {
            config["server_name"] = "istio-envoy".into();
            config["forward_client_cert_details"] = "SANITIZE_SET".into();
            config["set_current_client_cert_details"] =
                json!({ "subject": true, "cert": true, "dns": true, "uri": true });
        }
        Side::Outbound => {}
    }
    if class.http10 {
        config["http_protocol_options"] = json!({ "accept_http_10": true });
    }
    let logs = access_logs(&snapshot.mesh);
    if !logs.is_empty() {
        config["access_log"] = logs.into();
    }
    json!({ "name": MANAGER, "typed_config": config })
}

/// How far paths are brought into one form before anything is decided by them.
fn normalise(config: &mut Value, normalization: Normalization) {
    match normalization {
        Normalization::Default | Normalization::Base => {}
        Normalization::None => config["normalize_path"] = false.into(),
        Normalization::MergeSlashes => config["merge_slashes"] = true.into(),
        Normalization::DecodeAndMergeSlashes => {
            config["merge_slashes"] = true.into();
            config["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD".into();
        }
    }
}

fn filters(class: &Class, side: Side) -> Vec<Value> {
    let istio = class.dialect == Dialect::Istio;
    let filter = |name: &str, config: Value| json!({ "name": name, "typed_config": config });
    let plain = |name: &str, message: &str| {
        let message = url(&format!("envoy.extensions.filters.http.{message}"));
        json!({ "name": format!("envoy.filters.http.{name}"), "typed_config": { "@type": message } })
    };
    let mut all = Vec::new();
    if istio {
        let headers = json!([{ "istio_headers": {} }]);
        let exchange = match side {
            Side::Inbound => json!({
                "downstream_discovery": headers, "downstream_propagation": headers,
            }),
            Side::Outbound | Side::Gateway => json!({
                "upstream_discovery": headers, "upstream_propagation": headers,
            }),
        };
        let kind = "io.istio.http.peer_metadata.Config";
        all.push(filter("istio.metadata_exchange", typed_struct(kind, exchange)));
    }
    let mut grpc = plain("grpc_stats", "grpc_stats.v3.FilterConfig");
    grpc["typed_config"]["emit_filter_state"] = true.into();
    grpc["typed_config"]["stats_for_all_methods"] = false.into();
    all.push(grpc);
    if istio && side != Side::Inbound {
        all.push(filter("istio.alpn", alpn()));
    }
    all.push(plain("fault", "fault.v3.HTTPFault"));
    all.push(plain("cors", "cors.v3.Cors"));
    if istio {
        all.push(filter("istio.stats", typed_struct("stats.PluginConfig", json!({}))));
    }
    all.push(plain("router", "router.v3.Router"));
    all
}

/// Mesh mTLS names the protocol of the request, so that the server need not look for it.
fn alpn() -> Value {
    let of = |protocol: &str, names: [&str; 3]| json!({ "upstream_protocol": protocol, "alpn_override": names });
    let all = json!({ "alpn_override": [
        of("HTTP10", ["istio-http/1.0", "istio", "http/1.0"]),
        of("HTTP11", ["istio-http/1.1", "istio", "http/1.1"]),
        of("HTTP2", ["istio-h2", "istio", "h2"]),
    ] });
    typed_struct("istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", all)
}

/// A TCP proxy to a cluster as a network filter.
pub(crate) fn tcp_proxy(snapshot: &Snapshot, stat_prefix: &str, cluster: &str) -> Value {
    forward(snapshot, stat_prefix, &[(cluster.to_owned(), 1)], &TrafficPolicy::default())
}

/// A TCP proxy to clusters by weight as a network filter, under what a policy says of connections.
pub(crate) fn forward(
    snapshot: &Snapshot,
    stat_prefix: &str,
    clusters: &[(String, u32)],
    policy: &TrafficPolicy,
) -> Value {
    let mut config = json!({ "@type": url(TCP_PROXY_TYPE), "stat_prefix": stat_prefix });
    match clusters {
        [(only, _)] => config["cluster"] = only.clone().into(),
        several => {
            let weighted =
                several.iter().map(|(name, weight)| json!({ "name": name, "weight": weight }));
            config["weighted_clusters"] = json!({ "clusters": weighted.collect::<Vec<_>>() });
        }
    }
    let tcp = policy.connection_pool.as_ref().and_then(|pool| pool.tcp.clone()).unwrap_or_default();
    set(&mut config, "idle_timeout", duration(tcp.idle_timeout));
    set(&mut config, "max_downstream_connection_duration", duration(tcp.max_connection_duration));
    let hash = policy.load_balancer.as_ref().and_then(|lb| lb.consistent_hash.as_ref());
    if hash.is_some_and(|hash| hash.use_source_ip == Some(true)) {
        config["hash_policy"] = json!([{ "source_ip": {} }]);
    }
    let logs = access_logs(&snapshot.mesh);
    if !logs.is_empty() {
        config["access_log"] = logs.into();
    }
    json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": config })
}

/// Adds the log of connections that no filter chain takes; all others are logged by their chain.
pub(crate) fn log_refusals(mesh: &MeshConfig, listener: &mut Value) {
    let mut logs = access_logs(mesh);
    for log in &mut logs {
        log["filter"] = json!({ "response_flag_filter": { "flags": ["NR"] } });
    }
    if !logs.is_empty() {
        listener["access_log"] = logs.into();
    }
}

fn access_logs(mesh: &MeshConfig) -> Vec<Value> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let text = match mesh.access_log_format.as_str() {
        "" => LOG_FORMAT,
        own => own,
    };
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => {
            json!({ "text_format_source": { "inline_string": text } })
        }
        AccessLogEncoding::Json => {
            let own = serde_json::from_str::<Value>(&mesh.access_log_format).ok();
            json!({ "json_format": own.filter(Value::is_object).unwrap_or_else(json_format) })
        }
    };
    vec![json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": url("envoy.extensions.access_loggers.file.v3.FileAccessLog"),
            "path": mesh.access_log_file,
            "log_format": format,
        },
    })]
}

/// The fields of Istio's access log line by name.
fn json_format() -> Value {
    json!({
        "authority": "%REQ(:AUTHORITY)%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
        "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "duration": "%DURATION%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "protocol": "%PROTOCOL%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "requested_server_name": "%REQUESTED_SERVER_NAME%",
        "response_code": "%RESPONSE_CODE%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "response_flags": "%RESPONSE_FLAGS%",
        "route_name": "%ROUTE_NAME%",
        "start_time": "%START_TIME%",
        "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
        "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "user_agent": "%REQ(USER-AGENT)%",
        "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    })
}
