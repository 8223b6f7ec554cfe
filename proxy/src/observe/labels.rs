//! The labels of Istio's standard metrics, in the order they are written.

use std::sync::Arc;

/// What is written for a value nobody knows.
pub(crate) const UNKNOWN: &str = "unknown";

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
}

/// How the connection was secured, as the reporter can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SecurityPolicy {
    /// The reporter is the client: it does not say.
    Unknown,
    /// Mutual TLS.
    MutualTls,
    /// None.
    None,
}

/// What the traffic was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestProtocol {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// Connections.
    Tcp,
}

/// A workload at one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workload {
    /// Name of the workload.
    pub(crate) name: Arc<str>,
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its `app` label.
    pub(crate) app: Arc<str>,
    /// Its `version` label.
    pub(crate) version: Arc<str>,
    /// Its canonical service.
    pub(crate) canonical_service: Arc<str>,
    /// Its canonical revision.
    pub(crate) canonical_revision: Arc<str>,
    /// Its cluster.
    pub(crate) cluster: Arc<str>,
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
pub(crate) struct Service {
    /// Its host name.
    pub(crate) host: Arc<str>,
    /// Its short name.
    pub(crate) name: Arc<str>,
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
}

impl Default for Service {
    fn default() -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        Self { host: unknown.clone(), name: unknown.clone(), namespace: unknown }
    }
}

/// What requests and connections of one series have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// Who reports.
    pub(crate) reporter: Reporter,
    /// The client.
    pub(crate) source: Arc<Workload>,
    /// SPIFFE id of the client.
    pub(crate) source_principal: Arc<str>,
    /// The server.
    pub(crate) destination: Arc<Workload>,
    /// SPIFFE id of the server.
    pub(crate) destination_principal: Arc<str>,
    /// The service.
    pub(crate) service: Arc<Service>,
    /// How the connection was secured.
    pub(crate) security: SecurityPolicy,
    /// What the traffic was.
    pub(crate) protocol: RequestProtocol,
    /// Envoy's short names of what went wrong, `-` for nothing.
    pub(crate) response_flags: Arc<str>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    /// HTTP status; 0 when there was no response.
    pub(crate) response_code: u16,
    /// gRPC status, for gRPC.
    pub(crate) grpc_status: Option<u32>,
}

/// Names and values as they are written.
pub(crate) type LabelPairs = Vec<(&'static str, String)>;

impl Ends {
    /// All labels of a series; of a request when there is an outcome, else of connections.
    pub(crate) fn pairs(&self, outcome: Option<Outcome>) -> LabelPairs {
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
