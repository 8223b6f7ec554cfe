//! What can go wrong, with curl's messages and exit codes.

use std::io;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum CurlError {
    /// Another scheme than HTTP's.
    #[error("Protocol \"{0}\" not supported")]
    Protocol(String),
    /// The answer has no head of HTTP/1.
    #[error("Received HTTP/0.9 when not allowed")]
    Http09,
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// No URL can be read from the text.
    #[error("URL rejected: {0}")]
    Url(&'static str),
    /// The proxy's name is not known.
    #[error("Could not resolve proxy: {0}")]
    Proxy(String),
    /// The name is not known.
    #[error("Could not resolve host: {0}")]
    Resolve(String),
    /// Nobody listens, or nobody can be reached.
    #[error(
        "Failed to connect to {host} port {port} after {millis} ms: Could not connect to server"
    )]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// How long it took, in milliseconds.
        millis: u128,
    },
    /// The answer is shorter than it says.
    #[error("transfer closed with {0}")]
    Partial(String),
    /// `--fail` and a status of 400 or more.
    #[error("The requested URL returned error: {0}")]
    Status(u16),
    /// Output cannot be written.
    #[error("Failure writing output to destination: {0}")]
    Write(io::Error),
    /// A file to send cannot be read.
    #[error("Failed to open/read local data from file {file}: {cause}")]
    Read {
        /// The file.
        file: String,
        /// The operating system's reason.
        cause: io::Error,
    },
    /// `--connect-timeout` or `--max-time` before there is a connection.
    #[error("Connection timed out after {0} milliseconds")]
    ConnectTimeout(u128),
    /// `--max-time`.
    #[error("Operation timed out after {millis} milliseconds with {received} bytes received")]
    Timeout {
        /// How long it took, in milliseconds.
        millis: u128,
        /// Bytes of the body that came.
        received: u64,
    },
    /// The TLS handshake.
    #[error("{0}")]
    Tls(String),
    /// `--max-redirs`.
    #[error("Maximum ({0}) redirects followed")]
    Redirects(u32),
    /// The connection was closed without an answer.
    #[error("Empty reply from server")]
    Empty,
    /// The request could not be sent.
    #[error("Send failure: {0}")]
    Send(String),
    /// The answer broke off.
    #[error("Recv failure: {0}")]
    Recv(String),
    /// The answer's framing is wrong.
    #[error("{0}")]
    Framing(&'static str),
    /// The proxy does not make the tunnel.
    #[error("CONNECT tunnel failed, response {0}")]
    Tunnel(u16),
    /// `--cert` or `--key` cannot be used.
    #[error("could not load the client's certificate: {0}")]
    ClientCertificate(String),
    /// The server's certificate is not accepted.
    #[error("{0}")]
    Certificate(String),
    /// `--cacert` cannot be used, or there are no roots.
    #[error("error setting certificate verify locations: {0}")]
    Roots(String),
    /// HTTP/2 was broken off.
    #[error("Error in the HTTP2 framing layer: {0}")]
    Http2(String),
}

impl CurlError {
    /// The exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Protocol(_) | Self::Http09 => 1,
            Self::Usage(_) => 2,
            Self::Url(_) => 3,
            Self::Proxy(_) => 5,
            Self::Resolve(_) => 6,
            Self::Connect { .. } => 7,
            Self::Http2(_) => 16,
            Self::Partial(_) => 18,
            Self::Status(_) => 22,
            Self::Write(_) => 23,
            Self::Read { .. } => 26,
            Self::ConnectTimeout(_) | Self::Timeout { .. } => 28,
            Self::Tls(_) => 35,
            Self::Redirects(_) => 47,
            Self::Empty => 52,
            Self::Send(_) => 55,
            Self::Recv(_) | Self::Framing(_) | Self::Tunnel(_) => 56,
            Self::ClientCertificate(_) => 58,
            Self::Certificate(_) => 60,
            Self::Roots(_) => 77,
        }
    }

    /// Whether `--retry` tries again.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::ConnectTimeout(_) | Self::Timeout { .. } | Self::Resolve(_) => true,
            Self::Status(code) => transient_status(*code),
            _ => false,
        }
    }
}

/// Whether `--retry` tries again after this status.
pub(crate) const fn transient_status(code: u16) -> bool {
    matches!(code, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The operating system's reason without its number: `Connection reset by peer`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
