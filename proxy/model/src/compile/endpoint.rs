//! `ClusterLoadAssignment`.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_api::envoy::core::HealthStatus;
use mesh_api::envoy::endpoint::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use super::notes::{Flaw, Notes, Path};
use super::units;
use crate::endpoint::{
    Endpoint, EndpointMetadata, EndpointSet, Health, Locality, LocalityEndpoints, Priority,
    WorkloadMetadata,
};

/// Priorities at most, as in Envoy.
const MAX_PRIORITY: u32 = 128;

/// The endpoints of a cluster.
///
/// # Errors
/// When the message means nothing.
pub fn assignment(
    value: &ClusterLoadAssignment,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<EndpointSet, Flaw> {
    let mut priorities: Vec<Priority> = Vec::new();
    for (index, group) in value.endpoints.iter().enumerate() {
        let here = path.item("endpoints", index);
        if group.priority > MAX_PRIORITY {
            return Err(here.field("priority").flaw(format_args!("is above {MAX_PRIORITY}")));
        }
        let at = usize::try_from(group.priority).unwrap_or(0);
        if priorities.len() <= at {
            priorities.resize_with(at + 1, Priority::default);
        }
        let locality = locality(group, value, &here, notes)?;
        priorities[at].localities.push(locality);
    }
    let policy = value.policy.as_ref();
    let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
    Ok(EndpointSet {
        name: value.cluster_name.as_str().into(),
        version: Arc::clone(version),
        weighted_localities: false,
        priorities,
        overprovisioning_factor: factor.map_or(140, |factor| factor.value),
        drop_overload: policy.map_or(0, |policy| drops(&policy.drop_overloads)),
    })
}

/// Per 10 000: what is left of what the earlier categories let through is dropped again.
fn drops(
    values: &[mesh_api::envoy::endpoint::cluster_load_assignment::policy::DropOverload],
) -> u32 {
    let kept = values.iter().fold(10_000_u64, |kept, value| {
        let share = value.drop_percentage.as_ref().map(units::percentage);
        let Some(share) = share else { return kept };
        let denominator = u64::from(share.denominator.max(1));
        kept * denominator.saturating_sub(u64::from(share.numerator)) / denominator
    });
    u32::try_from(10_000 - kept).unwrap_or(0)
}

fn locality(
    group: &LocalityLbEndpoints,
    all: &ClusterLoadAssignment,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<LocalityEndpoints, Flaw> {
    if group.lb_config.is_some() {
        return Err(path.field("lb_config").flaw("endpoints come in place here"));
    }
    let place = group.locality.clone().unwrap_or_default();
    let place = Arc::new(Locality {
        region: place.region.into(),
        zone: place.zone.into(),
        sub_zone: place.sub_zone.into(),
    });
    let mut endpoints = Vec::with_capacity(group.lb_endpoints.len());
    for (index, value) in group.lb_endpoints.iter().enumerate() {
        let here = path.item("lb_endpoints", index);
        let found = endpoint(value, &all.named_endpoints, &here, notes)?;
        if let Some(mut found) = found {
            found.locality = Arc::clone(&place);
            found.priority = group.priority;
            endpoints.push(Arc::new(found));
        }
    }
    Ok(LocalityEndpoints {
        locality: place,
        weight: group.load_balancing_weight.as_ref().map(|weight| weight.value),
        endpoints: endpoints.into(),
    })
}

fn endpoint(
    value: &LbEndpoint,
    named: &HashMap<String, mesh_api::envoy::endpoint::Endpoint>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<Endpoint>, Flaw> {
    let held = match &value.host_identifier {
        Some(HostIdentifier::Endpoint(held)) => held,
        Some(HostIdentifier::EndpointName(name)) => named.get(name).ok_or_else(|| {
            path.field("endpoint_name").flaw(format_args!("{name:?} is not named"))
        })?,
        None => return Err(path.field("endpoint").flaw("is missing")),
    };
    let here = path.field("endpoint.address");
    let Some(address) = units::address(held.address.as_ref(), &here)? else {
        notes.warn(&here, "internal listeners are not spoken to; the endpoint is left out");
        return Ok(None);
    };
    let weight = value.load_balancing_weight.as_ref().map_or(1, |weight| weight.value);
    let metadata = value.metadata.as_ref();
    let istio = units::namespace(metadata, "istio");
    let matching = units::namespace(metadata, "envoy.transport_socket_match");
    Ok(Some(Endpoint {
        address,
        weight: weight.max(1),
        health: match value.health_status() {
            HealthStatus::Unknown => Health::Unknown,
            HealthStatus::Healthy => Health::Healthy,
            HealthStatus::Unhealthy | HealthStatus::Timeout => Health::Unhealthy,
            HealthStatus::Draining => Health::Draining,
            HealthStatus::Degraded => Health::Degraded,
        },
        metadata: EndpointMetadata {
            transport_match: units::flat(matching),
            workload: units::text_in(istio, "workload").map(WorkloadMetadata::parse),
            lb: units::flat(units::namespace(metadata, "envoy.lb")),
        },
        hostname: units::non_empty(&held.hostname),
        locality: Arc::default(),
        priority: 0,
    }))
}
