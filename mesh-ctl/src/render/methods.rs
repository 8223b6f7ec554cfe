//! The objects of a template that have methods: `.Files`, `.Capabilities` and `.Template`.

use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use serde_json::Value as Json;

use super::Release;
use super::convert::{from_json, list, map, text};
use crate::chart::Chart;

/// The groups every Kubernetes cluster of today has.
const API_VERSIONS: &[&str] = &[
    "v1",
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apps/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "autoscaling/v2",
    "batch/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
];

/// `root` with the objects that belong to this chart, release and template.
pub(super) fn with_methods(root: &Json, chart: &Chart, release: &Release, template: &str) -> Value {
    let Value::Map(fields) = from_json(root) else { return Value::Nil };
    let mut fields = (*fields).clone();
    fields.insert("Files".into(), files(chart));
    fields.insert("Capabilities".into(), capabilities(release));
    let chart = &chart.metadata.name;
    fields.insert(
        "Template".into(),
        map([
            ("Name", text(format!("{chart}/{template}"))),
            ("BasePath", text(format!("{chart}/templates"))),
        ]),
    );
    Value::Map(Arc::new(fields))
}

fn files(chart: &Chart) -> Value {
    let all = Arc::new(chart.files.clone());
    let get = {
        let all = Arc::clone(&all);
        Value::Function(Arc::new(move |args| {
            let name = one_text("Files.Get", args)?;
            Ok(text(all.get(name).map_or("", String::as_str)))
        }))
    };
    let lines = Value::Function(Arc::new(move |args| {
        let name = one_text("Files.Lines", args)?;
        Ok(list(all.get(name).map_or("", String::as_str).lines().map(text)))
    }));
    map([("Get", get), ("Lines", lines)])
}

fn capabilities(release: &Release) -> Value {
    let version = release.kube_version.as_str();
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut number = || text(numbers.next().unwrap_or_default());
    let (major, minor) = (number(), number());
    let has = Value::Function(Arc::new(|args| {
        let name = one_text("Capabilities.APIVersions.Has", args)?;
        Ok(Value::Bool(API_VERSIONS.contains(&name)))
    }));
    map([
        (
            "KubeVersion",
            map([
                ("Version", text(version)),
                ("GitVersion", text(version)),
                ("Major", major),
                ("Minor", minor),
            ]),
        ),
        ("APIVersions", map([("Has", has)])),
    ])
}

fn one_text<'a>(what: &str, args: &'a [Value]) -> gotmpl::Result<&'a str> {
    match args {
        [Value::String(text)] => Ok(text),
        _ => Err(TemplateError::Exec(format!("{what} takes one text"))),
    }
}
