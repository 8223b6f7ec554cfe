//! The labels of Istio's standard metrics, in the order they are written.

use std::sync::Arc;

/// What is written for a value nobody knows.
pub const UNKNOWN: &str = "unknown";

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
}

/// How the connection was secured, as the reporter can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecurityPolicy {
    /// The reporter is the client: it does not say.
    Unknown,
    /// Mutual TLS.
    MutualTls,
    /// None.
    None,
}

/// What the traffic was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// Connections.
    Tcp,
}

/// A workload at one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Name of the workload.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its `app` label.
    pub app: Arc<str>,
    /// Its `version` label.
    pub version: Arc<str>,
    /// Its canonical service.
    pub canonical_service: Arc<str>,
    /// Its canonical revision.
    pub canonical_revision: Arc<str>,
    /// Its cluster.
    pub cluster: Arc<str>,
}

impl Default for Workload {
    fn default() -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        Self {
            name: unknown.clone(),
            namespace: unknown.clone(),
            app: unknown.clone(),
            version: unknown.clone(),
            canonical_service: unknown.clone(),
            canonical_revision: unknown.clone(),
            cluster: unknown,
        }
    }
}

/// The service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its host name.
    pub host: Arc<str>,
    /// Its short name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

impl Default for Service {
    fn default() -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        Self { host: unknown.clone(), name: unknown.clone(), namespace: unknown }
    }
}

/// What requests and connections of one series have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Who reports.
    pub reporter: Reporter,
    /// The client.
    pub source: Arc<Workload>,
    /// SPIFFE id of the client.
    pub source_principal: Arc<str>,
    /// The server.
    pub destination: Arc<Workload>,
    /// SPIFFE id of the server.
    pub destination_principal: Arc<str>,
    /// The service.
    pub service: Arc<Service>,
    /// How the connection was secured.
    pub security: SecurityPolicy,
    /// What the traffic was.
    pub protocol: RequestProtocol,
    /// Envoy's short names of what went wrong, `-` for nothing.
    pub response_flags: Arc<str>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// HTTP status; 0 when there was no response.
    pub response_code: u16,
    /// gRPC status, for gRPC.
    pub grpc_status: Option<u32>,
}

/// Names and values as they are written.
pub type LabelPairs = Vec<(&'static str, String)>;

impl Ends {
    /// All labels of a series; of a request when there is an outcome, else of connections.
    pub fn pairs(&self, outcome: Option<Outcome>) -> LabelPairs {
        let (source, destination, service) = (&self.source, &self.destination, &self.service);
        let mut pairs: LabelPairs = vec![
            ("reporter", self.reporter.as_str().to_owned()),
            ("source_workload", source.name.to_string()),
            ("source_canonical_service", source.canonical_service.to_string()),
            ("source_canonical_revision", source.canonical_revision.to_string()),
            ("source_workload_namespace", source.namespace.to_string()),
            ("source_principal", self.source_principal.to_string()),
            ("source_app", source.app.to_string()),
            ("source_version", source.version.to_string()),
            ("source_cluster", source.cluster.to_string()),
            ("destination_workload", destination.name.to_string()),
            ("destination_workload_namespace", destination.namespace.to_string()),
            ("destination_principal", self.destination_principal.to_string()),
            ("destination_app", destination.app.to_string()),
            ("destination_version", destination.version.to_string()),
            ("destination_service", service.host.to_string()),
            ("destination_canonical_service", destination.canonical_service.to_string()),
            ("destination_canonical_revision", destination.canonical_revision.to_string()),
            ("destination_service_name", service.name.to_string()),
            ("destination_service_namespace", service.namespace.to_string()),
            ("destination_cluster", destination.cluster.to_string()),
            ("request_protocol", self.protocol.as_str().to_owned()),
        ];
        if let Some(outcome) = outcome {
            pairs.push(("response_code", outcome.response_code.to_string()));
            let grpc = outcome.grpc_status.map(|status| status.to_string()).unwrap_or_default();
            pairs.push(("grpc_response_status", grpc));
        }
        pairs.push(("response_flags", self.response_flags.to_string()));
        pairs.push(("connection_security_policy", self.security.as_str().to_owned()));
        pairs
    }
}

impl Reporter {
    fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl SecurityPolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => UNKNOWN,
            Self::MutualTls => "mutual_tls",
            Self::None => "none",
        }
    }
}

impl RequestProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}
