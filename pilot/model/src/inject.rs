//! Sidecar injection: whether a pod gets a proxy, and the pod with it.
//!
//! Pods are JSON here, not typed objects, so that fields this program does not know survive.
//!
//! ```
//! use mesh_api::mesh_config::MeshConfig;
//! use pilot_model::inject::{self, Config, Decision, PodContext};
//! use serde_json::json;
//!
//! let pod = json!({
//!     "metadata": {"name": "web", "labels": {"app": "web"}},
//!     "spec": {"containers": [{"name": "web", "image": "web:1"}]},
//! });
//! let config = Config::default();
//! assert_eq!(inject::decide(&config, &Default::default(), "shop", &pod), Decision::Inject);
//! let context = PodContext::in_namespace("shop");
//! let outcome = inject::patch(&config, &MeshConfig::default(), &context, &pod)?;
//! assert_eq!(outcome.pod["spec"]["initContainers"][1]["name"], "istio-proxy");
//! # Ok::<(), inject::InjectError>(())
//! ```

mod annotation;
mod config;
mod container;
mod decision;
mod error;
mod facts;
mod fragment;
mod overlay;
mod overrides;
mod probe;
mod prometheus;
mod restore;
mod review;
mod volume;
mod workload;

use mesh_api::annotations;
use mesh_api::mesh_config::MeshConfig;
use serde_json::Value;

pub use self::config::{Config, Policy};
pub use self::decision::{Decision, SkipReason, decide};
pub use self::error::{ConfigError, InjectError};
use self::facts::Facts;
pub use self::review::{PathError, Place, ReviewError, Reviewed, Verdict, refuse, review};
pub use self::workload::Workload;

/// The name of the injected proxy.
pub const PROXY_CONTAINER: &str = "istio-proxy";

/// The name of the container that sets up capture.
pub const INIT_CONTAINER: &str = "istio-init";

/// The name of the container that checks capture which somebody else (a CNI plugin) has set up.
pub const VALIDATION_CONTAINER: &str = "istio-validation";

/// The names of all containers that injection makes.
const OWN_CONTAINERS: [&str; 3] = [INIT_CONTAINER, VALIDATION_CONTAINER, PROXY_CONTAINER];

/// What is known of a pod beside its own text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContext {
    /// The namespace it is created in; its own metadata need not name one yet.
    pub namespace: String,
    /// The cluster, if the webhook's path names it: `/inject/cluster/<cluster>/net/<network>`.
    pub cluster: Option<String>,
    /// The network, from the same path.
    pub network: Option<String>,
    /// The controller that makes the pod. Without one it is derived from the pod's owner.
    pub workload: Option<Workload>,
}

impl PodContext {
    /// A pod of this namespace of which nothing else is known.
    pub fn in_namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }
}

/// A pod with its proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct InjectOutcome {
    /// The whole pod.
    pub pod: Value,
    /// What makes the given pod that pod (RFC 6902); empty when it is that pod already.
    pub patch: json_patch::Patch,
    /// What its author should know, one sentence each.
    pub warnings: Vec<String>,
}

/// The pod with its proxy. A pod that was injected before gets the proxy of today's settings.
///
/// # Errors
/// When the text is no pod, an annotation has a value it cannot have, or a template it asks for
/// is not there.
pub fn patch(
    config: &Config,
    mesh: &MeshConfig,
    context: &PodContext,
    pod: &Value,
) -> Result<InjectOutcome, InjectError> {
    let mut rendered = pod.clone();
    overlay::drop_nulls(&mut rendered);
    restore::undo(&mut rendered);
    let facts = Facts::gather(config, mesh, context, &rendered)?;
    let mut warnings = facts.warnings.clone();

    let own = overrides::take(&mut rendered);
    let added = fragment::render(&facts)?;
    let status = fragment::merge(&mut rendered, added);
    overrides::put_back(&mut rendered, &own);
    fragment::order(&mut rendered, &facts);
    fragment::annotate(&mut rendered, &facts, &status, &own);
    if facts.merges_metrics() {
        prometheus::merge(&mut rendered, facts.status_port);
    }
    if facts.rewrites_probes() {
        warnings.extend(probe::rewrite(&mut rendered, facts.status_port));
    }
    let patch = json_patch::diff(pod, &rendered);
    Ok(InjectOutcome { pod: rendered, patch, warnings })
}

/// Whether the pod was injected before.
pub fn is_injected(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations").is_some_and(|all| {
        all.get(annotations::SIDECAR_STATUS).and_then(Value::as_str).is_some_and(|s| !s.is_empty())
    })
}

#[cfg(test)]
mod tests;
