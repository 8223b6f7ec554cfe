//! Load balancing: which endpoint gets the next request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::cluster::LbPolicy;
use crate::endpoint::{Endpoint, EndpointSet, Health, LocalityEndpoints, Priority};

pub mod hashing;
#[cfg(test)]
mod tests;

use hashing::HashTables;

/// What is known of endpoints at this moment.
pub trait LoadView {
    /// Requests in flight to an endpoint.
    fn active_requests(&self, endpoint: &Endpoint) -> u64;

    /// Whether outlier detection, or a failed connection, took it out for a time.
    fn is_ejected(&self, endpoint: &Endpoint) -> bool;
}

/// No load, nothing ejected.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLoad;

impl LoadView for NoLoad {
    fn active_requests(&self, _: &Endpoint) -> u64 {
        0
    }

    fn is_ejected(&self, _: &Endpoint) -> bool {
        false
    }
}

/// What is known of the request.
#[derive(Clone, Debug, Default)]
pub struct PickContext {
    /// The hash of its hash policies.
    pub hash: Option<u64>,
    /// Where the client wanted to go.
    pub destination: Option<SocketAddr>,
    /// Endpoints that were tried, to be avoided if possible.
    pub tried: Vec<Arc<Endpoint>>,
    /// How often to look for one that was not tried.
    pub attempts: u32,
    /// Below this percentage of healthy endpoints health is ignored; 0 never.
    pub panic_threshold: u32,
}

/// What one worker remembers of one cluster between two picks.
#[derive(Debug, Default)]
pub struct LbState {
    /// Smooth weighted round robin: current weights, by locality.
    weights: HashMap<(usize, usize, bool), Vec<i64>>,
    /// Ring or table, for the endpoints it was made of.
    hashes: HashTables,
    /// The set the rest was made for.
    set: Option<Arc<EndpointSet>>,
}

impl LbState {
    /// Forgets what belonged to another set of endpoints.
    fn adopt(&mut self, set: &Arc<EndpointSet>) {
        if !self.set.as_ref().is_some_and(|held| Arc::ptr_eq(held, set)) {
            *self = Self { set: Some(Arc::clone(set)), ..Self::default() };
        }
    }
}

/// What is picked from, and how.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The endpoints.
    pub set: &'a Arc<EndpointSet>,
    /// The policy.
    pub policy: &'a LbPolicy,
}

/// Picks an endpoint; `None` if no endpoint may get the request.
pub fn pick(
    from: Candidates<'_>,
    state: &mut LbState,
    load: &dyn LoadView,
    context: &PickContext,
    random: &mut dyn FnMut() -> u64,
) -> Option<Arc<Endpoint>> {
    state.adopt(from.set);
    let mut last = None;
    for attempt in 0..=context.attempts {
        let mut salted = context.clone();
        // A hash always gives the same endpoint, so a retry changes it.
        salted.hash = context.hash.map(|hash| hash.wrapping_add(u64::from(attempt)));
        let picked = pick_once(from, state, load, &salted, random)?;
        if !is_tried(context, &picked) {
            return Some(picked);
        }
        last = Some(picked);
    }
    // Chance does not find another endpoint where the tried one is idle, for it failed.
    untried(from, load, context, random).or(last)
}

/// By address: between two tries the endpoints may have come anew.
fn is_tried(context: &PickContext, endpoint: &Endpoint) -> bool {
    context.tried.iter().any(|tried| tried.address == endpoint.address)
}

/// Any endpoint that may be used and was not tried.
fn untried(
    from: Candidates<'_>,
    load: &dyn LoadView,
    context: &PickContext,
    random: &mut dyn FnMut() -> u64,
) -> Option<Arc<Endpoint>> {
    let fresh =
        |endpoint: &&Arc<Endpoint>| is_usable(endpoint, load) && !is_tried(context, endpoint);
    from.set.priorities.iter().find_map(|priority| {
        let candidates: Vec<&Arc<Endpoint>> = priority.endpoints().filter(fresh).collect();
        candidates.get(weighted_random(&candidates, random())?).map(|one| Arc::clone(one))
    })
}

fn pick_once(
    Candidates { set, policy }: Candidates<'_>,
    state: &mut LbState,
    load: &dyn LoadView,
    context: &PickContext,
    random: &mut dyn FnMut() -> u64,
) -> Option<Arc<Endpoint>> {
    let seed = context.hash.map_or_else(&mut *random, hashing::mix);
    let (priority, panic) = choose_priority(set, load, context.panic_threshold, seed)?;
    let held = set.priorities.get(priority)?;
    let by_weight = set.weighted_localities;
    let choice = choose_locality(held, load, panic, by_weight, random)?;
    let usable = |endpoint: &Endpoint| panic || is_usable(endpoint, load);
    let mut candidates: Vec<&Arc<Endpoint>> = match choice {
        Some(locality) => held.localities[locality].endpoints.iter().collect(),
        None => held.endpoints().collect(),
    };
    candidates.retain(|endpoint| usable(endpoint));
    if candidates.is_empty() {
        // Degraded endpoints are better than none.
        candidates = held
            .endpoints()
            .filter(|endpoint| endpoint.health == Health::Degraded && !load.is_ejected(endpoint))
            .collect();
    }
    let index = match policy {
        LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
            let key = (priority, choice.unwrap_or(usize::MAX), panic);
            round_robin(state.weights.entry(key).or_default(), &candidates)
        }
        LbPolicy::Random => weighted_random(&candidates, random()),
        LbPolicy::LeastRequest { choices } => least_request(&candidates, *choices, load, random),
        LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => {
            let hash = context.hash.unwrap_or_else(&mut *random);
            state.hashes.pick(policy, &candidates, hash)
        }
    }?;
    candidates.get(index).map(|endpoint| Arc::clone(endpoint))
}

/// Smooth weighted round robin: every endpoint gains its weight, the first of the largest is
/// taken and pays for all.
fn round_robin(current: &mut Vec<i64>, endpoints: &[&Arc<Endpoint>]) -> Option<usize> {
    if current.len() != endpoints.len() {
        *current = vec![0; endpoints.len()];
    }
    let mut total = 0;
    for (value, endpoint) in current.iter_mut().zip(endpoints) {
        *value += i64::from(endpoint.weight);
        total += i64::from(endpoint.weight);
    }
    let mut best = 0;
    for (index, value) in current.iter().enumerate() {
        if *value > current[best] {
            best = index;
        }
    }
    *current.get_mut(best)? -= total;
    Some(best)
}

fn weighted_random(endpoints: &[&Arc<Endpoint>], random: u64) -> Option<usize> {
    let total: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let mut left = random.checked_rem(total)?;
    for (index, endpoint) in endpoints.iter().enumerate() {
        if left < u64::from(endpoint.weight) {
            return Some(index);
        }
        left -= u64::from(endpoint.weight);
    }
    None
}

/// The least loaded of some chosen at random, load counted per weight.
fn least_request(
    endpoints: &[&Arc<Endpoint>],
    choices: u32,
    load: &dyn LoadView,
    random: &mut dyn FnMut() -> u64,
) -> Option<usize> {
    let cost = |index: usize| {
        let endpoint = endpoints[index];
        // One more than there is, so that weights count for idle endpoints too.
        let active = load.active_requests(endpoint).saturating_add(1);
        (u128::from(active) << 32) / u128::from(endpoint.weight.max(1))
    };
    let mut best = weighted_random(endpoints, random())?;
    for _ in 1..choices.max(2) {
        let other = weighted_random(endpoints, random())?;
        if cost(other) < cost(best) {
            best = other;
        }
    }
    Some(best)
}

fn is_usable(endpoint: &Endpoint, load: &dyn LoadView) -> bool {
    endpoint.health.is_healthy() && !load.is_ejected(endpoint)
}

/// The priority that gets the request, and whether its health is ignored (panic).
///
/// Each priority takes the share of its healthy endpoints, scaled by the overprovisioning factor,
/// of what the ones before it left over. If all together cannot take everything, shares are scaled
/// up; if nothing is healthy anywhere, the first priority with endpoints is in panic.
fn choose_priority(
    set: &EndpointSet,
    load: &dyn LoadView,
    panic_threshold: u32,
    seed: u64,
) -> Option<(usize, bool)> {
    let factor = u64::from(set.overprovisioning_factor.max(100));
    let mut left = 100_u64;
    let mut shares = Vec::with_capacity(set.priorities.len());
    for priority in &set.priorities {
        let (healthy, total) = count(priority, load);
        let availability = (healthy * factor).checked_div(total).unwrap_or(0).min(100);
        let share = availability.min(left);
        left -= share;
        shares.push((share, healthy, total));
    }
    let given: u64 = shares.iter().map(|(share, ..)| share).sum();
    let in_panic = |(_, healthy, total): (u64, u64, u64)| {
        panic_threshold > 0 && healthy * 100 < total * u64::from(panic_threshold)
    };
    if given == 0 {
        let degraded = set.priorities.iter().position(|priority| {
            priority
                .endpoints()
                .any(|endpoint| endpoint.health == Health::Degraded && !load.is_ejected(endpoint))
        });
        if let Some(priority) = degraded {
            return Some((priority, false));
        }
        let first = shares.iter().position(|(_, _, total)| *total > 0)?;
        return in_panic(shares[first]).then_some((first, true));
    }
    let mut at = seed % given;
    for (priority, row) in shares.iter().enumerate() {
        if at < row.0 {
            // Panic counts only when the priorities together cannot take everything.
            return Some((priority, given < 100 && in_panic(*row)));
        }
        at -= row.0;
    }
    None
}

fn count(priority: &Priority, load: &dyn LoadView) -> (u64, u64) {
    // Draining endpoints count for nothing: they are on their way out.
    let mut healthy = 0;
    let mut total = 0;
    for endpoint in priority.endpoints().filter(|held| held.health != Health::Draining) {
        total += 1;
        healthy += u64::from(is_usable(endpoint, load));
    }
    (healthy, total)
}

/// The locality, where localities are chosen by weight; `Some(None)` means all together.
fn choose_locality(
    priority: &Priority,
    load: &dyn LoadView,
    panic: bool,
    by_weight: bool,
    random: &mut dyn FnMut() -> u64,
) -> Option<Option<usize>> {
    if !by_weight || priority.localities.len() < 2 {
        return Some(None);
    }
    // A locality's weight shrinks with the share of its endpoints that are healthy.
    let weight = |locality: &LocalityEndpoints| -> u64 {
        let total = locality.endpoints.len() as u64;
        let healthy = locality.endpoints.iter().filter(|e| panic || is_usable(e, load)).count();
        let share = (healthy as u64 * 140).checked_div(total).unwrap_or(0).min(100);
        u64::from(locality.weight.unwrap_or(0)) * share
    };
    let weights: Vec<u64> = priority.localities.iter().map(weight).collect();
    let total: u64 = weights.iter().sum();
    let Some(mut left) = random().checked_rem(total) else { return Some(None) };
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return Some(Some(index));
        }
        left -= weight;
    }
    Some(None)
}
