//! Manifests with proxies in their workloads; everything else as it was.

use local_model::yaml;
use mesh_api::mesh_config::MeshConfig;
use mesh_api::selector::Labels;
use pilot_model::inject::{self, Config, Decision, PodContext, Workload};
use serde_json::Value;

/// Kinds with pods, and where in them the pod is.
const WORKLOADS: [(&str, &str); 9] = [
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("PodTemplate", "/template"),
];

/// What injects.
pub(super) struct Injector {
    pub(super) config: Config,
    pub(super) mesh: MeshConfig,
    /// Of objects that name none.
    pub(super) namespace: String,
}

/// Injected manifests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Injected {
    pub(super) text: String,
    /// What the user should know, one line each.
    pub(super) notes: Vec<String>,
}

impl Injector {
    /// The documents in their order. One without a workload keeps its text to the byte.
    pub(super) fn inject(&self, manifest: &str) -> Result<Injected, String> {
        let mut notes = Vec::new();
        let mut documents = Vec::new();
        for (index, text) in yaml::split(manifest).enumerate() {
            let place = |error: &dyn std::fmt::Display| format!("document {}: {error}", index + 1);
            let mut document = yaml::document(text).map_err(|error| place(&error))?;
            if !self.object(&mut document, &mut notes).map_err(|error| place(&error))? {
                documents.push(text.to_owned());
                continue;
            }
            documents.push(serde_saphyr::to_string(&document).map_err(|error| place(&error))?);
        }
        let mut text = String::new();
        for (index, document) in documents.iter().enumerate() {
            if index > 0 {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str("---\n");
            }
            text.push_str(document);
        }
        Ok(Injected { text, notes })
    }

    /// Injects an object, or the objects of a list; whether anything has changed.
    fn object(&self, object: &mut Value, notes: &mut Vec<String>) -> Result<bool, String> {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind.ends_with("List")
            && let Some(Value::Array(items)) = object.get_mut("items")
        {
            let mut changed = false;
            for item in items {
                changed |= self.object(item, notes)?;
            }
            return Ok(changed);
        }
        let Some((_, place)) = WORKLOADS.iter().find(|(known, _)| *known == kind) else {
            return Ok(false);
        };
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
        let name = name.unwrap_or_default();
        let namespace = text("/metadata/namespace").unwrap_or_else(|| self.namespace.clone());
        let title = format!("{kind} {namespace}/{name}");
        let workload = (kind != "Pod").then(|| Workload {
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: kind.clone(),
            name,
        });
        let Some(pod) = object.pointer_mut(place) else {
            return Err(format!("{title} has no pod at {place}"));
        };
        if let Decision::Skip(reason) =
            inject::decide(&self.config, &Labels::new(), &namespace, pod)
        {
            notes.push(format!("{title} is not injected: {reason}"));
            return Ok(false);
        }
        let context = PodContext { workload, ..PodContext::in_namespace(&namespace) };
        let outcome = inject::patch(&self.config, &self.mesh, &context, pod)
            .map_err(|error| format!("{title}: {error}"))?;
        notes.extend(outcome.warnings.iter().map(|warning| format!("{title}: {warning}")));
        let changed = *pod != outcome.pod;
        *pod = outcome.pod;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests;
