//! Decisions told in words, for requests of a small mesh.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use mesh_api::pool::from_json;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value as Json, json};

use super::*;
use crate::stage::{Stage, Upsert};

fn put(stage: &mut Stage, ty: &TypeUrl, name: &str, mut json: Json) {
    json["@type"] = ty.as_str().into();
    let body = Bytes::from(from_json(&json).unwrap().value);
    let upsert = Upsert { name: name.into(), version: "1".into(), aliases: Vec::new(), body };
    let applied = stage.apply(ty, vec![upsert], &[], Duration::ZERO);
    assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
}

fn snapshot() -> std::sync::Arc<Snapshot> {
    let mut stage = Stage::default();
    put(
        &mut stage,
        &TypeUrl::Listener,
        "0.0.0.0_9080",
        json!({
        "name": "0.0.0.0_9080", "bindToPort": false,
        "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 9080}},
        "filterChains": [{"name": "http", "filters": [{"name": "http", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "statPrefix": "a", "rds": {"routeConfigName": "9080", "configSource": {"ads": {}}},
            "httpFilters": [{"name": "router", "typedConfig": {"@type":
                "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}),
    );
    put(
        &mut stage,
        &TypeUrl::Route,
        "9080",
        json!({"name": "9080", "virtualHosts": [
        {"name": "reviews:9080", "domains": ["reviews"], "routes": [
            {"name": "old", "match": {"prefix": "/old"}, "redirect": {"pathRedirect": "/new"}},
            {"name": "default", "match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": [
                {"name": "v1", "weight": 75}, {"name": "v2", "weight": 25}]}}}]},
        {"name": "block_all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "directResponse": {"status": 502}}]}]}),
    );
    put(&mut stage, &TypeUrl::Cluster, "v1", json!({"name": "v1", "type": "EDS"}));
    put(
        &mut stage,
        &TypeUrl::Endpoint,
        "v1",
        json!({"clusterName": "v1", "endpoints": [
        {"lbEndpoints": [{"endpoint": {"address": {"socketAddress":
            {"address": "10.0.0.9", "portValue": 9080}}}}]}]}),
    );
    stage.publish(Duration::ZERO)
}

fn outcome(destination: &str, authority: &str, path: &str) -> Trail {
    let headers = HeaderMap::new();
    let head = RequestHead {
        method: "GET",
        scheme: "http",
        authority,
        path,
        headers: &headers,
        is_grpc: false,
    };
    let facts = ConnFacts::plain(destination.parse().unwrap(), "10.0.0.2:1".parse().unwrap());
    explain(&snapshot(), &facts, Some(&head))
}

#[test]
fn a_request_is_followed_to_its_endpoints() {
    let trail = outcome("10.96.0.1:9080", "reviews", "/");
    let steps: Vec<_> = trail.steps.iter().map(|step| (step.what, step.name.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("listener", "0.0.0.0_9080"),
            ("filter chain", "http"),
            ("route table", "9080"),
            ("virtual host", "reviews:9080"),
            ("route", "default"),
            ("cluster", "v1"),
        ]
    );
    let Outcome::Forwarded { targets } = &trail.outcome else { panic!("{trail:?}") };
    assert_eq!((targets[0].percent, targets[1].percent), (75, 25));
    assert_eq!(targets[0].endpoints, [("10.0.0.9:9080".to_owned(), "default".to_owned())]);
    assert_eq!(targets[1].problem.as_deref(), Some("there is no cluster v2"));
}

#[test]
fn answers_and_refusals_have_their_reason() {
    let status = |trail: Trail| match trail.outcome {
        Outcome::Answered { status, .. } => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(outcome("10.96.0.1:9080", "other", "/")), 502);
    assert_eq!(status(outcome("10.96.0.1:9080", "reviews", "/old")), 301);
    let nowhere = outcome("10.96.0.1:1", "reviews", "/");
    assert!(
        matches!(&nowhere.outcome, Outcome::Refused { reason } if reason.contains("10.96.0.1:1"))
    );
    assert!(serde_json::to_string(&nowhere).unwrap().contains("refused"));
}
