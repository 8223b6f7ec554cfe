//! One request, from its head to the response: checked, routed, filtered, forwarded or answered.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderName, SERVER};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::action::{Action, Forward, WeightedCluster};
use proxy_model::http::manager::{RouteSource, ServerHeader};
use proxy_model::http::table::RouteTable;
use proxy_model::http::virtual_host::{Matched, RequireTls, VirtualHost};
use tokio::time::Instant;

use super::codec::body::{Limits, ReplyBody, RequestBody, Reset};
use super::codec::guard::GuardState;
use super::context::{Stream, find};
use super::filters::{self, FilterState, Found};
use super::reply::LocalReply;
use super::request::{self, Head, REQUEST_ID};
use super::{router, upgrade};
use crate::observe::log_context::Exchange;
use crate::upstream::exchange::ResponseBody;

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// A request as the codec gives it.
pub struct Request {
    /// Its head.
    pub parts: http::request::Parts,
    /// Its body.
    pub body: RequestBody,
    /// The bytes that follow when its protocol changes.
    pub upgrade: Option<Upgrade>,
}

/// What a change of protocol needs of the client's connection.
pub type Upgrade = (OnUpgrade, Arc<GuardState>);

/// What a request came to.
pub enum Answer {
    /// An endpoint's response.
    Upstream {
        /// The response.
        response: Response<ResponseBody>,
        /// How long the rest may take.
        limits: Limits,
    },
    /// Both ends speak another protocol now.
    Upgraded {
        /// The endpoint's 101, or 200 to CONNECT.
        head: Response<()>,
        /// The endpoint's bytes.
        upstream: upgrade::Tunnel,
    },
}

/// Serves a request.
///
/// # Errors
/// [`Reset`] when the client is not to be answered at all.
pub async fn handle(stream: Stream, request: Request) -> Result<Response<ReplyBody>, Reset> {
    let Request { parts, body, upgrade } = request;
    let connection = Rc::clone(&stream.connection);
    let manager = &connection.manager;
    let version = parts.version;
    let prepared =
        request::prepare(parts, &connection.downstream, manager, || (connection.deps.random)());
    let head = match prepared {
        Ok(head) => head,
        Err(reply) => return Ok(local(stream, reply, false, version)),
    };
    let grpc = head.grpc;
    note(&stream, &head);
    let mut state = FilterState::default();
    let complete = http_body::Body::is_end_stream(&body);
    let routed = routed(&stream, head, body, upgrade.is_some(), &mut state);
    match bounded(&stream, complete, routed).await {
        Ok(Answer::Upstream { response, limits }) => {
            let (mut parts, body) = response.into_parts();
            finish_head(&stream, &state, &mut parts.headers, parts.status);
            parts.version = version;
            Ok(Response::from_parts(parts, ReplyBody::upstream(body, stream, limits)))
        }
        Ok(Answer::Upgraded { head, upstream }) => {
            let Some(client) = upgrade else { return Err(Reset) };
            let (mut parts, ()) = head.into_parts();
            finish_head(&stream, &state, &mut parts.headers, parts.status);
            let body = upgrade::run(stream, client, upstream);
            Ok(Response::from_parts(parts, body))
        }
        Err(reply) => {
            let mut response = local(stream, reply, grpc, version);
            if let Some(allowed) = &state.cors {
                allowed.apply(response.headers_mut());
            }
            Ok(response)
        }
    }
}

/// What the record holds of a request's head.
fn note(stream: &Stream, head: &Head) {
    let logged = !stream.connection.manager.access_logs.is_empty();
    stream.log.with(|record| {
        record.path = head.path.clone();
        record.authority = head.authority.clone();
        record.request_id = head.headers.get(REQUEST_ID).cloned();
        record.request_head_bytes = head.size();
        record.grpc = head.grpc;
        if logged {
            record.request_headers = head.headers.clone();
        }
    });
}

/// The time limits until a response begins.
async fn bounded(
    stream: &Stream,
    complete: bool,
    routed: impl Future<Output = Result<Answer, LocalReply>>,
) -> Result<Answer, LocalReply> {
    let timeouts = &stream.connection.manager.timeouts;
    if timeouts.stream_idle.is_none() && timeouts.max_stream.is_none() && timeouts.request.is_none()
    {
        return routed.await;
    }
    let begun = Instant::now();
    let expired = async {
        let mut seen = (begun, 0);
        loop {
            let now = Instant::now();
            let received = stream.log.with(|record| record.bytes_received);
            if received != seen.1 {
                seen = (now, received);
            }
            let due = [
                (timeouts.max_stream.map(|limit| begun + limit), Expired::Duration),
                (
                    timeouts.request.filter(|_| !complete).map(|limit| begun + limit),
                    Expired::Request,
                ),
                (timeouts.stream_idle.map(|limit| seen.0 + limit), Expired::Idle),
            ];
            let next =
                due.into_iter().filter_map(|(at, what)| Some((at?, what))).min_by_key(|d| d.0);
            match next {
                None => std::future::pending().await,
                Some((at, what)) if at <= now => return what,
                Some((at, _)) => tokio::time::sleep_until(at).await,
            }
        }
    };
    tokio::select! {
        biased;
        answer = routed => answer,
        what = expired => Err(what.reply(complete)),
    }
}

#[derive(Clone, Copy)]
enum Expired {
    Duration,
    Request,
    Idle,
}

impl Expired {
    fn reply(self, complete: bool) -> LocalReply {
        let late = if complete { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::REQUEST_TIMEOUT };
        match self {
            Self::Duration => {
                LocalReply::new(late, "max_duration_timeout").body("downstream duration timeout")
            }
            Self::Request => {
                LocalReply::new(StatusCode::REQUEST_TIMEOUT, "request_overall_timeout")
                    .body("request timeout")
            }
            Self::Idle => LocalReply::new(late, "stream_idle_timeout")
                .flags(ResponseFlags::SI)
                .body("stream timeout"),
        }
    }
}

/// What was found for a request, kept for the response.
struct Target {
    table: Arc<RouteTable>,
    host: Arc<VirtualHost>,
    weighted: Option<Arc<WeightedCluster>>,
}

async fn routed(
    stream: &Stream,
    mut head: Head,
    mut body: RequestBody,
    can_upgrade: bool,
    state: &mut FilterState,
) -> Result<Answer, LocalReply> {
    let deps = &stream.connection.deps;
    let config = &*deps.config;
    let manager = &stream.connection.manager;
    let table = match &manager.route {
        RouteSource::Inline(table) => Arc::clone(table),
        RouteSource::Rds(name) => find(config, |held| held.route_table(name).cloned())
            .await
            .map_err(|name| LocalReply::unconfigured(&name))?
            .ok_or_else(LocalReply::route_not_found)?,
    };
    let host = find(config, |held| held.virtual_host(&table, head.authority()).cloned())
        .await
        .map_err(|name| LocalReply::unconfigured(&name))?
        .ok_or_else(LocalReply::route_not_found)?;
    require_tls(&head, &host)?;
    let random = (deps.random)();
    let matched = host.find_route(&head.view(), random).ok_or_else(LocalReply::route_not_found)?;
    stream.log.with(|record| {
        record.route = Some(Arc::clone(matched.route));
        record.virtual_host = Some(Arc::clone(&host.name));
    });
    let (cluster_name, weighted) = match &matched.route.action {
        Action::Forward(forward) => chosen(forward, &head, (deps.random)()),
        _ => None,
    }
    .unzip();
    let weighted: Option<Arc<WeightedCluster>> = weighted.flatten();
    let cluster = match &cluster_name {
        Some(name) => find(config, |held| held.cluster(name).cloned())
            .await
            .map_err(|name| LocalReply::unconfigured(&name))?,
        None => None,
    };
    stream.log.with(|record| {
        record.upstream.cluster.clone_from(&cluster);
        record.upstream.cluster_name.clone_from(&cluster_name);
    });
    let found = Found {
        table: &table,
        matched: &matched,
        weighted: weighted.as_ref(),
        cluster: cluster.as_ref(),
        cluster_name: cluster_name.as_deref().unwrap_or_default(),
    };
    if head.grpc && filters::counts_grpc(manager) {
        body.count_messages();
    }
    if let Err(reply) = filters::on_request(stream, &found, &mut head, state).await {
        let forwards = matches!(matched.route.action, Action::Forward(_));
        return Err(if forwards {
            own_answer(stream, &found, &head.headers, reply)
        } else {
            reply
        });
    }
    let forward = match &matched.route.action {
        Action::Forward(forward) => Arc::clone(forward),
        Action::Redirect(redirect) => {
            let location = redirect.location(&head.view(), &matched.route.matching.path);
            let status =
                StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
            let reply = LocalReply::redirect(status, &location);
            return Err(own_answer(stream, &found, &head.headers, reply));
        }
        Action::DirectResponse(direct) => {
            let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
            let body = String::from_utf8_lossy(&direct.body).into_owned();
            let reply = LocalReply::new(status, "direct_response").body(body);
            return Err(own_answer(stream, &found, &head.headers, reply));
        }
        Action::Refuse(refusal) => return Err(LocalReply::refused(refusal)),
    };
    let Some(cluster) = found.cluster else {
        let status = StatusCode::from_u16(forward.cluster_not_found_code)
            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut reply = LocalReply::failed(
            &crate::failure::Failure::new(crate::failure::FailureKind::ClusterNotFound),
            1,
        );
        reply.status = status;
        return Err(own_answer(stream, &found, &head.headers, reply));
    };
    change_request(stream, &found, &mut head);
    // Only formats of the response's headers read them later.
    let changes = table.response_mutations(&matched, weighted.as_deref()).next().is_some();
    let sent = if changes { head.headers.clone() } else { HeaderMap::new() };
    let forwarding = router::Forwarding {
        stream,
        forward: &forward,
        host: &host,
        matched: &matched,
        weighted: weighted.as_deref(),
        cluster,
        alpn: state.alpn.clone(),
        can_upgrade,
    };
    let mut answer = match router::forward(forwarding, head, body).await {
        Ok(answer) => answer,
        Err(reply) => return Err(own_answer(stream, &found, &sent, reply)),
    };
    let (status, headers) = match &mut answer {
        Answer::Upstream { response, .. } => (response.status(), response.headers_mut()),
        Answer::Upgraded { head, .. } => (head.status(), head.headers_mut()),
    };
    stream.log.with(|record| record.status = status.as_u16());
    let target = Target { table: Arc::clone(&table), host: Arc::clone(&host), weighted };
    change_response(stream, &target, &matched, &sent, headers);
    Ok(answer)
}

fn chosen(
    forward: &Forward,
    head: &Head,
    random: u64,
) -> Option<(Arc<str>, Option<Arc<WeightedCluster>>)> {
    let view = head.view();
    let (name, weighted) = forward.clusters.pick(|name| view.header(name), random)?;
    Some((name, weighted.cloned()))
}

fn require_tls(head: &Head, host: &VirtualHost) -> Result<(), LocalReply> {
    let required = match host.require_tls {
        RequireTls::None => false,
        RequireTls::All => true,
        RequireTls::ExternalOnly => !head.headers.contains_key("x-envoy-internal"),
    };
    if !required || head.scheme == "https" {
        return Ok(());
    }
    let location = format!("https://{}{}", head.authority(), head.path);
    Err(LocalReply::redirect(StatusCode::MOVED_PERMANENTLY, &location))
}

fn change_request(stream: &Stream, found: &Found<'_>, head: &mut Head) {
    let weighted = found.weighted.map(|cluster| &**cluster);
    let mut mutations = found.table.request_mutations(found.matched, weighted).peekable();
    if mutations.peek().is_none() {
        return;
    }
    // Formats see the headers as they came.
    let before = head.headers.clone();
    stream.log.with(|record| {
        let context = Exchange { record, request: &before, response: &HeaderMap::new() };
        for mutation in mutations {
            mutation.apply(&mut head.headers, &context);
        }
    });
}

fn change_response(
    stream: &Stream,
    target: &Target,
    matched: &Matched<'_>,
    request: &HeaderMap,
    headers: &mut HeaderMap,
) {
    if target.host.include_attempt_count_in_response {
        let attempts = stream.log.with(|record| record.upstream.attempts);
        headers.insert(ATTEMPTS, attempts.into());
    }
    let mut mutations =
        target.table.response_mutations(matched, target.weighted.as_deref()).peekable();
    if mutations.peek().is_none() {
        return;
    }
    let before = headers.clone();
    stream.log.with(|record| {
        let context = Exchange { record, request, response: &before };
        for mutation in mutations {
            mutation.apply(headers, &context);
        }
    });
}

/// Replies of this proxy have the route's headers too.
fn own_answer(
    stream: &Stream,
    found: &Found<'_>,
    request: &HeaderMap,
    mut reply: LocalReply,
) -> LocalReply {
    let weighted = found.weighted.map(|cluster| &**cluster);
    let before = reply.headers.clone();
    stream.log.with(|record| {
        record.status = reply.status.as_u16();
        let context = Exchange { record, request, response: &before };
        for mutation in found.table.response_mutations(found.matched, weighted) {
            mutation.apply(&mut reply.headers, &context);
        }
    });
    reply
}

/// The last changes to a response's head, and what the record holds of it.
fn finish_head(stream: &Stream, state: &FilterState, headers: &mut HeaderMap, status: StatusCode) {
    let manager = &stream.connection.manager;
    filters::on_response(stream, state, headers);
    if let Some(time) = stream.log.with(|record| record.upstream_time) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        headers.insert(SERVICE_TIME, millis.into());
    }
    server_header(stream, headers);
    if manager.always_set_request_id_in_response
        && let Some(id) = stream.log.with(|record| record.request_id.clone())
    {
        headers.insert(REQUEST_ID, id);
    }
    let logged = !manager.access_logs.is_empty();
    stream.log.with(|record| {
        record.status = status.as_u16();
        record.response_head_bytes = request::size(headers);
        record.grpc_status = super::grpc::status(headers);
        if record.details.is_empty() {
            record.details = "via_upstream".into();
        }
        if logged {
            record.response_headers = headers.clone();
        }
    });
}

fn server_header(stream: &Stream, headers: &mut HeaderMap) {
    let manager = &stream.connection.manager;
    let set = match manager.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !headers.contains_key(SERVER),
        ServerHeader::PassThrough => false,
    };
    if let Some(name) = set.then(|| HeaderValue::from_str(&manager.server_name).ok()).flatten() {
        headers.insert(SERVER, name);
    }
}

/// A reply of the proxy's own as a response.
fn local(stream: Stream, reply: LocalReply, grpc: bool, version: Version) -> Response<ReplyBody> {
    let (flags, details) = (reply.flags, reply.details.clone());
    let mut response = reply.into_response(grpc);
    *response.version_mut() = version;
    server_header(&stream, response.headers_mut());
    let logged = !stream.connection.manager.access_logs.is_empty();
    let head = stream.log.with(|record| {
        record.status = response.status().as_u16();
        record.flags.insert(flags);
        record.details = details;
        record.grpc_status = super::grpc::status(response.headers());
        record.response_head_bytes = request::size(response.headers());
        if logged {
            record.response_headers = response.headers().clone();
        }
        record.method == http::Method::HEAD
    });
    let length = response.body().len();
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::UPGRADE_REQUIRED {
        parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    let body = if head { bytes::Bytes::new() } else { body };
    Response::from_parts(parts, ReplyBody::own(body, stream))
}

/// Milliseconds of a header, if it is a number.
pub fn millis(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}
