//! One try: an endpoint is chosen, the request is written for its protocol, and the head of the
//! response is waited for.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Response, Version};
use proxy_model::endpoint::Endpoint;
use proxy_model::http::retry::{Outcome, Reset};
use tokio::time::Instant;

use super::Forwarding;
use super::plan::Plan;
use crate::failure::{Failure, FailureKind};
use crate::http::codec::body::RequestBody;
use crate::http::grpc;
use crate::http::replay::Replay;
use crate::http::request::Head;
use crate::upstream::PickFor;
use crate::upstream::body::OutBody;
use crate::upstream::exchange::{Exchange, Reached, ResponseBody, SendFailure};

const ATTEMPTS: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// Connections that may turn out closed, one after the other, before that is a failure.
const STALE: usize = 3;

/// One try of a request.
pub(super) struct Try<'a> {
    /// The request's way.
    pub(super) forwarding: &'a Forwarding<'a>,
    /// What holds for all tries.
    pub(super) plan: &'a Plan,
    /// The head. Its headers are taken if nobody needs them after this try.
    pub(super) head: &'a mut Head,
    /// Whether another try may follow.
    pub(super) repeatable: bool,
    /// The body.
    pub(super) body: Option<&'a Replay<RequestBody>>,
    /// Which try it is, from 1.
    pub(super) count: u32,
    /// Whether the protocol is to change.
    pub(super) upgrading: bool,
}

/// A try that was answered.
pub(super) struct Tried {
    /// The answer.
    pub(super) response: Response<ResponseBody>,
    /// When the try began.
    pub(super) begun: Instant,
    /// Who answered.
    pub(super) reached: Reached,
}

/// A try that was not answered, and by whom.
pub(super) type Missed = (Failure, Option<Arc<Endpoint>>);

impl Tried {
    /// How the try ended, for the retry policy.
    pub(super) fn outcome(&self) -> Outcome {
        let headers = self.response.headers();
        Outcome::Response {
            status: self.response.status().as_u16(),
            grpc_status: grpc::status(headers),
            rate_limited: headers.contains_key("x-envoy-ratelimited"),
        }
    }
}

/// How a try without an answer ended, for the retry policy.
pub(super) fn outcome(failure: &Failure) -> Outcome {
    match failure.kind {
        FailureKind::PerTryTimeout => Outcome::PerTryTimeout,
        FailureKind::ConnectionTimeout => Outcome::Reset(Reset::ConnectFailure { timeout: true }),
        FailureKind::RemoteConnectionFailure | FailureKind::LocalConnectionFailure => {
            Outcome::Reset(Reset::ConnectFailure { timeout: false })
        }
        FailureKind::RemoteRefusedStreamReset => Outcome::Reset(Reset::RefusedStream),
        FailureKind::ProtocolError => Outcome::Reset(Reset::Protocol),
        FailureKind::ConnectionTermination
        | FailureKind::RemoteReset
        | FailureKind::LocalReset
        | FailureKind::MaxStreamDuration => Outcome::Reset(Reset::Remote { request_sent: true }),
        FailureKind::Overflow
        | FailureKind::NoHealthyUpstream
        | FailureKind::ClusterNotFound
        | FailureKind::ConfigurationUnknown
        | FailureKind::DnsResolution
        | FailureKind::DropOverload
        | FailureKind::ResponseTimeout => Outcome::Reset(Reset::Overflow),
    }
}

impl Try<'_> {
    /// Chooses, sends and waits.
    pub(super) async fn run(&mut self, pick: &PickFor) -> Result<Tried, Missed> {
        let begun = Instant::now();
        let mut seen = None;
        let result = match self.plan.per_try {
            None => self.send(pick, begun, &mut seen).await,
            Some(limit) => self.within(limit, pick, begun, &mut seen).await,
        };
        let deps = &self.forwarding.stream.connection.deps;
        let cluster = self.forwarding.cluster;
        match &result {
            Ok(tried) => {
                let status = tried.response.status().as_u16();
                deps.upstreams.ended(cluster, &tried.reached, Ok(status));
            }
            Err((failure, _)) => {
                if let Some(reached) = &seen {
                    deps.upstreams.ended(cluster, reached, Err(failure));
                }
            }
        }
        result
    }

    async fn within(
        &mut self,
        limit: Duration,
        pick: &PickFor,
        begun: Instant,
        seen: &mut Option<Reached>,
    ) -> Result<Tried, Missed> {
        let sent = tokio::time::timeout(limit, self.send(pick, begun, &mut *seen)).await;
        sent.unwrap_or_else(|_| {
            let endpoint = seen.as_ref().map(|reached| Arc::clone(&reached.endpoint));
            Err((Failure::new(FailureKind::PerTryTimeout), endpoint))
        })
    }

    async fn send(
        &mut self,
        pick: &PickFor,
        begun: Instant,
        seen: &mut Option<Reached>,
    ) -> Result<Tried, Missed> {
        let Forwarding { stream, cluster, .. } = self.forwarding;
        let upstreams = &stream.connection.deps.upstreams;
        for stale in 0..=STALE {
            let exchange = match upstreams.exchange(cluster, pick).await {
                Ok(exchange) => exchange,
                Err((failure, endpoint)) => {
                    if let Some(endpoint) = &endpoint {
                        let address = endpoint.address.to_string();
                        stream.log.with(|record| {
                            record.upstream.endpoint = Some(Arc::clone(endpoint));
                            record.upstream.address = Some(address.into());
                        });
                    }
                    return Err((failure, endpoint));
                }
            };
            let reached = exchange.reached();
            *seen = Some(reached.clone());
            self.note(&exchange);
            let request = self.request(&exchange);
            match exchange.send(request).await {
                Ok(response) => return Ok(Tried { response, begun, reached }),
                // The endpoint closed an idle connection: not one byte was sent.
                Err(SendFailure { unsent: Some(unsent), .. }) if stale < STALE => {
                    self.take_back(unsent);
                }
                Err(missed) => return Err((missed.failure, Some(reached.endpoint))),
            }
        }
        Err((Failure::new(FailureKind::ConnectionTermination), None))
    }

    /// The headers of a request that was not sent, but for those of its connection.
    fn take_back(&mut self, mut unsent: Request<OutBody>) {
        if self.repeatable {
            return;
        }
        for name in [header::HOST, header::UPGRADE, header::CONNECTION] {
            unsent.headers_mut().remove(name);
        }
        self.head.headers = std::mem::take(unsent.headers_mut());
    }

    fn note(&self, exchange: &Exchange) {
        let connection = exchange.connection();
        let (local, peer) = (connection.local, connection.peer.clone());
        let label = exchange.label();
        self.forwarding.stream.log.with(|record| {
            record.upstream.endpoint = Some(Arc::clone(&exchange.endpoint));
            record.upstream.address = Some(label);
            record.upstream.local = local;
            record.upstream.peer = peer;
        });
    }

    fn request(&mut self, exchange: &Exchange) -> Request<OutBody> {
        let mut headers = match self.repeatable {
            true => self.head.headers.clone(),
            false => std::mem::take(&mut self.head.headers),
        };
        let head = &*self.head;
        let body = match self.body {
            None => OutBody::Empty,
            Some(replay) => OutBody::stream(replay.attempt()),
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        if self.forwarding.host.include_request_attempt_count {
            headers.insert(ATTEMPTS, self.count.into());
        }
        let named = exchange.endpoint.hostname.as_deref().filter(|_| self.plan.host_of_endpoint);
        let authority = named
            .and_then(|name| HeaderValue::from_str(name).ok())
            .unwrap_or_else(|| head.authority.clone());
        if exchange.is_http2() {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = absolute(head.scheme, &authority, &head.path);
        } else {
            *request.uri_mut() = Uri::from(head.path.clone());
            if self.upgrading {
                let upgrade = head.upgrade.as_deref().unwrap_or_default();
                if let Ok(upgrade) = HeaderValue::from_str(upgrade) {
                    headers.insert(header::UPGRADE, upgrade);
                    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                }
            }
            headers.insert(header::HOST, authority);
            // A request without a body says so where methods usually have one.
            let bodied = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
            if self.body.is_none() && bodied {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        }
        *request.headers_mut() = headers;
        request
    }
}

/// HTTP/2's pseudo headers come from the target.
fn absolute(scheme: &'static str, authority: &HeaderValue, path: &PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = scheme.parse().ok();
    parts.authority = authority.to_str().ok().and_then(|name| name.parse().ok());
    parts.path_and_query = Some(path.clone());
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path.clone()))
}
