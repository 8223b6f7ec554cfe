//! What users type, and what is made of the control plane's answers.

use serde_json::{Value, json};

use super::*;

#[test]
fn objects_go_by_any_of_their_names() {
    for (what, name, expected) in [
        ("virtualservice/reviews", None, "VirtualService/default/reviews"),
        ("VirtualService", Some("bookinfo.shop"), "VirtualService/shop/bookinfo"),
        ("virtual-service", Some("a"), "VirtualService/default/a"),
        ("vs/a", None, "VirtualService/default/a"),
        ("destinationrules", Some("a"), "DestinationRule/default/a"),
        ("gw/a.b", None, "Gateway/b/a"),
        ("svc/a", None, "Service/default/a"),
    ] {
        let named = Named::parse(what, name, "default").unwrap();
        assert_eq!(named.to_string(), expected);
    }
    let named = Named::parse("se/a", None, "default").unwrap();
    assert_eq!(named.resource.api_version, "networking.istio.io/v1");
    assert_eq!(named.resource.plural, "serviceentries");
    assert_eq!(
        named.page(Some("7"), Some(2)),
        "/debug/config_distribution?resource=ServiceEntry%2Fdefault%2Fa&resource_version=7&generation=2"
    );
    for (what, name, words) in [
        ("virtualservice", None, "write <type>/<name>"),
        ("virtualservice/a", Some("b"), "write <type>/<name>"),
        ("virtualservice/", None, "write <type>/<name>"),
        ("vs/a.", None, "write <type>/<name>"),
        ("pod/a", None, "type pod is not recognized"),
    ] {
        let error = Named::parse(what, name, "default").unwrap_err().to_string();
        assert!(error.contains(words), "{what} {name:?}: {error}");
    }
}

fn answer(state: &str, reached: bool, took: Option<u64>, proxies: &[(&str, bool)]) -> Value {
    let proxies = proxies.iter().map(|(proxy, acknowledged)| {
        let reasons = if *acknowledged { json!([]) } else { json!(["it refused lds: no"]) };
        json!({"proxy": proxy, "acknowledged": acknowledged, "reasons": reasons})
    });
    json!({
        "resource": "VirtualService/default/reviews", "state": state, "resource_version": "7",
        "reached": reached, "distributed_in_ms": took, "proxies": Value::from_iter(proxies),
    })
}

fn read(condition: Condition, answers: &[Value]) -> Progress {
    let pods = answers.iter().enumerate();
    let answers = pods.map(|(pod, answer)| (format!("istiod-{pod}"), answer.to_string().into()));
    Progress::read(condition, &answers.collect()).unwrap()
}

#[test]
fn all_replicas_count() {
    let both = [
        answer("current", true, Some(20), &[("a.x", true), ("b.x", true)]),
        answer("current", true, Some(40), &[("c.x", true)]),
    ];
    let progress = read(Condition::Distribution, &both);
    assert!(progress.is_reached(1.0));
    let words = "Resource VirtualService/default/reviews present on 3 out of 3 sidecars in 40 ms";
    assert_eq!(progress.words(Condition::Distribution), words);
    assert!(!read(Condition::Delete, &both).is_reached(0.0), "it is still there");
}

#[test]
fn who_is_behind_is_named() {
    let late = [
        answer("current", true, None, &[("a.x", true), ("b.x", false)]),
        answer("current", false, Some(1), &[("c.x", true), ("d.x", true)]),
    ];
    let progress = read(Condition::Distribution, &late);
    assert_eq!((progress.present, progress.total, progress.distributed_in_ms), (1, 4, None));
    assert!(!progress.is_reached(0.25), "a replica has not seen it");
    let complaint = progress.complaint();
    for words in ["b.x: it refused lds: no", "c.x: the control plane has not seen the change"] {
        assert!(complaint.contains(words), "{complaint}");
    }
    let progress = read(Condition::Distribution, &late[..1]);
    assert!(progress.is_reached(0.5) && !progress.is_reached(0.51));
}

#[test]
fn deletions_are_reached_when_nobody_has_the_object() {
    for state in ["deleted", "unknown"] {
        let took = (state == "deleted").then_some(9);
        let gone = read(Condition::Delete, &[answer(state, false, took, &[("a.x", true)])]);
        assert!(gone.is_reached(1.0), "{state}");
        let words = gone.words(Condition::Delete);
        assert!(words.contains("gone from 1 out of 1 sidecars in"), "{words}");
        let held = read(Condition::Delete, &[answer(state, false, None, &[("a.x", false)])]);
        assert!(!held.is_reached(1.0), "{state}");
    }
    // Without a single proxy there is nobody to wait for.
    assert!(
        read(Condition::Distribution, &[answer("current", true, Some(0), &[])]).is_reached(1.0)
    );
}

#[test]
fn an_object_that_is_set_aside_is_told_of() {
    let mut aside = answer("current", true, Some(0), &[]);
    aside["set_aside"] = json!("spec.http: no");
    let progress = read(Condition::Distribution, &[aside]);
    assert_eq!(progress.set_aside.as_deref(), Some("spec.http: no"));
    let error = Progress::read(
        Condition::Distribution,
        &[("istiod-0".to_owned(), Bytes::from_static(b"[]"))].into(),
    );
    assert!(error.unwrap_err().to_string().contains("istiod-0"));
}
