//! Which endpoint is picked, and how often.

use std::collections::BTreeMap;

use super::*;
use crate::endpoint::{EndpointAddress, EndpointMetadata, Locality};

/// xorshift64*: a seeded generator.
fn seeded(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn endpoint(last: u8, weight: u32, health: Health) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        address: EndpointAddress::Socket(([10, 0, 0, last], 80).into()),
        weight,
        health,
        metadata: EndpointMetadata::default(),
        hostname: None,
        locality: Arc::default(),
        priority: 0,
    })
}

fn locality(weight: Option<u32>, endpoints: Vec<Arc<Endpoint>>) -> LocalityEndpoints {
    LocalityEndpoints {
        locality: Arc::new(Locality::default()),
        weight,
        endpoints: endpoints.into(),
    }
}

fn set(priorities: Vec<Vec<LocalityEndpoints>>, weighted_localities: bool) -> Arc<EndpointSet> {
    Arc::new(EndpointSet {
        priorities: priorities.into_iter().map(|localities| Priority { localities }).collect(),
        overprovisioning_factor: 140,
        weighted_localities,
        ..EndpointSet::default()
    })
}

fn flat(endpoints: Vec<Arc<Endpoint>>) -> Arc<EndpointSet> {
    set(vec![vec![locality(None, endpoints)]], false)
}

fn name(endpoint: &Endpoint) -> u8 {
    match endpoint.address.socket().unwrap().ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

/// How often each endpoint is picked in `times` picks.
fn counts(
    set: &Arc<EndpointSet>,
    policy: LbPolicy,
    load: &dyn LoadView,
    context: &PickContext,
    times: u32,
) -> BTreeMap<u8, u32> {
    let mut state = LbState::default();
    let mut random = seeded(7);
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        if let Some(picked) =
            pick(Candidates { set, policy: &policy }, &mut state, load, context, &mut random)
        {
            *counts.entry(name(&picked)).or_default() += 1;
        }
    }
    counts
}

fn healthy(last: u8, weight: u32) -> Arc<Endpoint> {
    endpoint(last, weight, Health::Healthy)
}

#[test]
fn round_robin_follows_the_weights_exactly() {
    let set = flat(vec![healthy(1, 1), healthy(2, 2), healthy(3, 1)]);
    let counts = counts(&set, LbPolicy::RoundRobin, &NoLoad, &PickContext::default(), 400);
    assert_eq!(counts, [(1, 100), (2, 200), (3, 100)].into());
}

#[test]
fn random_follows_the_weights_roughly() {
    let set = flat(vec![healthy(1, 1), healthy(2, 3)]);
    let counts = counts(&set, LbPolicy::Random, &NoLoad, &PickContext::default(), 4000);
    assert!((900..1100).contains(&counts[&1]), "{counts:?}");
}

#[test]
fn least_request_avoids_the_busy_one() {
    struct Busy;
    impl LoadView for Busy {
        fn active_requests(&self, endpoint: &Endpoint) -> u64 {
            if name(endpoint) == 1 { 50 } else { 1 }
        }
        fn is_ejected(&self, _: &Endpoint) -> bool {
            false
        }
    }
    let set = flat(vec![healthy(1, 1), healthy(2, 1), healthy(3, 1)]);
    let policy = LbPolicy::LeastRequest { choices: 2 };
    let counts = counts(&set, policy, &Busy, &PickContext::default(), 3000);
    // Only when both choices fall on it: one in nine.
    assert!((250..420).contains(&counts[&1]), "{counts:?}");
}

#[test]
fn unhealthy_and_ejected_endpoints_get_nothing() {
    struct Ejected;
    impl LoadView for Ejected {
        fn active_requests(&self, _: &Endpoint) -> u64 {
            0
        }
        fn is_ejected(&self, endpoint: &Endpoint) -> bool {
            name(endpoint) == 3
        }
    }
    let set = flat(vec![
        healthy(1, 1),
        endpoint(2, 1, Health::Unhealthy),
        healthy(3, 1),
        endpoint(4, 1, Health::Draining),
        endpoint(5, 1, Health::Degraded),
    ]);
    let context = PickContext::default();
    let counts = counts(&set, LbPolicy::RoundRobin, &Ejected, &context, 10);
    assert_eq!(counts, [(1, 10)].into());
}

#[test]
fn in_panic_health_is_ignored() {
    let set = flat((1..=4).map(|n| endpoint(n, 1, Health::Unhealthy)).collect());
    let calm = PickContext::default();
    let panic = PickContext { panic_threshold: 50, ..PickContext::default() };
    assert!(counts(&set, LbPolicy::RoundRobin, &NoLoad, &calm, 8).is_empty());
    assert_eq!(counts(&set, LbPolicy::RoundRobin, &NoLoad, &panic, 8).len(), 4);
}

#[test]
fn degraded_endpoints_are_better_than_none() {
    let set = flat(vec![endpoint(1, 1, Health::Unhealthy), endpoint(2, 1, Health::Degraded)]);
    let counts = counts(&set, LbPolicy::RoundRobin, &NoLoad, &PickContext::default(), 4);
    assert_eq!(counts, [(2, 4)].into());
}

#[test]
fn a_later_priority_takes_what_is_left_over() {
    let first = vec![healthy(1, 1), endpoint(2, 1, Health::Unhealthy)];
    let set =
        set(vec![vec![locality(None, first)], vec![locality(None, vec![healthy(3, 1)])]], false);
    let counts = counts(&set, LbPolicy::RoundRobin, &NoLoad, &PickContext::default(), 4000);
    // 50 % healthy, scaled by 1.4: 70 % stay.
    assert!((2650..2950).contains(&counts[&1]), "{counts:?}");
    assert_eq!(counts[&1] + counts[&3], 4000);
}

#[test]
fn localities_share_by_weight() {
    let set = set(
        vec![vec![
            locality(Some(3), vec![healthy(1, 1)]),
            locality(Some(1), vec![healthy(2, 1), healthy(3, 1)]),
        ]],
        true,
    );
    let counts = counts(&set, LbPolicy::RoundRobin, &NoLoad, &PickContext::default(), 4000);
    assert!((2850..3150).contains(&counts[&1]), "{counts:?}");
}

#[test]
fn a_hash_keeps_its_endpoint_and_moves_few_when_one_goes() {
    let all: Vec<_> = (1..=5).map(|n| healthy(n, 1)).collect();
    for policy in [
        LbPolicy::RingHash { minimum_ring_size: 1024, maximum_ring_size: 8 << 20 },
        LbPolicy::Maglev { table_size: 65_537 },
    ] {
        let before = flat(all.clone());
        let after = flat(all[..4].to_vec());
        let (mut one, mut two) = (LbState::default(), LbState::default());
        let mut random = seeded(1);
        let mut moved = 0;
        let mut seen = BTreeMap::<u8, u32>::new();
        for hash in 0..2000 {
            let context = PickContext { hash: Some(hashing::mix(hash)), ..PickContext::default() };
            let mut get = |set, state: &mut LbState| {
                name(
                    &pick(
                        Candidates { set, policy: &policy },
                        state,
                        &NoLoad,
                        &context,
                        &mut random,
                    )
                    .unwrap(),
                )
            };
            let first = get(&before, &mut one);
            assert_eq!(first, get(&before, &mut one), "{policy:?}");
            *seen.entry(first).or_default() += 1;
            moved += u32::from(first != 5 && first != get(&after, &mut two));
        }
        assert!(moved < 250, "{policy:?} moved {moved}");
        assert!(seen.values().all(|n| (200..700).contains(n)), "{policy:?} {seen:?}");
    }
}

#[test]
fn a_retry_avoids_what_was_tried() {
    let one = healthy(1, 1);
    let set = flat(vec![Arc::clone(&one), healthy(2, 1)]);
    let context =
        PickContext { tried: vec![Arc::clone(&one)], attempts: 5, ..PickContext::default() };
    let counted = counts(&set, LbPolicy::RoundRobin, &NoLoad, &context, 10);
    assert_eq!(counted, [(2, 10)].into());
    let alone = flat(vec![one]);
    assert_eq!(counts(&alone, LbPolicy::RoundRobin, &NoLoad, &context, 1).len(), 1);
}

#[test]
fn a_retry_leaves_an_endpoint_that_is_idle_because_it_fails() {
    struct Busy;
    impl LoadView for Busy {
        fn active_requests(&self, endpoint: &Endpoint) -> u64 {
            if name(endpoint) == 1 { 0 } else { 5 }
        }
        fn is_ejected(&self, _: &Endpoint) -> bool {
            false
        }
    }
    let set = flat(vec![healthy(1, 1), healthy(2, 1)]);
    // As the endpoint was before its set came anew.
    let context = PickContext { tried: vec![healthy(1, 1)], attempts: 5, ..PickContext::default() };
    let policy = LbPolicy::LeastRequest { choices: 2 };
    assert_eq!(counts(&set, policy, &Busy, &context, 1000), [(2, 1000)].into());
}

#[test]
fn nothing_is_picked_of_nothing() {
    let context = PickContext { panic_threshold: 50, ..PickContext::default() };
    assert!(counts(&flat(Vec::new()), LbPolicy::Random, &NoLoad, &context, 1).is_empty());
    assert!(counts(&set(Vec::new(), false), LbPolicy::Random, &NoLoad, &context, 1).is_empty());
}
