//! `meshctl validate`: what the webhook would say of files, without a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use galley_rules::analyze::{Resource, World, analyze};
use galley_rules::report::{Code, Origin};
use galley_rules::validate::{Verdict, validate};
use serde::Serialize;
use serde_json::Value;

use crate::analyze::source::{self, Document, Documents};
use crate::error::Error;
use crate::output::{self, Format};

/// Where objects are that name no namespace.
const NAMESPACE: &str = "default";
/// The analyzers of references, and the code of one that leads nowhere.
const REFERENCES: [&str; 3] = [
    "virtualservice.DestinationHostAnalyzer",
    "virtualservice.DestinationRuleAnalyzer",
    "virtualservice.GatewayAnalyzer",
];
const NOT_FOUND: Code = Code(101);

/// Options of `meshctl validate`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  meshctl validate -f bookinfo-gateway.yaml\n  \
    kubectl get virtualservices -o yaml | meshctl validate -f -")]
pub struct Args {
    /// Files of objects, directories, or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// More of them.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also check that the hosts, subsets and gateways that objects name are in the files.
    #[arg(short = 'x', long)]
    referential: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What validation says of one file.
#[derive(Debug, Serialize)]
struct Outcome {
    file: String,
    valid: bool,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Validates and prints; fails when an object would be refused.
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let paths: Vec<PathBuf> = args.filename.iter().chain(&args.files).cloned().collect();
    if paths.is_empty() {
        return Err(Error::Usage(
            "no files to validate: name them with -f, or - for standard input".to_owned(),
        ));
    }
    let (mut outcomes, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        let found = source::read(std::slice::from_ref(&path), true)?;
        outcomes.push(judge(&path.display().to_string(), &found));
        files.push(found);
    }
    if args.referential {
        references(&files, &mut outcomes);
    }
    for warning in outcomes.iter().flat_map(|outcome| &outcome.warnings) {
        output::progress(&format!("warning: {warning}"));
    }
    output::result(args.output, &outcomes, &words(&outcomes))?;
    Ok(match outcomes.iter().all(|outcome| outcome.valid) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn judge(file: &str, found: &Documents) -> Outcome {
    let mut outcome = Outcome {
        file: file.to_owned(),
        valid: false,
        errors: found.unreadable.clone(),
        warnings: Vec::new(),
    };
    for document in &found.documents {
        each(&document.value, &mut |object| one(object, document, &mut outcome));
    }
    outcome.valid = outcome.errors.is_empty();
    outcome
}

/// Adds what objects name and no file has, to the outcome of the file that names it.
fn references(files: &[Documents], outcomes: &mut [Outcome]) {
    let mut world = World::default();
    let mut holders = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        for document in &file.documents {
            each(&document.value, &mut |object| {
                let read = Resource::read(object.clone(), NAMESPACE);
                holders.extend(read.map(|one| (one.origin, index)));
                world.add(object.clone(), NAMESPACE);
            });
        }
    }
    let names = REFERENCES.map(str::to_owned);
    for message in analyze(&world, &names).into_sorted() {
        let holder = holders.get(&message.origin).and_then(|index| outcomes.get_mut(*index));
        let Some(outcome) = holder.filter(|_| message.code == NOT_FOUND) else { continue };
        let Origin { kind, namespace, name } = &message.origin;
        let place = message.path.map(|path| format!("{path}: ")).unwrap_or_default();
        outcome.errors.push(format!("{kind}/{namespace}/{name}: {place}{}", message.message));
        outcome.valid = false;
    }
}

/// An object, or the elements of a list.
fn each(value: &Value, act: &mut dyn FnMut(&Value)) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value["items"].as_array().filter(|_| is_list) {
        Some(items) => items.iter().for_each(act),
        None => act(value),
    }
}

fn one(object: &Value, document: &Document, outcome: &mut Outcome) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if object["kind"].as_str().is_none() || object["apiVersion"].as_str().is_none() {
        let place = format!("{}:{}", document.file, document.line);
        outcome.errors.push(format!("{place}: an object needs apiVersion and kind"));
        return;
    }
    let metadata = &object["metadata"];
    let name = format!(
        "{}/{}/{}",
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    );
    // Objects of other kinds are none of the mesh's business.
    let verdict: Verdict = validate(object).unwrap_or_default();
    outcome.errors.extend(verdict.errors.iter().map(|finding| format!("{name}: {finding}")));
    outcome.warnings.extend(verdict.warnings.iter().map(|finding| format!("{name}: {finding}")));
}

fn words(outcomes: &[Outcome]) -> String {
    let mut lines = Vec::new();
    for outcome in outcomes {
        if outcome.valid {
            lines.push(format!("{:?} is valid", outcome.file));
            continue;
        }
        let count = outcome.errors.len();
        let plural = if count == 1 { "error" } else { "errors" };
        lines.push(format!("{:?}: {count} {plural} occurred:", outcome.file));
        lines.extend(outcome.errors.iter().map(|error| format!("\t* {error}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Outcome {
        let mut found = Documents::default();
        source::parse("a.yaml", text, &mut found);
        judge("a.yaml", &found)
    }

    #[test]
    fn valid_files_say_so() {
        let outcome = outcome("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
        assert_eq!(words(&[outcome]), "\"a.yaml\" is valid");
    }

    #[test]
    fn errors_name_the_object_and_the_field() {
        let outcome = outcome(
            "kind: List\napiVersion: v1\nitems:\n- apiVersion: networking.istio.io/v1\n  \
             kind: Gateway\n  metadata: {name: g, namespace: net}\n  spec: {server: []}\n---\na: b\n",
        );
        assert_eq!(
            words(&[outcome]),
            "\"a.yaml\": 3 errors occurred:\n\
             \t* Gateway/net/g: spec: unknown field \"server\"\n\
             \t* Gateway/net/g: spec.servers: gateway must have at least one server\n\
             \t* a.yaml:9: an object needs apiVersion and kind"
        );
    }

    #[test]
    fn references_are_followed_across_files() {
        let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
                     a}\nspec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a, subset: \
                     v1}}]\n";
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: \
                       80}]}\n";
        let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: \
                    a}\nspec: {host: a, subsets: [{name: v1}]}\n";
        for (texts, missing) in [
            (vec![route], vec!["host not found", "host+subset in destinationrule not found"]),
            (vec![route, service], vec!["host+subset in destinationrule not found"]),
            (vec![route, service, rule], vec![]),
        ] {
            let mut files = Vec::new();
            for text in &texts {
                let mut found = Documents::default();
                source::parse("a.yaml", text, &mut found);
                files.push(found);
            }
            let mut outcomes: Vec<_> = files.iter().map(|file| judge("a.yaml", file)).collect();
            assert!(outcomes.iter().all(|outcome| outcome.valid));
            references(&files, &mut outcomes);
            let errors = &outcomes[0].errors;
            assert_eq!(errors.len(), missing.len(), "{errors:?}");
            assert_eq!(outcomes[0].valid, missing.is_empty());
            for (error, words) in errors.iter().zip(missing) {
                let place = "VirtualService/default/a: spec.http[0].route[0].destination.";
                assert!(error.starts_with(place) && error.contains(words), "{error}");
            }
        }
    }

    #[test]
    fn warnings_do_not_refuse() {
        let outcome = outcome(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\n",
        );
        assert!(outcome.valid);
        assert!(outcome.warnings[0].starts_with("EnvoyFilter//a: spec: EnvoyFilter exposes"));
    }
}
