//! Names: hosts, namespaces and objects, and Istio's names for the things Envoy is configured with.

mod cluster;
mod hostname;
mod listener;
mod object;
mod route;
mod secret;

pub use crate::text::NameError;
pub use cluster::{ClusterName, FixedCluster, VipProtocol};
pub use hostname::Hostname;
pub use listener::{FixedListener, ListenerName};
pub use object::{Namespace, ObjectName, PortName, SubsetName};
pub use route::RouteName;
pub use secret::SecretName;
