//! Shares of the requests for reviews, counted over many.

use std::collections::BTreeMap;

use mesh_test::{Mesh, http};
use serde_json::Value;

/// Requests of one count. A share of one half is then off by more than 50 once in a million counts,
/// as it is with 30 at one tenth.
const REQUESTS: usize = 400;

#[test]
fn versions_get_their_shares() {
    let mesh = Mesh::with_bookinfo();
    let port = mesh.ingress_port().unwrap();
    let rule = |name: &str| mesh.rule(name);
    rule("destination-rule-all");
    rule("virtual-service-all-v1");
    assert_eq!(count(port), BTreeMap::from([("v1".to_owned(), REQUESTS)]));

    rule("virtual-service-reviews-50-v3");
    within(&count(port), &[("v1", 150..=250), ("v3", 150..=250)]);

    rule("virtual-service-reviews-90-10");
    within(&count(port), &[("v1", 330..=390), ("v2", 10..=70)]);

    rule("virtual-service-reviews-v3");
    assert_eq!(count(port), BTreeMap::from([("v3".to_owned(), REQUESTS)]));
}

fn count(port: u16) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..REQUESTS {
        *counts.entry(version(port).unwrap()).or_default() += 1;
    }
    counts
}

#[track_caller]
fn within(counts: &BTreeMap<String, usize>, bounds: &[(&str, std::ops::RangeInclusive<usize>)]) {
    assert_eq!(counts.len(), bounds.len(), "{counts:?}");
    for (version, bound) in bounds {
        assert!(counts.get(*version).is_some_and(|count| bound.contains(count)), "{counts:?}");
    }
}

/// The version of the pod whose reviews come.
fn version(port: u16) -> Result<String, String> {
    let answer = http::get(port, "/api/v1/products/0/reviews")?;
    let reviews: Value = serde_json::from_str(&answer.body).map_err(|e| e.to_string())?;
    let pod = reviews["podname"].as_str().unwrap_or_default();
    let version = pod.split('-').nth(1).ok_or_else(|| format!("{answer:?}"))?;
    Ok(version.to_owned())
}
