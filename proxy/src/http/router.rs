//! From a routed request to an endpoint's response: time-outs, tries, and what each try sends.

mod attempt;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use http_body::Body;
use proxy_model::cluster::Cluster;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::action::{Forward, WeightedCluster};
use proxy_model::http::virtual_host::{Matched, VirtualHost};
use tokio::time::Instant;

use super::codec::body::{Limits, RequestBody};
use super::context::Stream;
use super::handler::Answer;
use super::replay::Replay;
use super::reply::LocalReply;
use super::request::Head;
use super::{mirror, upgrade};
use crate::failure::{Failure, FailureKind};
use crate::upstream::PickFor;
use crate::upstream::counters::Counters;
use attempt::{Tried, Try};
use plan::Plan;

/// gRPC's status of a call that took too long.
const DEADLINE_EXCEEDED: u32 = 4;
/// Bytes of a request's body that are kept for further tries.
const REPLAY_LIMIT: usize = 1 << 20;

/// A request on its way to a cluster.
pub struct Forwarding<'a> {
    /// The request.
    pub stream: &'a Stream,
    /// How the route forwards.
    pub forward: &'a Arc<Forward>,
    /// The virtual host.
    pub host: &'a Arc<VirtualHost>,
    /// The route.
    pub matched: &'a Matched<'a>,
    /// The cluster's entry, when clusters share the route by weight.
    pub weighted: Option<&'a WeightedCluster>,
    /// The cluster.
    pub cluster: &'a Arc<Cluster>,
    /// ALPN towards the endpoint, when a filter decided it.
    pub alpn: Option<Arc<[Arc<str>]>>,
    /// Whether the client's codec can change its protocol.
    pub can_upgrade: bool,
}

/// Sends the request and waits for the head of the response, trying again as the policy says.
///
/// # Errors
/// The reply when no endpoint answered.
pub async fn forward(
    forwarding: Forwarding<'_>,
    mut head: Head,
    body: RequestBody,
) -> Result<Answer, LocalReply> {
    let stream = forwarding.stream;
    let upgrading = match &head.upgrade {
        Some(protocol) => Some(upgrade::allowed(&forwarding, protocol)?),
        None => None,
    };
    if upgrading == Some(upgrade::Kind::TerminateConnect) {
        return upgrade::connect(&forwarding, &head).await;
    }
    let plan = Plan::new(&forwarding, &mut head);
    let replayed = plan.retry.is_some() || !forwarding.forward.mirrors.is_empty();
    let limit = if replayed { REPLAY_LIMIT } else { 0 };
    let body = (!body.is_end_stream()).then(|| Replay::new(body, limit));
    mirror::start(&forwarding, &head, body.as_ref());
    let deadline = deadline(&plan, body.as_ref());
    let longest = longest(stream, plan.max_stream);
    let begun = Instant::now();
    let shared = stream.connection.deps.upstreams.shared(forwarding.cluster);
    let counters = &shared.counters;
    let tries =
        tries(&forwarding, &plan, &mut head, (body.as_ref(), upgrading.is_some()), counters);
    let result = tokio::select! {
        biased;
        result = tries => result,
        () = deadline => {
            counters.rq_timeout.inc();
            let failure = Failure::new(FailureKind::ResponseTimeout);
            note_failure(stream, &failure);
            Err(LocalReply::failed(&failure, 1))
        }
        // The client's limit: the cluster does not count it.
        () = longest => return Err(too_long(body.as_ref())),
    };
    counters.completed(match &result {
        Ok(tried) => tried.response.status().as_u16(),
        Err(reply) => reply.status.as_u16(),
    });
    let tried = result?;
    finish(&forwarding, &plan, tried, begun, upgrading.is_some())
}

/// Ready when the stream lasts too long.
async fn longest(stream: &Stream, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    let started = stream.log.with(|record| record.started);
    tokio::time::sleep_until(started + limit).await;
}

fn too_long(body: Option<&Replay<RequestBody>>) -> LocalReply {
    let complete = body.is_none_or(Replay::is_complete);
    let status = if complete { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::REQUEST_TIMEOUT };
    let mut reply =
        LocalReply::new(status, "max_duration_timeout").body("downstream duration timeout");
    reply.grpc_status = Some(DEADLINE_EXCEEDED);
    reply
}

/// Ready when the route's time is over: it begins when the client's request is complete.
async fn deadline(plan: &Plan, body: Option<&Replay<RequestBody>>) {
    let Some(timeout) = plan.timeout else { return std::future::pending().await };
    if let Some(body) = body {
        body.completed().await;
    }
    tokio::time::sleep(timeout).await;
}

async fn tries(
    forwarding: &Forwarding<'_>,
    plan: &Plan,
    head: &mut Head,
    (body, upgrading): (Option<&Replay<RequestBody>>, bool),
    counters: &Counters,
) -> Result<Tried, LocalReply> {
    let stream = forwarding.stream;
    let deps = &stream.connection.deps;
    let mut pick = first_pick(forwarding, plan, head);
    let mut retries = 0;
    let mut permit = None;
    loop {
        let count = stream.log.with(|record| {
            record.upstream.attempts += 1;
            record.upstream.attempts
        });
        let repeatable = plan.retry.is_some();
        let mut one =
            Try { forwarding, plan, head: &mut *head, repeatable, body, count, upgrading };
        let result = one.run(&pick).await;
        // The retry that was under way is over.
        drop(permit.take());
        let (outcome, side) = match &result {
            Ok(tried) => (tried.outcome(), None),
            Err((failure, _)) => (attempt::outcome(failure), Some(failure.kind)),
        };
        match side {
            Some(FailureKind::PerTryTimeout) => counters.rq_per_try_timeout.inc(),
            Some(FailureKind::RemoteReset) => counters.rq_rx_reset.inc(),
            Some(FailureKind::LocalReset) => counters.rq_tx_reset.inc(),
            _ => {}
        }
        let again = plan.retry.as_ref().filter(|policy| policy.retriable(outcome));
        let Some(policy) = again else {
            if retries > 0 {
                counters.rq_retry_success.inc();
            }
            return end(stream, result, count, ResponseFlags::NONE);
        };
        let possible = body.is_none_or(Replay::can_replay) && side != Some(FailureKind::LocalReset);
        if !possible {
            return end(stream, result, count, ResponseFlags::NONE);
        }
        if retries >= policy.num_retries {
            counters.rq_retry_limit_exceeded.inc();
            return end(stream, result, count, ResponseFlags::URX);
        }
        permit = deps.upstreams.retry_permit(forwarding.cluster, forwarding.forward.high_priority);
        if permit.is_none() {
            counters.rq_retry_overflow.inc();
            return end(stream, result, count, ResponseFlags::UO);
        }
        retries += 1;
        counters.rq_retry.inc();
        counters.rq_retry_backoff_exponential.inc();
        let tried = match result {
            Ok(tried) => {
                counters.retried_codes.count(tried.response.status().as_u16());
                Some(tried.reached.endpoint)
            }
            Err((_, endpoint)) => endpoint,
        };
        if policy.avoid_previous_hosts {
            pick.avoid.extend(tried);
            pick.avoid_attempts = policy.host_selection_attempts;
        }
        tokio::time::sleep(policy.backoff(retries, (deps.random)())).await;
    }
}

fn first_pick(forwarding: &Forwarding<'_>, plan: &Plan, head: &Head) -> PickFor {
    let facts = &forwarding.stream.connection.downstream.facts;
    let view = head.view();
    let policies = &forwarding.forward.hash_policies;
    let hash = if policies.is_empty() {
        None
    } else {
        proxy_model::http::hash_policy::hash(policies, Some(&view), head.client)
    };
    PickFor {
        original_destination: Some(facts.destination),
        header_destination: plan.header_destination,
        hash,
        avoid: Vec::new(),
        avoid_attempts: 0,
        tls: crate::upstream::transport::TlsOverrides {
            sni: plan.sni.clone(),
            alpn: forwarding.alpn.clone(),
        },
        downstream_http2: head.version == http::Version::HTTP_2,
        high_priority: forwarding.forward.high_priority,
    }
}

/// The last try's result; `flags` say why there is no other one.
fn end(
    stream: &Stream,
    result: Result<Tried, attempt::Missed>,
    count: u32,
    flags: ResponseFlags,
) -> Result<Tried, LocalReply> {
    stream.log.with(|record| record.flags.insert(flags));
    result.map_err(|(failure, _)| {
        note_failure(stream, &failure);
        LocalReply::failed(&failure, count)
    })
}

/// What the record holds of a failure.
pub fn note_failure(stream: &Stream, failure: &Failure) {
    stream.log.with(|record| record.upstream.failure = failure.logged_reason());
}

fn finish(
    forwarding: &Forwarding<'_>,
    plan: &Plan,
    tried: Tried,
    begun: Instant,
    upgrading: bool,
) -> Result<Answer, LocalReply> {
    let stream = forwarding.stream;
    let Tried { mut response, begun: tried_at, reached: _ } = tried;
    let switched = upgrading && response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upstream = switched.then(|| upgrade::Tunnel::of(&mut response));
    let protocol =
        switched.then(|| response.headers().get(http::header::UPGRADE).cloned()).flatten();
    super::request::hop_by_hop(response.headers_mut(), &http::Method::GET, http::Version::HTTP_11);
    stream.log.with(|record| record.upstream_time = Some(tried_at.elapsed()));
    if let Some(upstream) = upstream {
        let mut head = response.map(drop);
        if let Some(protocol) = protocol {
            head.headers_mut().insert(http::header::UPGRADE, protocol);
        }
        let value = HeaderValue::from_static("upgrade");
        head.headers_mut().insert(http::header::CONNECTION, value);
        return Ok(Answer::Upgraded { head, upstream });
    }
    let timeouts = &stream.connection.manager.timeouts;
    let started = stream.log.with(|record| record.started);
    let idle = forwarding.forward.idle_timeout.unwrap_or(timeouts.stream_idle);
    let upstream_longest = forwarding.cluster.max_stream_duration;
    let due = [
        plan.timeout.map(|limit| (begun + limit, ResponseFlags::UT, "response_timeout")),
        plan.max_stream.map(|limit| (started + limit, ResponseFlags::NONE, "max_duration_timeout")),
        upstream_longest.map(|limit| {
            (tried_at + limit, ResponseFlags::UMSDR, "upstream_max_stream_duration_reached")
        }),
    ];
    let deadline = due.into_iter().flatten().min_by_key(|(at, ..)| *at);
    let idle = idle.filter(|idle| *idle > Duration::ZERO);
    Ok(Answer::Upstream { response, limits: Limits { deadline, idle } })
}
