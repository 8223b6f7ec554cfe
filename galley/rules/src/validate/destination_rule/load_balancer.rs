//! Load balancing: hashing, warmup and localities.

use mesh_api::crd::destination_rule::load_balancer::{LocalityDistribute, LocalityFailover};
use mesh_api::crd::destination_rule::{
    ConsistentHashLb, LoadBalancerSettings, LocalityLbSetting, WarmupConfiguration,
};

use crate::validate::check::At;
use crate::validate::common::unique;

/// Envoy refuses larger tables.
const MAX_TABLE: u64 = 5_000_011;
const REGION_LABEL: &str = "topology.kubernetes.io/region";

/// Settings of one policy; `ejects` says whether it has outlier detection.
pub(super) fn check(settings: &LoadBalancerSettings, ejects: bool, at: &mut At<'_>) {
    at.error_if(
        settings.locality_lb_setting.is_some() && settings.zone_aware_lb_setting.is_some(),
        "only one of localityLbSetting and zoneAwareLbSetting can be set",
    );
    if let Some(hash) = &settings.consistent_hash {
        consistent_hash(hash, &mut at.field("consistentHash"));
    }
    if let Some(locality) = &settings.locality_lb_setting {
        localities(locality, ejects, &mut at.field("localityLbSetting"));
    }
    if let Some(zone) = &settings.zone_aware_lb_setting {
        failovers(&zone.failover, &zone.failover_priority, &mut at.field("zoneAwareLbSetting"));
    }
    if let Some(settings) = &settings.warmup {
        warmup(settings, &mut at.field("warmup"));
    }
}

fn consistent_hash(hash: &ConsistentHashLb, at: &mut At<'_>) {
    if let Some(cookie) = &hash.http_cookie {
        let mut at = at.field("httpCookie");
        at.field("name").error_if(cookie.name.is_empty(), "name required for HttpCookie");
        let names = cookie.attributes.iter().map(|attribute| attribute.name.as_str());
        unique(names, "attribute name", &mut at.field("attributes"));
    }
    at.field("minimumRingSize").error_if(
        hash.minimum_ring_size.is_some() && (hash.ring_hash.is_some() || hash.maglev.is_some()),
        "only one of MinimumRingSize or Maglev/Ringhash can be specified",
    );
    if let Some(size) = hash.maglev.as_ref().and_then(|maglev| maglev.table_size) {
        let mut at = at.field("maglev");
        let mut at = at.field("tableSize");
        at.error_if(size > MAX_TABLE, "tableSize must be at most 5000011 for maglev");
        at.error_if(
            size <= MAX_TABLE && !is_prime(size),
            "tableSize must be a prime number for maglev",
        );
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

fn warmup(settings: &WarmupConfiguration, at: &mut At<'_>) {
    at.field("duration").error_if(settings.duration.is_zero(), "duration is required");
    at.field("aggression")
        .error_if(settings.aggression.is_some_and(|value| value <= 0.0), "must be greater than 0");
}

fn localities(settings: &LocalityLbSetting, ejects: bool, at: &mut At<'_>) {
    at.error_if(
        !settings.distribute.is_empty() && !settings.failover.is_empty(),
        "can not simultaneously specify 'distribute' and 'failover'",
    );
    failovers(&settings.failover, &settings.failover_priority, at);
    let fails_over = !settings.failover.is_empty() || !settings.failover_priority.is_empty();
    at.warn_if(fails_over && !ejects, "outlier detection policy must be provided for failover");
    let mut sources: Vec<&str> = Vec::new();
    for (index, rule) in settings.distribute.iter().enumerate() {
        let mut at = at.field("distribute");
        let mut at = at.index(index);
        let from = rule.from.as_deref().unwrap_or_default();
        locality(from, &sources, &mut at.field("from"));
        sources.push(from);
        shares(rule, &mut at.field("to"));
    }
}

fn shares(rule: &LocalityDistribute, at: &mut At<'_>) {
    let mut total = 0_u64;
    let mut seen: Vec<&str> = Vec::new();
    for (name, weight) in &rule.to {
        let mut at = at.key(name);
        locality(name, &seen, &mut at);
        seen.push(name);
        if !(1..=100).contains(weight) {
            at.error(format!("locality weight must be in range [1, 100], is {weight}"));
        }
        total += u64::from(*weight);
    }
    if total != 100 {
        at.error(format!("total locality weight {total} != 100"));
    }
}

/// `region/zone/sub-zone`, each part but the last a plain name; overlapping none of the others.
fn locality(name: &str, others: &[&str], at: &mut At<'_>) {
    let parts: Vec<_> = name.split('/').collect();
    if name.is_empty() || parts.contains(&"") || parts.len() > 3 {
        at.error(format!("locality {name:?} must be region[/zone[/sub-zone]] without empty parts"));
        return;
    }
    let star = parts.iter().position(|part| part.contains('*'));
    if star.is_some_and(|star| star + 1 != parts.len() || parts[star] != "*") {
        at.error(format!("locality {name:?}: '*' is only allowed as the last part"));
    }
    if let Some(other) = others.iter().find(|other| overlaps(name, other)) {
        at.error(format!("locality {name} overlaps with {other}"));
    }
}

fn overlaps(a: &str, b: &str) -> bool {
    let a = a.split('/').take_while(|part| *part != "*");
    let mut b = b.split('/').take_while(|part| *part != "*");
    for part in a {
        match b.next() {
            None => return true,
            Some(other) if other != part => return false,
            Some(_) => {}
        }
    }
    true
}

fn failovers(failovers: &[LocalityFailover], priority: &[String], at: &mut At<'_>) {
    at.field("failoverPriority").error_if(
        !failovers.is_empty()
            && priority.iter().any(|label| label.split('=').next() == Some(REGION_LABEL)),
        "cannot name the region label when failover is set, too",
    );
    for (index, rule) in failovers.iter().enumerate() {
        let mut at = at.field("failover");
        let mut at = at.index(index);
        let from = rule.from.as_deref().unwrap_or_default();
        let to = rule.to.as_deref().unwrap_or_default();
        at.error_if(from == to, "locality lb failover settings must specify different regions");
        at.error_if(
            [from, to].into_iter().any(|region| region.is_empty() || region.contains(['/', '*'])),
            "locality lb failover only specify region: names without '/' and '*'",
        );
    }
}
