//! What to install: an IstioOperator document, from a profile, files and settings, in this order.

use std::collections::BTreeMap;

use mesh_api::mesh_config::MeshConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::chart::Charts;
use crate::error::Error;
use crate::render::{set, values};

/// The profile where nobody names one.
const DEFAULT_PROFILE: &str = "default";
/// The control plane's namespace where nobody names one.
const NAMESPACE: &str = "istio-system";

/// What the user asked for, not yet laid together.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// IstioOperator documents: name of the file, and its text.
    pub files: Vec<(String, String)>,
    /// `--set` arguments.
    pub sets: Vec<String>,
    /// `--revision`.
    pub revision: Option<String>,
}

/// The `spec` of an IstioOperator document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// Name of the profile the others are laid over; read before the document is.
    #[serde(rename = "profile")]
    pub _profile: Option<String>,
    /// Revision of the control plane.
    pub revision: Option<String>,
    /// Where images come from.
    pub hub: Option<String>,
    /// Tag of the images.
    pub tag: Option<Value>,
    /// Namespace of the control plane.
    pub namespace: Option<String>,
    /// Settings of the mesh.
    pub mesh_config: Map<String, Value>,
    /// Values of the charts.
    pub values: Map<String, Value>,
    /// What is installed.
    pub components: Components,
}

/// The parts of an installation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Components {
    /// The CustomResourceDefinitions.
    pub base: Switch,
    /// The control plane.
    pub pilot: Part,
    /// A part of ambient mode, which cannot be enabled.
    pub cni: Switch,
    /// A part of ambient mode, which cannot be enabled.
    pub ztunnel: Switch,
    /// Gateways for traffic that enters.
    pub ingress_gateways: Vec<Gateway>,
    /// Gateways for traffic that leaves.
    pub egress_gateways: Vec<Gateway>,
}

/// A part without pods to set up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Switch {
    /// Whether it is installed.
    pub enabled: bool,
}

/// A part that is there once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Part {
    /// Whether it is installed.
    pub enabled: bool,
    /// Settings of its pods.
    pub k8s: K8s,
}

/// A gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its namespace; the control plane's unless it says otherwise.
    pub namespace: Option<String>,
    /// Whether it is installed.
    pub enabled: bool,
    /// More labels.
    pub label: BTreeMap<String, String>,
    /// Settings of its pods.
    pub k8s: K8s,
}

/// Settings of a part's pods, as IstioOperator documents write them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct K8s {
    /// Requests and limits.
    pub resources: Option<Value>,
    /// Number of pods.
    pub replica_count: Option<u32>,
    /// Environment.
    pub env: Vec<Variable>,
    /// Nodes to run on.
    pub node_selector: Option<Value>,
    /// Taints to bear.
    pub tolerations: Option<Value>,
    /// Scheduling preferences.
    pub affinity: Option<Value>,
    /// Annotations of the pods.
    pub pod_annotations: Option<Value>,
    /// Annotations of the Service.
    pub service_annotations: Option<Value>,
    /// The gateway's Service.
    pub service: Option<Map<String, Value>>,
    /// The range of the autoscaler, which this also enables.
    pub hpa_spec: Option<Autoscaler>,
}

/// The range of an autoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscaler {
    /// At least so many pods.
    pub min_replicas: Option<u32>,
    /// At most so many pods.
    pub max_replicas: Option<u32>,
}

/// A variable of the environment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// An installation, as it was asked for.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Name of the profile.
    pub profile: String,
    /// Name of the document, which marks what it owns.
    pub name: String,
    /// The laid-together `spec`.
    pub spec: Spec,
}

impl Operator {
    /// Lays profile, files and settings together.
    ///
    /// # Errors
    /// Usage errors that name the file or setting, and the field.
    pub fn new(charts: &Charts, request: &Request) -> Result<Self, Error> {
        let mut settings = json!({});
        apply_sets(&mut settings, &request.sets)?;
        let mut files = Vec::new();
        let mut name = None;
        for (file, text) in &request.files {
            let (document, spec) = document(file, text)?;
            name = document.or(name);
            files.push(spec);
        }
        let named = |spec: &Value| spec.get("profile").and_then(Value::as_str).map(str::to_owned);
        let profile = named(&settings)
            .or_else(|| files.iter().rev().find_map(named))
            .unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
        let (_, mut spec) = document(&format!("profile {profile}"), charts.profile(&profile)?)?;
        for file in &files {
            overlay(&mut spec, file);
        }
        // Once more on the whole, so that an index means the item the profile has there.
        apply_sets(&mut spec, &request.sets)?;
        let spec: Spec = serde_json::from_value(spec).map_err(|error| {
            Error::Usage(format!("IstioOperator spec (files and --set): {error}"))
        })?;
        let name = name.unwrap_or_else(|| "installed-state".to_owned());
        let mut operator = Self { profile, name, spec };
        if request.revision.is_some() {
            operator.spec.revision.clone_from(&request.revision);
        }
        operator.check()?;
        Ok(operator)
    }

    /// Name of the revision; `default` where there is none.
    pub fn revision(&self) -> &str {
        self.spec.revision.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Namespace of the control plane.
    pub fn namespace(&self) -> &str {
        let global = self.spec.values.get("global").and_then(|global| global.get("istioNamespace"));
        let named = self.spec.namespace.as_deref().or(global.and_then(Value::as_str));
        named.filter(|name| !name.is_empty()).unwrap_or(NAMESPACE)
    }

    /// Settings of the mesh: `values.meshConfig` with `meshConfig` over it.
    pub fn mesh_config(&self) -> Value {
        let mut mesh = self.spec.values.get("meshConfig").cloned().unwrap_or_else(|| json!({}));
        values::overlay(&mut mesh, &Value::Object(self.spec.mesh_config.clone()));
        // `--set` makes texts of fractions, as Helm's does.
        if let Some(share) = mesh.pointer_mut("/defaultConfig/tracing/sampling")
            && let Some(number) = share.as_str().and_then(|text| text.parse::<f64>().ok())
        {
            *share = json!(number);
        }
        mesh
    }

    fn check(&self) -> Result<(), Error> {
        let components = &self.spec.components;
        for (name, part) in [("cni", &components.cni), ("ztunnel", &components.ztunnel)] {
            if part.enabled {
                return Err(Error::Usage(format!(
                    "components.{name}.enabled: there is no component {name}; leave it out"
                )));
            }
        }
        check_name("revision", self.revision())?;
        check_name("namespace", self.namespace())?;
        for (field, gateways) in [
            ("ingressGateways", &components.ingress_gateways),
            ("egressGateways", &components.egress_gateways),
        ] {
            for (index, gateway) in gateways.iter().enumerate() {
                let field = format!("components.{field}[{index}]");
                check_name(&format!("{field}.name"), &gateway.name)?;
                if let Some(namespace) = &gateway.namespace {
                    check_name(&format!("{field}.namespace"), namespace)?;
                }
            }
        }
        check_mesh(self.mesh_config())
    }
}

/// Applies `--set` arguments to a document.
fn apply_sets(document: &mut Value, sets: &[String]) -> Result<(), Error> {
    for text in sets {
        set::apply(document, text, false).map_err(|error| Error::Usage(error.to_string()))?;
    }
    Ok(())
}

fn check_mesh(mesh: Value) -> Result<(), Error> {
    let mesh: MeshConfig = serde_json::from_value(without_nulls(mesh))
        .map_err(|error| Error::Usage(format!("meshConfig: {error}")))?;
    let inner = mesh.default_config.unknown.keys();
    let inner = inner.map(|key| format!("meshConfig.defaultConfig.{key}"));
    let unknown = mesh.unknown.keys().map(|key| format!("meshConfig.{key}"));
    let unknown: Vec<_> = unknown.chain(inner).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!("{}: the mesh has no such setting", unknown.join(", "))))
}

/// The name, if any, and the `spec` of an IstioOperator document.
fn document(file: &str, text: &str) -> Result<(Option<String>, Value), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Document {
        #[serde(default)]
        api_version: String,
        kind: String,
        #[serde(default)]
        metadata: Map<String, Value>,
        #[serde(default)]
        spec: Option<Map<String, Value>>,
    }
    let document = local_model::yaml::document(text).map_err(|error| error.to_string());
    let document: Document = document
        .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()))
        .map_err(|error| Error::Usage(format!("{file} is no IstioOperator document: {error}")))?;
    if document.kind != "IstioOperator"
        || !["", "install.istio.io/v1alpha1"].contains(&document.api_version.as_str())
    {
        return Err(Error::Usage(format!(
            "{file} is no IstioOperator document of install.istio.io/v1alpha1, but {} of {:?}",
            document.kind, document.api_version
        )));
    }
    let name = document.metadata.get("name").and_then(Value::as_str).map(str::to_owned);
    Ok((name, Value::Object(document.spec.unwrap_or_default())))
}

/// Lays a `spec` over another; gateways are told apart by their names.
fn overlay(spec: &mut Value, over: &Value) {
    let mut over = over.clone();
    for field in ["ingressGateways", "egressGateways"] {
        let path = format!("/components/{field}");
        let base = spec.pointer(&path).and_then(Value::as_array);
        let (Some(base), Some(Value::Array(mine))) = (base, over.pointer_mut(&path)) else {
            continue;
        };
        let mut all = base.clone();
        for gateway in mine.drain(..) {
            match all.iter_mut().find(|other| other.get("name") == gateway.get("name")) {
                Some(other) => values::overlay(other, &gateway),
                None => all.push(gateway),
            }
        }
        *mine = all;
    }
    values::overlay(spec, &over);
}

/// The document without its nulls, which only take defaults away.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || name.len() > 48 || ends || !name.chars().all(fits) {
        return Err(Error::Usage(format!(
            "{field}: {name:?} is no name: use 1 to 48 of a-z, 0-9 and -, with no - at either end"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(files: &[&str], sets: &[&str]) -> Result<Operator, String> {
        let files = files.iter().map(|text| ("f.yaml".to_owned(), (*text).to_owned())).collect();
        let sets = sets.iter().map(|text| (*text).to_owned()).collect();
        let request = Request { files, sets, revision: None };
        Operator::new(&Charts::embedded(), &request).map_err(|error| error.to_string())
    }

    fn gateways(operator: &Operator) -> Vec<(&str, bool)> {
        let components = &operator.spec.components;
        let all = components.ingress_gateways.iter().chain(&components.egress_gateways);
        all.map(|gateway| (gateway.name.as_str(), gateway.enabled)).collect()
    }

    #[test]
    fn profiles_hold_what_they_promise() {
        for (profile, pilot, wanted) in [
            ("default", true, &[("istio-ingressgateway", true)][..]),
            ("minimal", true, &[]),
            ("demo", true, &[("istio-ingressgateway", true), ("istio-egressgateway", true)]),
            ("empty", false, &[]),
        ] {
            let operator = operator(&[], &[&format!("profile={profile}")]).unwrap();
            assert_eq!(operator.spec.components.pilot.enabled, pilot, "{profile}");
            assert_eq!(gateways(&operator), wanted, "{profile}");
        }
    }

    #[test]
    fn settings_come_over_files_over_the_profile() {
        let file = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\n\
            metadata: {name: mine}\nspec:\n  profile: demo\n  revision: canary\n  \
            meshConfig: {accessLogFile: /a, enableTracing: true}\n  \
            components:\n    egressGateways:\n    - {name: other, enabled: true}\n";
        let operator = operator(
            &[file],
            &["meshConfig.accessLogFile=/b", "components.ingressGateways[0].enabled=false"],
        )
        .unwrap();
        assert_eq!((operator.profile.as_str(), operator.name.as_str()), ("demo", "mine"));
        assert_eq!((operator.revision(), operator.namespace()), ("canary", "istio-system"));
        let mesh = json!({"accessLogFile": "/b", "enableTracing": true});
        assert_eq!(operator.mesh_config(), mesh);
        let wanted =
            [("istio-ingressgateway", false), ("istio-egressgateway", true), ("other", true)];
        assert_eq!(gateways(&operator), wanted);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let overlays = "kind: IstioOperator\nspec: {components: {pilot: {k8s: {overlays: []}}}}\n";
        for (file, set, wanted) in [
            (None, "profile=nope", "profile \"nope\" is not in the built-in charts"),
            (None, "pilot.env.A=b", "unknown field `pilot`"),
            (None, "components.ztunnel.enabled=true", "components.ztunnel.enabled"),
            (None, "meshConfig.acessLogFile=x", "meshConfig.acessLogFile: the mesh has no"),
            (None, "meshConfig.accessLogEncoding=XML", "meshConfig: "),
            (None, "revision=A_B", "revision: \"A_B\" is no name"),
            (None, "components.ingressGateways[1].enabled=true", "ingressGateways[1].name: \"\""),
            (Some("kind: Pod\n"), "", "f.yaml is no IstioOperator"),
            (Some(overlays), "", "unknown field `overlays`"),
            (Some("["), "", "f.yaml is no IstioOperator document"),
        ] {
            let sets: Vec<_> = Some(set).into_iter().filter(|set| !set.is_empty()).collect();
            let files: Vec<_> = file.into_iter().collect();
            let error = operator(&files, &sets).unwrap_err();
            assert!(error.contains(wanted), "{files:?} {sets:?}: {error}");
        }
    }
}
