//! Connection limits and HTTP defaults of a proxy.

use serde::{Deserialize, Serialize};

use crate::crd::Duration;

/// Connection limits and HTTP defaults of a proxy. A field that is unset has the profile's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionSettings {
    /// Where the other values come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ConnectionProfile>,
    /// Bytes a downstream connection may buffer. EDGE: 32 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_per_connection_buffer_limit_bytes: Option<u32>,
    /// Bytes an upstream connection may buffer. EDGE: 32 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_per_connection_buffer_limit_bytes: Option<u32>,
    /// How long a connection without requests stays open. EDGE: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_idle_timeout: Option<Duration>,
    /// How long a connection stays open at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_max_connection_duration: Option<Duration>,
    /// How long a connection drains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_drain_timeout: Option<Duration>,
    /// How long a request may take to arrive. EDGE: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request_timeout: Option<Duration>,
    /// How long a request's headers may take to arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request_headers_timeout: Option<Duration>,
    /// How long a stream may be silent. EDGE: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_stream_idle_timeout: Option<Duration>,
    /// How long a stream may last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_max_stream_duration: Option<Duration>,
    /// Streams of one HTTP/2 connection. EDGE: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_max_concurrent_streams: Option<u32>,
    /// Window of a stream. EDGE: 64 KiB.
    #[serde(rename = "http2InitialStreamWindowSize", skip_serializing_if = "Option::is_none")]
    pub http2_initial_stream_window_size: Option<u32>,
    /// Window of a connection. EDGE: 1 MiB.
    #[serde(rename = "http2InitialConnectionWindowSize", skip_serializing_if = "Option::is_none")]
    pub http2_initial_connection_window_size: Option<u32>,
    /// What happens to headers with underscores. EDGE: the request is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_headers_with_underscores_action: Option<UnderscoresAction>,
    /// Whether slashes in a row become one. EDGE: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_merge_slashes: Option<bool>,
    /// What happens to `%2F` in paths. EDGE: decoded, and the client redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_path_with_escaped_slashes_action: Option<EscapedSlashesAction>,
    /// Connections of one listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_connection_limit: Option<u32>,
    /// Connections of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_downstream_connection_limit: Option<u32>,
}

/// A set of connection settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConnectionProfile {
    /// Peers are trusted.
    Sidecar,
    /// Peers are not.
    Edge,
}

/// What happens to headers with underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnderscoresAction {
    /// Nothing.
    Allow,
    /// The request is refused.
    RejectRequest,
    /// The header is dropped.
    DropHeader,
}

/// What happens to `%2F` in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EscapedSlashesAction {
    /// Nothing.
    KeepUnchanged,
    /// The request is refused.
    RejectRequest,
    /// Decoded, and the client is redirected.
    UnescapeAndRedirect,
    /// Decoded, and the request goes on.
    UnescapeAndForward,
}
