//! What the API server knows of a kind: names, scope, subresources.

use std::fmt;

/// A group, a version and a kind. The core group is the empty string.
///
/// ```
/// use local_model::kind::Gvk;
/// let gvk = Gvk::from_api_version("apps/v1", "Deployment");
/// assert_eq!((gvk.group.as_str(), gvk.version.as_str()), ("apps", "v1"));
/// assert_eq!(gvk.api_version(), "apps/v1");
/// assert_eq!(Gvk::new("", "v1", "Pod").api_version(), "v1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Kind, such as `Pod`.
    pub kind: String,
}

impl Gvk {
    /// A kind by its three names.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// A kind as an object's `apiVersion` and `kind` name it.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version, kind),
            None => Self::new("", api_version, kind),
        }
    }

    /// The `apiVersion` of objects of this kind.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// Where a `scale` subresource finds its numbers: JSON paths such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Path of the wanted number of replicas.
    pub spec_replicas: String,
    /// Path of the observed number of replicas.
    pub status_replicas: String,
    /// Path of the serialized label selector.
    pub label_selector: Option<String>,
}

/// The row of the resource table that discovery, the router and OpenAPI derive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// Group, version, kind.
    pub gvk: Gvk,
    /// Resource name in URLs: `deployments`.
    pub plural: String,
    /// `deployment`.
    pub singular: String,
    /// `deploy`.
    pub short_names: Vec<String>,
    /// `all`, `istio-io`.
    pub categories: Vec<String>,
    /// Namespaced or not.
    pub scope: Scope,
    /// Whether `/status` is separate.
    pub status: bool,
    /// Whether there is `/scale`, and where its numbers are.
    pub scale: Option<ScalePaths>,
    /// Verbs served: of `create delete deletecollection get list patch update watch`.
    pub verbs: Vec<&'static str>,
}

impl KindInfo {
    /// The group and plural as errors name it: `deployments.apps`, `pods`.
    pub fn group_resource(&self) -> String {
        if self.gvk.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.gvk.group)
        }
    }
}
