//! What is measured of a transfer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::Head;

/// Times since the start and counts of a transfer.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    pub(crate) start: Instant,
    pub(crate) resolved: Duration,
    pub(crate) connected: Duration,
    pub(crate) secured: Duration,
    pub(crate) sent: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) redirect_time: Duration,
    pub(crate) total: Duration,
    pub(crate) connects: u32,
    pub(crate) redirects: u32,
    pub(crate) body_bytes: u64,
    pub(crate) head_bytes: u64,
    pub(crate) request_bytes: u64,
    pub(crate) upload_bytes: u64,
    pub(crate) is_connected: bool,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) effective_url: String,
    pub(crate) scheme: &'static str,
    pub(crate) redirect_url: String,
    pub(crate) file: String,
    pub(crate) head: Option<Head>,
}

impl Stats {
    pub(crate) fn new(url: &str) -> Self {
        let zero = Duration::ZERO;
        Self {
            start: Instant::now(),
            resolved: zero,
            connected: zero,
            secured: zero,
            sent: zero,
            first_byte: zero,
            redirect_time: zero,
            total: zero,
            connects: 0,
            redirects: 0,
            body_bytes: 0,
            head_bytes: 0,
            request_bytes: 0,
            upload_bytes: 0,
            is_connected: false,
            remote: None,
            local: None,
            method: String::new(),
            url: url.to_owned(),
            effective_url: String::new(),
            scheme: "http",
            redirect_url: String::new(),
            file: String::new(),
            head: None,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
