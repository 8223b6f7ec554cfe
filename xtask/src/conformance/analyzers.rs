//! Cases of analysis: objects, the one analyzer each case aims at, and what it must say.

use std::collections::BTreeSet;
use std::path::Path;

use galley_rules::analyze::{ALL, World, analyze};
use galley_rules::report::Diagnostic;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Tally, read};
use crate::run::{Error, say};

/// One case.
#[derive(Deserialize)]
struct Case {
    case: u32,
    name: String,
    files: Vec<String>,
    analyzer: String,
    expect: Vec<Expected>,
}

/// A message that must come; a resource without namespace is compared by name alone.
#[derive(Clone, Debug, Deserialize)]
struct Expected {
    code: String,
    kind: String,
    resource: String,
}

impl Expected {
    fn is(&self, message: &Diagnostic) -> bool {
        let origin = &message.origin;
        let named = match self.resource.split_once('/') {
            Some((namespace, name)) => origin.namespace == namespace && origin.name == name,
            None => origin.name == self.resource,
        };
        named && self.code == message.code.to_string() && self.kind == origin.kind
    }
}

/// Runs every case of `dir` whose analyzer this build has, and names the other analyzers.
pub(super) fn run(dir: &Path) -> Result<Tally, Error> {
    let path = dir.join("cases.json");
    let cases: Vec<Case> = serde_json::from_str(&read(&path)?)
        .map_err(|error| Error::new(format!("{}: not a list of cases: {error}", path.display())))?;
    let mut tally = Tally::default();
    let mut missing = BTreeSet::new();
    let mut uncovered = 0;
    for case in &cases {
        if !ALL.iter().any(|analyzer| analyzer.name == case.analyzer) {
            missing.insert(case.analyzer.as_str());
            uncovered += 1;
            continue;
        }
        let world = world(&dir.join("inputs"), &case.files)?;
        let report = analyze(&world, std::slice::from_ref(&case.analyzer));
        match compare(&case.expect, report.into_sorted()) {
            Ok(()) => tally.passed += 1,
            Err(difference) => {
                tally.failed += 1;
                say(&format!("FAIL analyzers #{} {}: {difference}", case.case, case.name));
            }
        }
    }
    say(&format!("analyzers: {} passed, {} failed", tally.passed, tally.failed));
    if !missing.is_empty() {
        let names = missing.into_iter().collect::<Vec<_>>().join(", ");
        say(&format!("analyzers: {uncovered} cases not covered, of {names}"));
    }
    Ok(tally)
}

fn compare(expected: &[Expected], mut got: Vec<Diagnostic>) -> Result<(), String> {
    let mut absent = Vec::new();
    for wanted in expected {
        match got.iter().position(|message| wanted.is(message)) {
            Some(index) => drop(got.remove(index)),
            None => absent.push(format!("{} {} {}", wanted.code, wanted.kind, wanted.resource)),
        }
    }
    if absent.is_empty() && got.is_empty() {
        return Ok(());
    }
    let got: Vec<_> = got.iter().map(ToString::to_string).collect();
    Err(format!("\n  absent:   {}\n  too many: {}", absent.join("; "), got.join("; ")))
}

/// The objects of the files, beside the gateway that every case has. Documents without kind are
/// the mesh's configuration or its networks.
fn world(dir: &Path, files: &[String]) -> Result<World, Error> {
    let mut world = World::default();
    for object in gateway() {
        world.add(object, "istio-system");
    }
    for file in files {
        let path = dir.join(file);
        let documents = local_model::yaml::documents(&read(&path)?)
            .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        for document in documents {
            if document["kind"].is_string() {
                world.add(document, "default");
            } else if document["networks"].is_object() {
                world.mesh_networks = document;
            } else {
                world.mesh_config = document;
            }
        }
    }
    Ok(world)
}

fn gateway() -> [Value; 2] {
    let labels = json!({ "istio": "ingressgateway" });
    let port = |(name, number): (&str, u16)| json!({ "name": name, "port": number, "targetPort": number, "protocol": "TCP" });
    let ports: Vec<_> = [("http2", 80), ("https", 443), ("tcp", 31400), ("tls", 15443)]
        .into_iter()
        .map(port)
        .collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "istio-ingressgateway-dummypod", "namespace": "istio-system",
                "labels": labels,
            },
            "spec": { "containers": [{ "name": "istio-proxy" }] },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "istio-ingressgateway", "namespace": "istio-system" },
            "spec": { "selector": labels, "ports": ports },
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(code: &str, resource: &str) -> Expected {
        Expected { code: code.into(), kind: "Namespace".into(), resource: resource.into() }
    }

    fn case(expect: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inputs")).unwrap();
        let object = "apiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n";
        std::fs::write(dir.path().join("inputs/a.yaml"), object).unwrap();
        let cases = format!(
            "[{{\"case\": 1, \"name\": \"a\", \"files\": [\"a.yaml\"], \
             \"analyzer\": \"injection.Analyzer\", \"expect\": [{expect}]}}, \
             {{\"case\": 2, \"name\": \"b\", \"files\": [], \"analyzer\": \"no.such\", \
             \"expect\": []}}]"
        );
        std::fs::write(dir.path().join("cases.json"), cases).unwrap();
        dir
    }

    #[test]
    fn cases_of_unknown_analyzers_do_not_count_as_passed() {
        let right = "{\"code\": \"IST0102\", \"kind\": \"Namespace\", \"resource\": \"plain\"}";
        let tally = run(case(right).path()).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 0 });
        let tally = run(case("").path()).unwrap();
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn what_is_absent_and_what_is_too_many_are_told_apart() {
        let dir = case("");
        let world = world(&dir.path().join("inputs"), &["a.yaml".to_owned()]).unwrap();
        let got = || analyze(&world, &["injection.Analyzer".to_owned()]).into_sorted();
        assert_eq!(compare(&[expected("IST0102", "plain")], got()), Ok(()));
        let difference = compare(&[expected("IST0101", "other")], got()).unwrap_err();
        assert!(difference.contains("absent:   IST0101 Namespace other"), "{difference}");
        assert!(difference.contains("too many: Info [IST0102] (Namespace plain)"), "{difference}");
    }
}
