//! Reviews over HTTPS: what is read of a request, and which status answers it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use galley_rules::admission::{self, Outcome};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, json, read_body, text};
use mesh_rt::identity::LiveIdentity;
use mesh_rt::identity::tls::{ClientCertificates, server_config};
use mesh_rt::metrics::Metrics;
use mesh_rt::process::Process;
use mesh_rt::tls::{Reloading, TlsError};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tracing::{debug, info, warn};

/// The longest review, in bytes: objects are at most half of it.
const MAX_REVIEW: usize = 3 * 1024 * 1024;

/// The API server keeps few connections; nobody else has business here.
const LIMITS: HttpLimits = HttpLimits {
    connections: 128,
    head_bytes: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(60),
    // After this the API server has given up.
    request_timeout: Duration::from_secs(30),
};

/// Serves reviews on `listener` under the certificate of `live`, until the process drains.
///
/// # Errors
/// [`TlsError`] when the provider lacks the usual TLS versions.
pub(crate) fn start(
    process: &Process,
    listener: TcpListener,
    live: &LiveIdentity,
) -> Result<(), TlsError> {
    let tls = Reloading::new(server_config(live, ClientCertificates::None, &[b"http/1.1"])?);
    info!(address = ?listener.local_addr().ok(), "validation webhook");
    let counts = Arc::new(Counts::new(&process.metrics));
    let server = HttpServer { name: "webhook", limits: LIMITS, at_drain: AtDrain::Finish };
    server.serve_tls(&process.tasks, listener, tls, move |request, peer| {
        answer(counts.clone(), request, peer)
    });
    Ok(())
}

/// What became of the reviews.
#[derive(Debug, Default)]
struct Counts {
    passed: Counter,
    failed: Counter,
    unreadable: Counter,
}

impl Counts {
    /// Registers `galley_validation_{passed,failed,http_error}_total`.
    fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register_unprefixed(|registry| {
            let all = [
                ("passed", "Objects that were found valid", &own.passed),
                ("failed", "Objects that were refused", &own.failed),
                ("http_error", "Requests that were no reviews", &own.unreadable),
            ];
            for (name, help, counter) in all {
                registry.register(format!("galley_validation_{name}"), help, counter.clone());
            }
        });
        own
    }
}

async fn answer(
    counts: Arc<Counts>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let unreadable = |status: StatusCode, reason: &dyn std::fmt::Display| {
        counts.unreadable.inc();
        warn!(%peer, "not a review: {reason}");
        text(status, format!("{reason}\n"))
    };
    match request.uri().path() {
        "/httpsReady" => return text(StatusCode::OK, "ready\n"),
        "/validate" => {}
        _ => return text(StatusCode::NOT_FOUND, "reviews are sent to /validate\n"),
    }
    if request.method() != Method::POST {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent with POST\n");
        answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return answer;
    }
    if !is_json(&request) {
        let reason = "the content type of a review is application/json";
        return unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason);
    }
    let body = match read_body(request.into_body(), MAX_REVIEW).await {
        Ok(body) => body,
        Err(error) => return unreadable(error.status(), &error),
    };
    let reviewed = match admission::review(&body) {
        Ok(reviewed) => reviewed,
        Err(error) => return unreadable(StatusCode::BAD_REQUEST, &error),
    };
    match reviewed.outcome {
        Outcome::Passed => {
            counts.passed.inc();
            debug!(object = reviewed.object, "valid");
        }
        Outcome::Refused => {
            counts.failed.inc();
            info!(object = reviewed.object, "refused: {}", reviewed.reason);
        }
    }
    json(StatusCode::OK, &reviewed.answer)
}

fn is_json(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    media.is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
}
