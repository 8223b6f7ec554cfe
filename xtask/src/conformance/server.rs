//! The part of the local API server that judges custom resources.

use std::collections::BTreeMap;

use local_model::crd::{CompiledVersion, compile};
use serde_json::Value;

use crate::run::Error;

/// All kinds of the mesh, compiled, by `apiVersion` and `kind`.
pub(super) struct Server {
    kinds: BTreeMap<(String, String), CompiledVersion>,
}

impl Server {
    pub(super) fn start() -> Result<Self, Error> {
        let mut kinds = BTreeMap::new();
        for crd in mesh_api::crd::manifests() {
            let compiled = compile(&crd).map_err(|errors| {
                let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
                Error::new(format!("{}: {}", crd["metadata"]["name"], all.join(", ")))
            })?;
            for version in compiled.versions.into_iter().filter(|version| version.served) {
                let gvk = &version.info.gvk;
                kinds.insert((gvk.api_version(), gvk.kind.clone()), version);
            }
        }
        Ok(Self { kinds })
    }

    /// Why the server refuses to store `object`, unknown fields included; `None` if it accepts.
    pub(super) fn refusal(&self, mut object: Value) -> Option<String> {
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let Some(version) = self.kinds.get(&(api_version.clone(), kind.clone())) else {
            return Some(format!("no matches for kind {kind:?} in version {api_version:?}"));
        };
        version.admit(&mut object, None, true).err().map(|refusal| refusal.message)
    }
}
