//! What one proxy should have, as Envoy's own dump shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use mesh_api::envoy::protobuf::Any;
use mesh_api::pool::{self, JsonStyle};
use mesh_api::type_url::TypeUrl;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use serde_json::{Value, json};

use super::{Debug, not_read_yet};
use crate::world::MeshWorld;
use crate::xds::source::{Item, View};

/// A section of the dump: type, message, list, and the resource's key within an entry.
const SECTIONS: [(TypeUrl, &str, &str, &str); 4] = [
    (TypeUrl::Cluster, "ClustersConfigDump", "dynamic_active_clusters", "cluster"),
    (TypeUrl::Listener, "ListenersConfigDump", "dynamic_listeners", "listener"),
    (TypeUrl::Route, "RoutesConfigDump", "dynamic_route_configs", "route_config"),
    (TypeUrl::Endpoint, "EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config"),
];

/// `envoy.admin.v3.ConfigDump`.
pub(super) fn config_dump(debug: &Debug, request: &AdminRequest) -> Result<Value, AdminReply> {
    let view = view(debug, request)?;
    let mut configs = Vec::new();
    for (ty, message, list, key) in &SECTIONS {
        let mut entries = Vec::new();
        for item in view.all(ty).values() {
            let resource = readable(ty, item)?;
            let version = item.version.as_ref();
            entries.push(match ty {
                TypeUrl::Listener => json!({
                    "name": item.name.as_ref(),
                    "active_state": { "version_info": version, *key: resource },
                }),
                _ => json!({ "version_info": version, *key: resource }),
            });
        }
        configs.push(json!({
            "@type": format!("type.googleapis.com/envoy.admin.v3.{message}"),
            *list: entries,
        }));
    }
    Ok(json!({ "configs": configs }))
}

/// The endpoints of all its clusters.
pub(super) fn endpoints(debug: &Debug, request: &AdminRequest) -> Result<Value, AdminReply> {
    listed(debug, request, &TypeUrl::Endpoint)
}

/// The names its DNS server answers.
pub(super) fn names(debug: &Debug, request: &AdminRequest) -> Result<Value, AdminReply> {
    listed(debug, request, &TypeUrl::NameTable)
}

fn listed(debug: &Debug, request: &AdminRequest, ty: &TypeUrl) -> Result<Value, AdminReply> {
    let view = view(debug, request)?;
    let all = view.all(ty);
    all.values().map(|item| readable(ty, item)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn view(debug: &Debug, request: &AdminRequest) -> Result<Arc<dyn View>, AdminReply> {
    let connection = debug.proxy(request)?;
    let world = debug.context.queue.newest().ok_or_else(not_read_yet)?;
    Ok(world.view(&connection.node))
}

fn readable(ty: &TypeUrl, item: &Item) -> Result<Value, AdminReply> {
    let any = Any { type_url: ty.to_string(), value: item.body.to_vec() };
    pool::to_json(&any, JsonStyle::Proto).map_err(|error| {
        let reason = format!("{} {}: {error}\n", ty.short(), item.name);
        text(StatusCode::INTERNAL_SERVER_ERROR, reason)
    })
}

/// The last publication, who does not have it yet, and what is wrong with the objects that the
/// connected proxies' configuration is made from.
pub(super) fn push_status(debug: &Debug, _request: &AdminRequest) -> Result<Value, AdminReply> {
    let snapshot = debug.known.snapshot().ok_or_else(not_read_yet)?;
    let connections = debug.context.connections.list();
    let proxies = connections.iter().map(|connection| MeshWorld::proxy(&connection.node));
    let classes: BTreeSet<_> =
        proxies.map(|proxy| debug.generator.class(&snapshot, &proxy)).collect();
    let mut problems = BTreeSet::new();
    for class in &classes {
        for ty in [TypeUrl::Cluster, TypeUrl::Listener, TypeUrl::Route, TypeUrl::VirtualHost] {
            problems.extend(debug.generator.diagnostics(&snapshot, class, &ty));
        }
    }
    let problem = |problem: &pilot_model::resource::Diagnostic| {
        json!({
            "object": problem.object.to_string(),
            "field": problem.field,
            "reason": problem.reason,
        })
    };
    let set_aside = debug.known.invalid().into_iter().map(|invalid| {
        json!({ "object": invalid.object.to_string(), "field": "", "reason": invalid.reason })
    });
    let behind: Vec<String> = connections
        .iter()
        .filter(|connection| connection.generation() < snapshot.generation)
        .map(|connection| connection.proxy())
        .collect();
    Ok(json!({
        "generation": snapshot.generation,
        "proxies": connections.len(),
        "classes": classes.len(),
        "behind": behind,
        "problems": Value::from_iter(problems.iter().map(problem).chain(set_aside)),
    }))
}
