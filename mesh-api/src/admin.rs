//! Documents of the admin interfaces: the proxy's, which are Envoy's, and pilot's.

mod clusters;
mod pilot;
mod server;

pub use clusters::{
    ClusterStatus, Clusters, EnvoyAddress, EnvoyLocality, HostHealth, HostStatus, ListenerStatus,
    Listeners, Pipe, SimpleMetric, SocketAddress,
};
pub use pilot::{ConfigDistribution, ObjectState, ProxyDistribution, SyncStatus, TypeSync};
pub use server::{
    CertificateDetails, CertificateSet, Certificates, ConfigDump, Guard, Readiness, ServerInfo,
    ServerState, StatKind, StatMeta,
};
