//! Calls to other services: GET, JSON, a time limit, a size limit.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client as PooledClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use mesh_rt::http_server::{BodyError, read_body};
use mesh_rt::tasks::Tasks;
use serde_json::Value;

use crate::settings::Upstream;

/// The largest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;

/// How long a connection is kept without use.
const IDLE: Duration = Duration::from_secs(30);

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing within the time limit.
    #[error("{service}: no answer within {limit:?}")]
    TimedOut {
        /// The service.
        service: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// No connection, or it broke.
    #[error("{service} at {authority}: {reason}")]
    Failed {
        /// The service.
        service: &'static str,
        /// Where it was looked for.
        authority: String,
        /// What went wrong.
        reason: String,
    },
    /// The answer broke off or is too large.
    #[error("{service}: {reason}")]
    Body {
        /// The service.
        service: &'static str,
        /// What went wrong.
        reason: BodyError,
    },
}

/// An answer: its status, and its body if that is JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; `None` if it is not JSON.
    pub json: Option<Value>,
}

/// Makes calls. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: PooledClient<HttpConnector, Empty<Bytes>>,
    keep_alive: bool,
}

impl Client {
    /// A client whose connections live in `tasks`; used again only with `keep_alive`.
    #[must_use]
    pub fn new(tasks: &Tasks, keep_alive: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = PooledClient::builder(Spawner(tasks.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(64)
            .http1_max_headers(100)
            .build(connector);
        Self { http, keep_alive }
    }

    /// GETs `path` (escaped already) from `upstream`; `limit` bounds the whole call.
    ///
    /// # Errors
    /// [`CallError`] when there is no complete answer. A status that tells of an error is an answer.
    pub async fn get(
        &self,
        upstream: &Upstream,
        path: &str,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let service = upstream.name;
        let late = |_| CallError::TimedOut { service, limit };
        tokio::time::timeout(limit, self.get_unbounded(upstream, path, headers))
            .await
            .map_err(late)?
    }

    async fn get_unbounded(
        &self,
        upstream: &Upstream,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Answer, CallError> {
        let service = upstream.name;
        let failed = |reason: String| CallError::Failed {
            service,
            authority: upstream.authority.clone(),
            reason,
        };
        let mut request = Request::get(format!("http://{}{path}", upstream.authority))
            .body(Empty::new())
            .map_err(|error| failed(error.to_string()))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !self.keep_alive {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let response = self.http.request(request).await.map_err(|error| failed(chain(&error)))?;
        let status = response.status();
        let body = read_body(response.into_body(), ANSWER_BYTES).await;
        let body = body.map_err(|reason| CallError::Body { service, reason })?;
        Ok(Answer { status, json: serde_json::from_slice(&body).ok() })
    }
}

/// An error with its causes: hyper's own text alone does not say that a connection was refused.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[derive(Clone)]
struct Spawner(Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let _detached = self.0.spawn_background("http client", future);
    }
}
