//! The part of the local API server that judges custom resources.

use std::collections::BTreeMap;

use local_model::cel::Rules;
use local_model::refusal::{Refusal, Subject};
use local_model::schema::{Schema, apply_defaults, prune, validate};
use serde_json::Value;

use crate::run::Error;

/// All kinds of the mesh, compiled.
pub(super) struct Server {
    kinds: BTreeMap<(String, String), (Schema, Rules)>,
}

impl Server {
    pub(super) fn start() -> Result<Self, Error> {
        let mut kinds = BTreeMap::new();
        for crd in mesh_api::crd::manifests() {
            let group = crd["spec"]["group"].as_str().unwrap_or_default();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
            for version in crd["spec"]["versions"].as_array().into_iter().flatten() {
                let name = version["name"].as_str().unwrap_or_default();
                let document = &version["schema"]["openAPIV3Schema"];
                let schema = Schema::from_openapi(document)
                    .map_err(|error| Error::new(format!("{kind}: {error}")))?;
                let rules = Rules::compile(document).map_err(|errors| {
                    let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    Error::new(format!("{kind}: {}", all.join(", ")))
                })?;
                kinds.insert((format!("{group}/{name}"), kind.to_owned()), (schema, rules));
            }
        }
        Ok(Self { kinds })
    }

    /// Why the server refuses to store `object`; `None` if it accepts.
    pub(super) fn refusal(&self, mut object: Value) -> Option<String> {
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let Some((schema, rules)) = self.kinds.get(&(api_version.clone(), kind.clone())) else {
            return Some(format!("no matches for kind {kind:?} in version {api_version:?}"));
        };
        if let Some(map) = object.as_object_mut() {
            map.retain(|key, _| key == "spec" || key == "status");
        }
        let unknown = prune(schema, &mut object);
        apply_defaults(schema, &mut object);
        let mut causes = validate(schema, &object);
        if causes.is_empty() {
            causes = rules.validate(&object, None);
        }
        if let Some(path) = unknown.first() {
            return Some(format!("strict decoding error: unknown field \"{path}\""));
        }
        let group = api_version.split('/').next().unwrap_or_default();
        let refusal = Refusal::invalid(Subject::new(group, &kind, &name), causes);
        (!refusal.causes.is_empty()).then_some(refusal.message)
    }
}
