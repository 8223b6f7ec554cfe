//! Rendering a Helm chart: Go templates with Helm's objects and functions.
//!
//! The template language itself is the crate `gotmpl`; this adds what Helm adds. Templates cannot
//! read anything but the chart and the values: no environment, no network, no cluster (`lookup`
//! finds nothing, as in `helm template`), and no clock or randomness.

mod convert;
mod engine;
mod functions;
mod methods;
pub mod set;
pub mod values;
pub mod yaml;

use serde_json::{Value, json};

use crate::chart::Chart;
use crate::error::Error;

/// The release that templates see as `.Release`.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// The namespace it is installed in.
    pub namespace: String,
    /// `.Capabilities.KubeVersion.Version`, such as `v1.33.0`.
    pub kube_version: String,
}

/// The text a template rendered to.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Path in the chart, such as `templates/deployment.yaml`.
    pub template: String,
    /// Its text: a YAML stream.
    pub text: String,
}

/// Renders every template of a chart. `overrides` are the user's values; the chart's defaults
/// fill what they leave out.
pub fn render(chart: &Chart, release: &Release, overrides: &Value) -> Result<Vec<Rendered>, Error> {
    let name = &chart.metadata.name;
    let values = values::over_defaults(&chart.values, overrides);
    let engine = engine::Engine::new(name, &chart.templates)
        .map_err(|error| Error::Manifest(format!("chart {name}: {error}")))?;
    let root = json!({
        "Values": values,
        "Release": {
            "Name": release.name,
            "Namespace": release.namespace,
            "Service": "Helm",
            "Revision": 1,
            "IsInstall": true,
            "IsUpgrade": false,
        },
        "Chart": {
            "APIVersion": chart.metadata.api_version,
            "Name": name,
            "Version": chart.metadata.version,
            "AppVersion": chart.metadata.app_version,
            "Description": chart.metadata.description,
            "Type": chart.metadata.kind,
        },
        "Subcharts": {},
    });
    let mut rendered = Vec::new();
    for template in chart.templates.keys() {
        if template.rsplit('/').next().is_some_and(|file| file.starts_with('_')) {
            continue;
        }
        let data = methods::with_methods(&root, chart, release, template);
        let text = engine
            .execute(template, &data)
            .map_err(|error| Error::Manifest(format!("chart {name}: {template}: {error}")))?;
        rendered.push(Rendered { template: template.clone(), text });
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests;
