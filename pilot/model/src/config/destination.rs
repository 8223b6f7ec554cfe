//! DestinationRules as one client sees them: which rule governs a service, its subsets, and the
//! policy of one port.

use std::sync::Arc;

use mesh_api::crd::DestinationRule;
use mesh_api::crd::destination_rule::{Subset, TrafficPolicy};
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;

use crate::class::Class;
use crate::key::{Kind, ResourceKey};
use crate::registry::{Export, Service};
use crate::snapshot::Snapshot;

/// What governs connections to a service.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The rule that was found first.
    pub(crate) rule: ResourceKey,
    /// All that were joined.
    pub(crate) rules: Vec<Arc<DestinationRule>>,
    policy: Option<TrafficPolicy>,
    /// All subsets, those of the first rule first.
    pub(crate) subsets: Vec<Subset>,
}

impl Destination {
    /// The policy of a port, overridden by a subset's, field by field.
    pub(crate) fn policy(&self, port: PortNumber, subset: Option<&Subset>) -> TrafficPolicy {
        let whole = at_port(self.policy.as_ref(), port);
        let Some(own) = subset.and_then(|subset| subset.traffic_policy.as_ref()) else {
            return whole;
        };
        let own = at_port(Some(own), port);
        TrafficPolicy {
            load_balancer: own.load_balancer.or(whole.load_balancer),
            connection_pool: own.connection_pool.or(whole.connection_pool),
            outlier_detection: own.outlier_detection.or(whole.outlier_detection),
            tls: own.tls.or(whole.tls),
            retry_budget: own.retry_budget.or(whole.retry_budget),
            ..TrafficPolicy::default()
        }
    }

    pub(crate) fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}

/// A port's own settings replace the others altogether.
fn at_port(policy: Option<&TrafficPolicy>, port: PortNumber) -> TrafficPolicy {
    let Some(policy) = policy else { return TrafficPolicy::default() };
    let number = u32::from(port.get());
    let of_port = policy
        .port_level_settings
        .iter()
        .find(|settings| settings.port.as_ref().and_then(|port| port.number) == Some(number));
    match of_port {
        Some(own) => TrafficPolicy {
            load_balancer: own.load_balancer.clone(),
            connection_pool: own.connection_pool.clone(),
            outlier_detection: own.outlier_detection.clone(),
            tls: own.tls.clone(),
            ..TrafficPolicy::default()
        },
        None => TrafficPolicy { port_level_settings: Vec::new(), ..policy.clone() },
    }
}

/// The rules for a service as clients of that class see them. Rules of the client's namespace come
/// before those of the service's, and those before the mesh's; the most specific host wins; rules
/// of one namespace for one host are merged.
pub(crate) fn of(snapshot: &Snapshot, class: &Class, service: &Service) -> Option<Destination> {
    let root = snapshot.mesh.root_namespace.as_str();
    let mut places = vec![class.namespace.as_str(), service.namespace.as_str(), root];
    places.dedup();
    places.into_iter().find_map(|place| within(snapshot, class, service, place))
}

fn within(
    snapshot: &Snapshot,
    class: &Class,
    service: &Service,
    place: &str,
) -> Option<Destination> {
    let default = &snapshot.mesh.default_destination_rule_export_to;
    let applies = |rule: &&Arc<DestinationRule>| {
        let namespace = rule.metadata.namespace.as_deref().unwrap_or_default();
        let selected = rule.spec.workload_selector.as_ref().is_none_or(|selector| {
            namespace == class.namespace
                && mesh_api::selector::is_subset(&selector.match_labels, &class.labels)
        });
        namespace == place
            && selected
            && Export::of(&rule.spec.export_to, default, namespace).reaches(&class.namespace)
    };
    let mut found: Vec<(Hostname, &Arc<DestinationRule>)> = snapshot
        .destination_rules
        .iter()
        .filter(applies)
        .filter_map(|rule| Some((snapshot.resolve(&rule.spec.host, place)?, rule)))
        .filter(|(host, _)| host.covers(&service.host))
        .collect();
    let best = found.iter().map(|(host, _)| host).min_by(|a, b| a.cmp_specificity(b))?.clone();
    found.retain(|(host, _)| *host == best);
    let (_, first) = found.first()?;
    let name = first.metadata.name.as_deref().unwrap_or_default();
    let mut subsets: Vec<Subset> = Vec::new();
    for subset in found.iter().flat_map(|(_, rule)| &rule.spec.subsets) {
        if !subsets.iter().any(|known| known.name == subset.name) {
            subsets.push(subset.clone());
        }
    }
    let policy = found.iter().find_map(|(_, rule)| rule.spec.traffic_policy.clone());
    Some(Destination {
        rule: ResourceKey::new(Kind::DestinationRule, place, name),
        rules: found.iter().map(|(_, rule)| Arc::clone(rule)).collect(),
        policy,
        subsets,
    })
}
