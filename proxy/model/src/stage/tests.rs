//! In which order resources warm and become visible.

use mesh_api::pool::from_json;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use serde_json::{Value as Json, json};

use super::*;
use crate::lookup::Lookup;

const START: Duration = Duration::from_secs(100);

fn upsert(name: &str, version: &str, json: &Json) -> Upsert {
    let body = Bytes::from(from_json(json).unwrap().value);
    Upsert { name: name.into(), version: version.into(), aliases: Vec::new(), body }
}

fn listener(name: &str, route: &str) -> Json {
    json!({
        "@type": TypeUrl::Listener.as_str(), "name": name,
        "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 9080}},
        "filterChains": [{"filters": [{"name": "http", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "statPrefix": "a", "rds": {"routeConfigName": route, "configSource": {"ads": {}}},
            "httpFilters": [{"name": "router", "typedConfig": {"@type":
                "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]})
}

fn route(name: &str, cluster: &str) -> Json {
    json!({"@type": TypeUrl::Route.as_str(), "name": name, "virtualHosts": [{"name": "a",
        "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]})
}

fn cluster(name: &str) -> Json {
    json!({"@type": TypeUrl::Cluster.as_str(), "name": name, "type": "EDS",
        "commonLbConfig": {"localityWeightedLbConfig": {}}})
}

fn endpoints(name: &str) -> Json {
    json!({"@type": TypeUrl::Endpoint.as_str(), "clusterName": name})
}

fn put(stage: &mut Stage, ty: &TypeUrl, name: &str, version: &str, json: &Json) {
    let applied = stage.apply(ty, vec![upsert(name, version, json)], &[], START);
    assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
}

fn version(lookup: Lookup<&Arc<Listener>>) -> Option<String> {
    lookup.found().map(|listener| listener.version.to_string())
}

#[test]
fn a_listener_waits_for_its_routes_and_a_cluster_for_its_endpoints() {
    let mut stage = Stage::default();
    put(&mut stage, &TypeUrl::Listener, "l", "1", &listener("l", "r1"));
    put(&mut stage, &TypeUrl::Cluster, "c", "1", &cluster("c"));
    let snapshot = stage.publish(START);
    assert!(snapshot.listener("l").found().is_none() && snapshot.cluster("c").found().is_none());

    put(&mut stage, &TypeUrl::Route, "r1", "1", &route("r1", "c"));
    put(&mut stage, &TypeUrl::Endpoint, "c", "1", &endpoints("c"));
    let snapshot = stage.publish(START);
    assert_eq!(version(snapshot.listener("l")).as_deref(), Some("1"));
    assert!(snapshot.cluster("c").found().is_some());
    assert!(snapshot.endpoints("c").found().unwrap().weighted_localities);

    put(&mut stage, &TypeUrl::Listener, "l", "2", &listener("l", "r2"));
    assert_eq!(version(stage.publish(START).listener("l")).as_deref(), Some("1"), "keeps the old");
    assert_eq!(stage.next_timeout(), Some(START + FETCH_TIMEOUT));
    let later = stage.publish(START + FETCH_TIMEOUT);
    assert_eq!(version(later.listener("l")).as_deref(), Some("2"));
    assert_eq!(stage.next_timeout(), None);
}

#[test]
fn one_bad_resource_hurts_no_other_and_keeps_its_last_good_version() {
    let mut stage = Stage::default();
    put(&mut stage, &TypeUrl::Route, "good", "1", &route("good", "a"));
    put(&mut stage, &TypeUrl::Route, "bad", "1", &route("bad", "a"));
    let mut broken = upsert("bad", "2", &route("bad", "a"));
    broken.body = Bytes::from_static(&[0xff, 0xff]);
    let mut stranger = upsert("new", "2", &route("other", "a"));
    stranger.version = "2".into();
    let upserts = vec![broken, upsert("good", "2", &route("good", "a")), stranger];
    let applied = stage.apply(&TypeUrl::Route, upserts, &[], START);
    let rejected: Vec<_> = applied.rejected.iter().map(|r| r.resource.to_string()).collect();
    assert_eq!(rejected, ["RDS bad", "RDS new"]);
    assert_eq!(applied.rejected[1].path, "name");
    let snapshot = stage.publish(START);
    let held = |name: &str| snapshot.route_table(name).found().map(|t| t.version.to_string());
    assert_eq!(held("good").as_deref(), Some("2"));
    assert_eq!(held("bad").as_deref(), Some("1"));
    assert_eq!(held("new"), None);
    assert!(stage.is_answered(&ResourceName::new(TypeUrl::Route, "new")));
    assert_eq!(stage.versions(&TypeUrl::Route)[&Arc::from("bad")], "1".into());
}

#[test]
fn aliases_answer_until_something_more_specific_comes() {
    let mut stage = Stage::default();
    stage.set_on_demand(Some(OnDemand::default()));
    put(&mut stage, &TypeUrl::Route, "r", "1", &route("r", "a"));
    let mut aliased = upsert("0.0.0.0_9080", "1", &listener("0.0.0.0_9080", "r"));
    aliased.aliases = vec!["10.0.0.1_9080".into()];
    stage.apply(&TypeUrl::Listener, vec![aliased], &["10.0.0.2_9080".into()], START);
    // A server that starts anew learns that the alias is answered already.
    let held = stage.versions(&TypeUrl::Listener);
    assert_eq!(
        held.keys().map(|name| &**name).collect::<Vec<_>>(),
        ["0.0.0.0_9080", "10.0.0.1_9080"]
    );
    let at = |snapshot: &Snapshot, address: &str| {
        snapshot.listener_for(address.parse().unwrap()).map(|found| found.name.to_string())
    };
    let snapshot = stage.publish(START);
    let any = Lookup::Found("0.0.0.0_9080".to_owned());
    assert_eq!(at(&snapshot, "10.0.0.1:9080"), any);
    assert_eq!(at(&snapshot, "10.0.0.2:9080"), any, "pilot knows nothing more specific");
    assert!(matches!(at(&snapshot, "10.0.0.3:9080"), Lookup::Unknown(_)));
    assert_eq!(snapshot.bound_listeners().count(), 1);

    put(&mut stage, &TypeUrl::Listener, "10.0.0.1_9080", "1", &listener("10.0.0.1_9080", "r"));
    let own = Lookup::Found("10.0.0.1_9080".to_owned());
    assert_eq!(at(&stage.publish(START), "10.0.0.1:9080"), own);
    stage.forget(&ResourceName::new(TypeUrl::Listener, "10.0.0.1_9080"));
    assert!(matches!(at(&stage.publish(START), "10.0.0.1:9080"), Lookup::Unknown(_)));
}

#[test]
fn what_is_wanted_follows_from_what_is_held() {
    let mut stage = Stage::default();
    put(&mut stage, &TypeUrl::Listener, "l", "1", &listener("l", "r"));
    put(&mut stage, &TypeUrl::Route, "r", "1", &route("r", "c"));
    put(&mut stage, &TypeUrl::Cluster, "c", "1", &cluster("c"));
    let names = |wanted: &BTreeMap<usize, Wanted>, ty: &TypeUrl| -> Vec<String> {
        let names = wanted.get(&Stage::place(ty)).map(|wanted| &wanted.names);
        names.into_iter().flatten().map(ToString::to_string).collect()
    };
    let wanted = stage.wanted(&BTreeSet::new());
    assert!(wanted[&Stage::place(&TypeUrl::Cluster)].wildcard);
    assert_eq!(names(&wanted, &TypeUrl::Route), ["r"]);
    assert_eq!(names(&wanted, &TypeUrl::Endpoint), ["c"]);

    stage.set_on_demand(Some(OnDemand::default()));
    let asked = [(Stage::place(&TypeUrl::Listener), Arc::from("10.0.0.1_80"))].into();
    let wanted = stage.wanted(&asked);
    assert!(!wanted[&Stage::place(&TypeUrl::Cluster)].wildcard);
    assert_eq!(names(&wanted, &TypeUrl::Cluster), ["c"]);
    assert_eq!(names(&wanted, &TypeUrl::Listener), ["10.0.0.1_80"]);
}

#[test]
fn dumps_give_back_the_bytes() {
    let mut stage = Stage::default();
    let given = upsert("c", "7", &cluster("c"));
    stage.apply(&TypeUrl::Cluster, vec![given.clone()], &[], START);
    let raw = stage.raw(&TypeUrl::Cluster);
    assert_eq!(
        (&raw[0].body, raw[0].last_updated, raw[0].grade),
        (&given.body, START, Grade::Accepted)
    );
    let other = stage.apply(&TypeUrl::Workload, vec![given], &[], START);
    assert_eq!(other.rejected.len(), 1);
}

#[test]
fn names_come_in_parts() {
    let mut stage = Stage::default();
    stage.set_on_demand(Some(OnDemand::default()));
    let part = |host: &str| {
        json!({"@type": TypeUrl::NameTable.as_str(), "table": {
        host: {"ips": ["10.0.0.1"], "registry": "Kubernetes"}}})
    };
    put(&mut stage, &TypeUrl::NameTable, "a.svc", "1", &part("A.svc."));
    stage.apply(&TypeUrl::NameTable, Vec::new(), &["b.svc".into()], START);
    let snapshot = stage.publish(START);
    assert_eq!(snapshot.name("a.svc").found().unwrap().addresses.len(), 1);
    assert!(matches!(snapshot.name("b.svc"), Lookup::Absent));
    assert!(matches!(snapshot.name("c.svc"), Lookup::Unknown(_)));
}

proptest! {
    /// Whatever comes, no stage panics, and what it says it holds it holds.
    #[test]
    fn any_bytes_may_come(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
        for type_url in Stage::TYPES {
            let mut stage = Stage::default();
            let upserts = bodies.iter().enumerate().map(|(n, body)| Upsert {
                name: n.to_string().into(), version: "1".into(), aliases: vec!["x".into()],
                body: Bytes::from(body.clone()),
            });
            let applied = stage.apply(&type_url, upserts.collect(), &[], START);
            prop_assert_eq!(stage.raw(&type_url).len(), applied.accepted.len());
            stage.publish(START);
        }
    }
}
