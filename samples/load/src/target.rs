//! A connection to the service under load: one request at a time, opened again when it must be.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lateen_curl::connect::{Names, connect};
use lateen_curl::error::CurlError;
use lateen_curl::http1::{Head, Http1};
use lateen_curl::url::{Scheme, Url};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::flags::{Flags, UsageError};

/// The largest body that is kept, which only a single request does.
const BODY_BYTES: usize = 16 << 20;

/// The request that is sent over and over.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL.
    pub url: Url,
    method: String,
    bytes: Bytes,
    keep_alive: bool,
    timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The head.
    pub head: Head,
    /// The body; empty unless it was asked for.
    pub body: Vec<u8>,
    /// The body's size.
    pub body_bytes: u64,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] CurlError),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// `-timeout`.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Target {
    /// Reads the flags.
    ///
    /// # Errors
    /// [`UsageError`] for a URL that is none, or not of `http`, and for header fields that are none.
    pub fn new(flags: &Flags) -> Result<Self, UsageError> {
        let url = Url::parse(&flags.url).map_err(|error| UsageError(error.to_string()))?;
        if url.scheme != Scheme::Http {
            let text = format!("{url}: load is sent in clear, so http:// is expected");
            return Err(UsageError(text));
        }
        let implied = if flags.payload.is_empty() { "GET" } else { "POST" };
        let method = flags.method.clone().unwrap_or_else(|| implied.to_owned());
        let mut fields = vec![
            ("Host".to_owned(), url.authority()),
            ("User-Agent".to_owned(), format!("lateen-load/{}", env!("CARGO_PKG_VERSION"))),
        ];
        if let Some(user) = &flags.user {
            fields.push(("Authorization".into(), format!("Basic {}", STANDARD.encode(user))));
        }
        if !flags.payload.is_empty() || flags.method.as_deref() == Some("POST") {
            let kind = flags.content_type.clone();
            let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
            fields.push(("Content-Type".into(), kind));
            fields.push(("Content-Length".into(), flags.payload.len().to_string()));
        }
        if !flags.keep_alive {
            fields.push(("Connection".into(), "close".into()));
        }
        for given in &flags.headers {
            let bad = || UsageError(format!("flag -H: {given:?}: Name: value is expected"));
            let (name, value) = given.split_once(':').ok_or_else(bad)?;
            if given.contains(['\r', '\n']) || name.trim().is_empty() {
                return Err(bad());
            }
            fields.retain(|(own, _)| !own.eq_ignore_ascii_case(name.trim()));
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let mut text = format!("{method} {} HTTP/1.1\r\n", url.target);
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("\r\n{}", flags.payload));
        let (keep_alive, timeout) = (flags.keep_alive, flags.timeout);
        Ok(Self { url, method, bytes: Bytes::from(text), keep_alive, timeout })
    }

    /// The addresses of the service.
    ///
    /// # Errors
    /// [`CurlError::Resolve`].
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, CurlError> {
        Names::default().resolve(&self.url.host, self.url.port).await
    }
}

/// One connection's worth of requests.
#[derive(Debug)]
pub struct Caller<'a> {
    target: &'a Target,
    addresses: &'a [SocketAddr],
    link: Option<Http1<TcpStream>>,
    /// Connections that were opened.
    pub sockets: u64,
    /// How long each took, in seconds.
    pub connect_times: Vec<f64>,
}

impl<'a> Caller<'a> {
    /// Without a connection yet.
    #[must_use]
    pub fn new(target: &'a Target, addresses: &'a [SocketAddr]) -> Self {
        Self { target, addresses, link: None, sockets: 0, connect_times: Vec::new() }
    }

    /// Sends the request and reads the answer; `keep` is for those who want the body.
    ///
    /// # Errors
    /// [`CallError`]. The connection is then closed, as it is after a status that is no success.
    pub async fn call(&mut self, keep: bool) -> Result<Answer, CallError> {
        let limit = self.target.timeout;
        let result = timeout(limit, self.exchange(keep)).await;
        let result = result.unwrap_or(Err(CallError::Late(limit)));
        let again = result.as_ref().is_ok_and(|answer| {
            self.target.keep_alive
                && answer.head.keeps_alive()
                && (200..300).contains(&answer.head.status)
        });
        if !again {
            self.link = None;
        }
        result
    }

    async fn exchange(&mut self, keep: bool) -> Result<Answer, CallError> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let start = Instant::now();
                self.sockets += 1;
                let host = &self.target.url.host;
                let limit = self.target.timeout;
                let stream = connect(self.addresses, host, limit, |_, _| {}).await?;
                self.connect_times.push(start.elapsed().as_secs_f64());
                self.link.insert(Http1::new(stream))
            }
        };
        let broken = |error: &dyn std::fmt::Display| CallError::Broken(error.to_string());
        link.send(&self.target.bytes).await.map_err(|error| broken(&error))?;
        let head = loop {
            let head = link.head().await.map_err(|error| broken(&error))?;
            if head.status >= 200 {
                break head;
            }
        };
        let mut left = head.framing(&self.target.method);
        let mut answer = Answer { head, body: Vec::new(), body_bytes: 0 };
        while let Some(bytes) = link.chunk(&mut left).await.map_err(|error| broken(&error))? {
            answer.body_bytes += bytes.len() as u64;
            if keep && answer.body.len() < BODY_BYTES {
                answer.body.extend_from_slice(&bytes);
            }
        }
        Ok(answer)
    }
}
