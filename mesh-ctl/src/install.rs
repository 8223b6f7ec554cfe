//! Installing the mesh: charts are rendered, applied, waited for, and what an earlier installation
//! made and this one does not is removed.

mod inventory;
pub mod manifest;
pub mod operator;
pub mod plan;
mod ready;
pub mod uninstall;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DynamicObject;
use kube::core::TypeMeta;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use mesh_api::labels;
use serde::Serialize;

use crate::apply::{self, Applied, Applier};
use crate::chart::Charts;
use crate::error::Error;
use operator::Operator;
use plan::{Component, Planned};

/// Hears how far an installation is.
pub trait Progress {
    /// One line for people.
    fn line(&mut self, text: &str);
}

/// How to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// The charts.
    pub charts: Charts,
    /// What to install.
    pub operator: Operator,
    /// How long all components together may take to become ready.
    pub patience: Duration,
    /// Nothing is written; what would be is told.
    pub dry_run: bool,
}

/// What an installation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Objects that were not there, as `kind/name`.
    pub created: Vec<String>,
    /// Objects that differed.
    pub configured: Vec<String>,
    /// How many were as wanted.
    pub unchanged: usize,
    /// Objects of an earlier installation that were removed.
    pub pruned: Vec<String>,
}

/// Installs the mesh and waits until it is ready.
///
/// # Errors
/// A value no chart reads, a chart that does not render, an object the API server refuses, or a
/// Deployment that is not available in time, with the reasons of its pods.
pub async fn install(
    client: &Client,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Report, Error> {
    let operator = &options.operator;
    let planned = plan::plan(&options.charts, operator)?;
    let mut wanted: BTreeMap<Component, Vec<DynamicObject>> = BTreeMap::new();
    for one in &planned {
        wanted.entry(one.component).or_default().extend(manifest::objects(operator, one)?);
    }
    let mut report = Report::default();
    let mut applier = Applier::new(client.clone(), operator.namespace(), options.dry_run);
    apply_all(&mut applier, namespaces(operator, &planned), &mut report, progress).await?;
    for objects in wanted.values() {
        apply_all(&mut applier, objects.clone(), &mut report, progress).await?;
    }
    prune(client, options, &wanted, &mut report, progress).await?;
    if options.dry_run {
        return Ok(report);
    }
    let deadline = tokio::time::Instant::now() + options.patience;
    for (component, objects) in &wanted {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        Box::pin(await_ready(client, objects, left, progress)).await.map_err(|error| {
            Error::TimedOut(format!("{} is not ready: {error}", component.title()))
        })?;
        progress.line(&format!("✔ {} installed", component.title()));
    }
    Ok(report)
}

/// The namespaces of a plan, to be made where they are missing.
fn namespaces(operator: &Operator, planned: &[Planned]) -> Vec<DynamicObject> {
    let names: BTreeSet<_> = planned.iter().map(|one| one.namespace.as_str()).collect();
    let types = TypeMeta { api_version: "v1".into(), kind: "Namespace".into() };
    let object = |name: &str| {
        let mut object = DynamicObject {
            types: Some(types.clone()),
            metadata: Default::default(),
            data: serde_json::Value::Object(serde_json::Map::new()),
        };
        object.metadata.name = Some(name.to_owned());
        object.labels_mut().insert(manifest::OWNER.to_owned(), operator.name.clone());
        object
    };
    names.into_iter().map(object).collect()
}

async fn apply_all(
    applier: &mut Applier,
    objects: Vec<DynamicObject>,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    for object in objects {
        let is_namespace = object.types.as_ref().is_some_and(|types| types.kind == "Namespace");
        // A namespace somebody else made stays theirs.
        if is_namespace && inventory::namespace_exists(applier.client(), &object.name_any()).await?
        {
            continue;
        }
        let title = apply::title(&object);
        let applied = applier.apply(&object).await?;
        if applier.is_dry_run() {
            progress.line(&format!("{title} {} (dry run)", applied.as_str()));
        }
        match applied {
            Applied::Created => report.created.push(title),
            Applied::Configured => report.configured.push(title),
            Applied::Unchanged => report.unchanged += 1,
        }
    }
    Ok(())
}

/// Removes what an earlier installation of the same document and revision made, and this one does
/// not. CustomResourceDefinitions stay: users' objects would go with them.
async fn prune(
    client: &Client,
    options: &Options,
    wanted: &BTreeMap<Component, Vec<DynamicObject>>,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let operator = &options.operator;
    let keep: BTreeSet<_> = wanted.values().flatten().map(inventory::identity).collect();
    let owned = inventory::owned(client).await?;
    let alone = inventory::revisions(&owned).iter().all(|one| one == operator.revision());
    for one in owned {
        let mine = one.label(manifest::OWNER) == Some(operator.name.as_str())
            && one.label(labels::OPERATOR_COMPONENT) != Some(Component::Base.label());
        let revised = match one.label(labels::REV) {
            Some(revision) => revision == operator.revision(),
            None => alone,
        };
        if !mine || !revised || keep.contains(&one.identity()) {
            continue;
        }
        if options.dry_run {
            progress.line(&format!("{} pruned (dry run)", one.title()));
        } else {
            one.delete(client).await?;
        }
        report.pruned.push(one.title());
    }
    Ok(())
}

/// Waits until Deployments are available and definitions are served.
async fn await_ready(
    client: &Client,
    objects: &[DynamicObject],
    patience: Duration,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let of_kind = |kind: &'static str| {
        objects
            .iter()
            .filter(move |object| object.types.as_ref().is_some_and(|types| types.kind == kind))
    };
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for object in of_kind("CustomResourceDefinition") {
        let name = object.name_any();
        let established =
            await_condition(definitions.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(patience, established).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::Failed(format!("{name}: {error}"))),
            Err(_) => return Err(Error::TimedOut(format!("{name} is not established"))),
        }
    }
    let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in of_kind("Deployment") {
        let namespace = object.namespace().unwrap_or_default();
        by_namespace.entry(namespace).or_default().insert(object.name_any());
    }
    for (namespace, names) in by_namespace {
        Box::pin(ready::deployments(client, &namespace, &names, patience, progress)).await?;
    }
    Ok(())
}
