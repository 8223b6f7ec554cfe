//! Which proxies have acknowledged which version of an object.

use http::StatusCode;
use mesh_api::admin::{ConfigDistribution, ObjectState, ProxyDistribution};
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use pilot_model::distribution::is_followed;
use pilot_model::key::ResourceKey;
use serde_json::Value;

use super::{Debug, document, not_read_yet};
use crate::xds::status::Connection;

const USAGE: &str = "which object? add ?resource=<kind>/<namespace>/<name>, such as \
    VirtualService/default/reviews, and &resource_version= or &generation= for a version of it\n";

/// How far an object has come.
pub(super) fn config_distribution(
    debug: &Debug,
    request: &AdminRequest,
) -> Result<Value, AdminReply> {
    let bad = |reason: String| text(StatusCode::BAD_REQUEST, reason);
    let named = request.query_value("resource").unwrap_or_default();
    let key = parse(debug, &named).map_err(bad)?;
    let resource_version = request.query_value("resource_version").filter(|text| !text.is_empty());
    let generation = match request.query_value("generation").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let number = text.parse::<i64>();
            Some(number.map_err(|_| bad(format!("generation {text:?} is not a number\n")))?)
        }
    };
    let connections = &debug.context.connections;
    let standing = connections.distribution.of(&key);
    // An object nobody has seen is in no configuration as it is now.
    let current = debug.known.snapshot().ok_or_else(not_read_yet)?.generation;
    let wanted = standing.as_ref().map_or(Some(current), |standing| standing.generation);
    let set_aside = debug.known.invalid().into_iter().find(|invalid| invalid.object == key);
    let state = match &standing {
        None => ObjectState::Unknown,
        Some(standing) if standing.deleted => ObjectState::Deleted,
        Some(_) => ObjectState::Current,
    };
    let reached =
        standing.as_ref().is_some_and(|is| is.reaches(resource_version.as_deref(), generation));
    let version = standing.as_ref().map(|standing| standing.version.clone()).unwrap_or_default();
    let proxies = connections.list();
    Ok(document(&ConfigDistribution {
        resource: key.to_string(),
        state,
        resource_version: version.resource,
        generation: version.generation,
        reached,
        set_aside: set_aside.map(|invalid| invalid.reason),
        distributed_in_ms: standing
            .and_then(|standing| standing.distributed_in)
            .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        proxies: proxies.iter().map(|connection| proxy(connection, wanted)).collect(),
    }))
}

fn proxy(connection: &Connection, wanted: Option<u64>) -> ProxyDistribution {
    let has = connection.generation();
    let acknowledged = wanted.is_some_and(|wanted| has >= wanted);
    let mut reasons = Vec::new();
    if !acknowledged {
        reasons = connection.refusals();
        if reasons.is_empty() {
            reasons.push(match wanted {
                None => "it has not been sent yet".to_owned(),
                Some(_) if has == 0 => "it has acknowledged nothing yet".to_owned(),
                Some(wanted) => format!("it has acknowledged generation {has}, not {wanted}"),
            });
        }
    }
    ProxyDistribution { proxy: connection.proxy(), acknowledged, reasons }
}

fn parse(debug: &Debug, named: &str) -> Result<ResourceKey, String> {
    let parts: Vec<&str> = named.split('/').collect();
    let [kind, namespace, name] = parts[..] else { return Err(USAGE.to_owned()) };
    if name.is_empty() || namespace.is_empty() {
        return Err(USAGE.to_owned());
    }
    let kinds = debug.known.kinds();
    let followed: Vec<_> = kinds.keys().copied().filter(|kind| is_followed(*kind)).collect();
    let found = followed.iter().find(|known| format!("{known:?}").eq_ignore_ascii_case(kind));
    let known = || followed.iter().map(|kind| format!("{kind:?}")).collect::<Vec<_>>().join(", ");
    let kind =
        found.ok_or_else(|| format!("kind {kind:?} is not followed; these are: {}\n", known()))?;
    Ok(ResourceKey::new(*kind, namespace, name))
}
