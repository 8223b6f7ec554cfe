//! `/server_info`, `/ready`, `/memory`, and the bootstrap document as Envoy would have it.

use std::collections::BTreeMap;

use http::StatusCode;
use mesh_api::admin::{ServerInfo, ServerState};
use mesh_api::bootstrap::Bootstrap;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::build_info;
use mesh_rt::http_server::text;
use serde_json::{Value, json};

use super::{Pages, pretty};
use crate::app::node::may_ask;
use crate::xds::protocol::features;

/// Where the proxy is in its life.
pub(super) fn state(pages: &Pages) -> ServerState {
    if pages.process.tasks.drain().is_draining() {
        ServerState::Draining
    } else if pages.process.readiness.is_ready() {
        ServerState::Live
    } else if pages.world.load().generation == 0 {
        ServerState::PreInitializing
    } else {
        ServerState::Initializing
    }
}

/// `/ready`.
pub(super) fn ready(pages: &Pages, _: &AdminRequest) -> AdminReply {
    let word = match state(pages) {
        ServerState::Live => return text(StatusCode::OK, "LIVE\n"),
        ServerState::Draining => "DRAINING".to_owned(),
        other => {
            let word = match other {
                ServerState::PreInitializing => "PRE_INITIALIZING",
                _ => "INITIALIZING",
            };
            format!("{word}, waiting for: {}", pages.process.readiness.pending().join(", "))
        }
    };
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{word}\n"))
}

/// `/server_info`.
pub(super) fn info(pages: &Pages, _: &AdminRequest) -> AdminReply {
    let uptime = format!("{}s", pages.0.started.elapsed().as_secs());
    let bootstrap = &pages.bootstrap;
    let options = BTreeMap::from([
        ("concurrency".to_owned(), json!(pages.workers)),
        ("mode".to_owned(), json!("Serve")),
        ("log_level".to_owned(), json!(pages.process.logging.filter())),
        ("service_cluster".to_owned(), json!(bootstrap.node.cluster)),
        ("service_node".to_owned(), json!(bootstrap.node.id.to_string())),
        ("drain_time".to_owned(), json!(bootstrap.drain.duration.to_string())),
    ]);
    pretty(&ServerInfo {
        version: version(),
        state: state(pages),
        uptime_current_epoch: uptime.clone(),
        uptime_all_epochs: uptime,
        hot_restart_version: String::new(),
        command_line_options: options,
        node: Some(node(bootstrap)),
    })
}

/// Revision, version, state of the sources, profile: as Envoy composes it.
fn version() -> String {
    let build = build_info::current();
    let profile = build.profile.to_uppercase();
    format!("{}/{}/Clean/{profile}/aws-lc", build.revision, build.version)
}

/// `/memory`, in bytes.
pub(super) fn memory(_: &Pages, _: &AdminRequest) -> AdminReply {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        (number.unwrap_or(0_u64) * 1024).to_string()
    };
    pretty(&json!({
        "allocated": field("RssAnon:"),
        "heap_size": field("VmData:"),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": field("VmRSS:"),
    }))
}

fn node(bootstrap: &Bootstrap) -> Value {
    let own = &bootstrap.node;
    let mut node = json!({
        "id": own.id.to_string(),
        "cluster": own.cluster,
        "metadata": own.metadata.to_json(),
        "user_agent_name": "lateen",
        "user_agent_version": build_info::VERSION,
        "client_features": features(may_ask(bootstrap)).collect::<Vec<_>>(),
    });
    if let Some(place) = &own.locality {
        node["locality"] =
            json!({ "region": place.region, "zone": place.zone, "sub_zone": place.sub_zone });
    }
    node
}

/// The bootstrap document in Envoy's terms: what this proxy is built with is what an Envoy would
/// be told.
pub(super) fn envoy_bootstrap(bootstrap: &Bootstrap) -> Value {
    let ads = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
    let delta = bootstrap.discovery.as_ref().is_some_and(|discovery| discovery.delta);
    let status = &bootstrap.status;
    let admin = bootstrap.admin.address;
    let mut clusters =
        vec![local_cluster("prometheus_stats", admin.port()), local_cluster("agent", status.port)];
    if let Some((host, port)) = discovery(bootstrap) {
        let mut cluster = local_cluster("xds-grpc", port);
        cluster["type"] = "STRICT_DNS".into();
        cluster["load_assignment"] = assignment("xds-grpc", host, port);
        clusters.push(cluster);
    }
    let mut document = json!({
        "node": node(bootstrap),
        "admin": { "address": socket(&admin.ip().to_string(), admin.port()) },
        "static_resources": {
            "clusters": clusters,
            "listeners": [
                page_listener(status.prometheus_port, "/stats/prometheus", "prometheus_stats"),
                page_listener(status.readiness_port, "/healthz/ready", "agent"),
            ],
        },
    });
    if bootstrap.discovery.is_some() {
        document["dynamic_resources"] = json!({
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": if delta { "DELTA_GRPC" } else { "GRPC" },
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        });
    }
    document
}

fn discovery(bootstrap: &Bootstrap) -> Option<(&str, u16)> {
    let (host, port) = bootstrap.discovery.as_ref()?.address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn socket(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn assignment(name: &str, host: &str, port: u16) -> Value {
    json!({ "cluster_name": name, "endpoints": [
        { "lb_endpoints": [{ "endpoint": { "address": socket(host, port) } }] }] })
}

fn local_cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "load_assignment": assignment(name, "127.0.0.1", port),
    })
}

/// A listener that serves one page of another port.
fn page_listener(port: u16, path: &str, cluster: &str) -> Value {
    let filters = "type.googleapis.com/envoy.extensions.filters";
    json!({
        "address": socket("0.0.0.0", port),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!(
                    "{filters}.network.http_connection_manager.v3.HttpConnectionManager"
                ),
                "stat_prefix": cluster,
                "route_config": { "virtual_hosts": [{ "name": "backend", "domains": ["*"],
                    "routes": [{ "match": { "prefix": path }, "route": { "cluster": cluster } }],
                }]},
                "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
                    "@type": format!("{filters}.http.router.v3.Router") } }],
            },
        }]}],
    })
}
