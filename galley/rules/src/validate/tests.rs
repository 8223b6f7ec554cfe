//! Tables of documents and what is said of each.

mod security;
mod traffic;

use serde_json::{Value, json};

use super::{Verdict, validate};

/// An object of a kind with the spec that the YAML text gives.
fn object(api: &str, kind: &str, spec: &str) -> Value {
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    let metadata = json!({ "name": "one", "namespace": "here" });
    json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec })
}

fn lines(findings: &[super::Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// Each row: a spec, and parts of the errors (`E `) and warnings (`W `) it must give, all of them.
fn judge(api: &str, kind: &str, table: &[(&str, &[&str])]) {
    for (spec, want) in table {
        let verdict: Verdict = validate(&object(api, kind, spec)).unwrap();
        let got: Vec<String> = lines(&verdict.errors)
            .into_iter()
            .map(|line| format!("E {line}"))
            .chain(lines(&verdict.warnings).into_iter().map(|line| format!("W {line}")))
            .collect();
        assert_eq!(got.len(), want.len(), "{kind} {spec}\n{got:#?}");
        for part in *want {
            assert!(
                got.iter().any(|line| line.starts_with(part)),
                "{kind} {spec}\n{part}\n{got:#?}"
            );
        }
    }
}

#[test]
fn other_kinds_are_not_judged() {
    assert_eq!(validate(&json!({ "apiVersion": "v1", "kind": "Pod" })), None);
    assert_eq!(validate(&json!({ "apiVersion": "a/v1", "kind": "Gateway" })), None);
    assert_eq!(validate(&json!([])), None);
}

#[test]
fn versions_that_nobody_serves_are_refused() {
    let verdict = validate(&object("networking.istio.io/v9", "VirtualService", "{}")).unwrap();
    assert!(verdict.errors[0].to_string().contains("v1, v1alpha3, v1beta1"));
}

#[test]
fn annotations_of_the_control_plane_are_refused() {
    let mut one = object(
        "networking.istio.io/v1",
        "VirtualService",
        "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}",
    );
    assert_eq!(validate(&one).unwrap(), Verdict::default());
    one["metadata"]["annotations"] = json!({ "istio.io/dry-run": "true" });
    assert_eq!(validate(&one).unwrap().errors.len(), 1);
    one["metadata"]["annotations"] = json!({ "internal.istio.io/parents": "x" });
    assert_eq!(validate(&one).unwrap().errors.len(), 1);
    one["extra"] = json!(1);
    assert_eq!(validate(&one).unwrap().errors.len(), 2);
}
