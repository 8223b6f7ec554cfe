//! Reviews over HTTPS: what is read of a request, and which status answers it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_api::mesh_config::MeshConfig;
use mesh_rt::admin::Admin;
use mesh_rt::http_server::{AtDrain, HttpLimits, HttpServer, json, read_body, text};
use mesh_rt::tasks::Tasks;
use mesh_rt::tls::Reloading;
use pilot_model::inject::{self, Config, PathError, Place, Verdict};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::metrics::InjectionMetrics;

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

/// What reviews are answered from. Clones share it.
#[derive(Clone)]
pub(super) struct Injector {
    /// The injector's settings; `None` until they have been read.
    pub(super) config: watch::Receiver<Option<Arc<Config>>>,
    /// The mesh's settings.
    pub(super) mesh: watch::Receiver<Arc<MeshConfig>>,
    pub(super) metrics: Arc<InjectionMetrics>,
    /// The debug pages, for those who must not send their token in clear.
    pub(super) pages: Admin,
}

/// Serves in the background until the drain of `tasks`.
pub(super) fn serve(
    tasks: &Tasks,
    listener: TcpListener,
    tls: Reloading<ServerConfig>,
    injector: Injector,
) {
    let server = HttpServer { name: "webhook", limits: LIMITS, at_drain: AtDrain::Finish };
    server.serve_tls(tasks, listener, tls, move |request, peer| {
        injector.clone().answer(request, peer)
    });
}

impl Injector {
    async fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        if request.uri().path() == "/httpsReady" {
            return text(StatusCode::OK, "ready\n");
        }
        if request.uri().path().starts_with("/debug/") {
            return self.pages.answer(request, peer).await;
        }
        let place = match Place::parse(request.uri().path()) {
            Ok(place) => place,
            Err(error @ PathError::Elsewhere(_)) => {
                return text(StatusCode::NOT_FOUND, format!("{error}\n"));
            }
            Err(error) => return self.unreadable(StatusCode::BAD_REQUEST, peer, &error),
        };
        if request.method() != Method::POST {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent with POST\n");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
            return answer;
        }
        self.metrics.asked();
        if !is_json(&request) {
            let reason = "the content type of a review is application/json";
            return self.unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, peer, &reason);
        }
        let body = match read_body(request.into_body(), MAX_REVIEW).await {
            Ok(body) => body,
            Err(error) => return self.unreadable(error.status(), peer, &error),
        };
        let (config, mesh) = (self.config.borrow().clone(), self.mesh.borrow().clone());
        let reviewed = match config {
            Some(config) => inject::review(&config, &mesh, &place, &body),
            None => inject::refuse(
                &body,
                "the sidecar injector's settings could not be read yet: see that its ConfigMap \
                 istio-sidecar-injector is there and well-formed",
            ),
        };
        let reviewed = match reviewed {
            Ok(reviewed) => reviewed,
            Err(error) => return self.unreadable(StatusCode::BAD_REQUEST, peer, &error),
        };
        self.metrics.answered(&reviewed.verdict);
        match &reviewed.verdict {
            Verdict::Injected => info!(pod = reviewed.pod, "injected"),
            Verdict::Skipped(reason) => debug!(pod = reviewed.pod, "not injected: {reason}"),
            Verdict::Refused(reason) => warn!(pod = reviewed.pod, "refused: {reason}"),
        }
        json(StatusCode::OK, &reviewed.answer)
    }

    fn unreadable(
        &self,
        status: StatusCode,
        peer: SocketAddr,
        reason: &dyn std::fmt::Display,
    ) -> Response<Full<Bytes>> {
        self.metrics.unreadable();
        warn!(%peer, "not a review: {reason}");
        text(status, format!("{reason}\n"))
    }
}

fn is_json(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    media.is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
}
