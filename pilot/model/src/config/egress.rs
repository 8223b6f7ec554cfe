//! What happens to traffic to services a sidecar does not know.

use mesh_api::mesh_config::OutboundTrafficMode;
use mesh_api::name::{ClusterName, FixedCluster, SubsetName};
use mesh_api::port::PortNumber;

use crate::class::Class;
use crate::resource::Diagnostic;
use crate::scope::Scope;
use crate::snapshot::Snapshot;

/// Whether such traffic is let through: as the class's scope says, else as the mesh does.
pub(crate) fn allows_any(snapshot: &Snapshot, class: &Class) -> bool {
    let of_scope = class.scope.as_ref().and_then(|scope| scope.allows_any());
    let mode = snapshot.mesh.outbound_traffic_policy.mode;
    of_scope.unwrap_or(mode != OutboundTrafficMode::RegistryOnly)
}

/// The cluster such traffic goes to.
pub(crate) fn unknown_cluster(snapshot: &Snapshot, class: &Class) -> String {
    let through = class.scope.as_ref().map(|scope| through(snapshot, class, scope));
    match through {
        _ if !allows_any(snapshot, class) => FixedCluster::BlackHole.as_str().to_owned(),
        Some(Ok(Some(proxy))) => proxy.to_string(),
        // What was to go through a proxy does not go around it.
        Some(Err(_)) => FixedCluster::BlackHole.as_str().to_owned(),
        Some(Ok(None)) | None => FixedCluster::Passthrough.as_str().to_owned(),
    }
}

/// What is wrong with the class's scope.
pub(crate) fn complaints(snapshot: &Snapshot, class: &Class) -> Vec<Diagnostic> {
    let Some(scope) = &class.scope else { return Vec::new() };
    let mut all = scope.flaws().to_vec();
    let field = "spec.outboundTrafficPolicy.egressProxy";
    let mut complain = |field: String, reason: &str| {
        let object = scope.key().clone();
        all.push(Diagnostic { object, field, reason: reason.to_owned() });
    };
    match through(snapshot, class, scope) {
        Ok(Some(_)) if !allows_any(snapshot, class) => {
            complain(field.to_owned(), "has no effect in mode REGISTRY_ONLY");
        }
        Ok(_) => {}
        Err((part, reason)) => complain(format!("{field}.{part}"), reason),
    }
    all
}

/// The service that such traffic goes through.
///
/// # Errors
/// The field of it that cannot be used, and why.
fn through(
    snapshot: &Snapshot,
    class: &Class,
    scope: &Scope,
) -> Result<Option<ClusterName>, (&'static str, &'static str)> {
    let Some(proxy) = scope.egress_proxy() else { return Ok(None) };
    let host = snapshot.resolve(&proxy.host, &scope.key().namespace);
    let service = host.and_then(|host| snapshot.known_service(class, &host));
    let unknown = "is not a service within the hosts of spec.egress: such traffic fails";
    let service = service.ok_or(("host", unknown))?;
    let number = proxy.port.as_ref().and_then(|port| port.number);
    let number = number.and_then(|number| PortNumber::new(u16::try_from(number).ok()?));
    let port = match (number, service.ports.as_slice()) {
        (Some(number), _) => service.port(number).map(|port| port.number),
        (None, [only]) => Some(only.number),
        (None, _) => None,
    };
    let port = port.ok_or(("port.number", "is no port of the service: such traffic fails"))?;
    let subset = proxy.subset.as_deref().filter(|subset| !subset.is_empty());
    let subset = subset.map(SubsetName::parse).transpose();
    let subset = subset.map_err(|_| ("subset", "is no name of a subset: such traffic fails"))?;
    Ok(Some(ClusterName::Outbound { port, subset, host: service.host.clone() }))
}
