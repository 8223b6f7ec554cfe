//! What a traffic policy says about connections to a cluster: limits, protocol, balancing, ejection.

use mesh_api::crd::Duration;
use mesh_api::crd::destination_rule::{
    ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy, LoadBalancerSettings,
    OutlierDetection, RetryBudget, TrafficPolicy,
};
use mesh_api::port::Protocol;
use serde_json::{Value, json};

use super::document::{duration, set, url};
use crate::snapshot::Snapshot;

const UNLIMITED: u32 = u32::MAX;

/// The extension that says how requests are spoken to endpoints.
pub(crate) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A policy, completed by what the mesh says for all services.
pub(crate) fn completed(snapshot: &Snapshot, policy: TrafficPolicy) -> TrafficPolicy {
    let default = snapshot.mesh.default_traffic_policy.clone().unwrap_or_default();
    TrafficPolicy {
        connection_pool: policy.connection_pool.or(default.connection_pool),
        outlier_detection: policy.outlier_detection.or(default.outlier_detection),
        ..policy
    }
}

/// What every cluster has: its name, how it is dialled, and its limits.
pub(crate) fn frame(
    snapshot: &Snapshot,
    name: &str,
    pool: &ConnectionPoolSettings,
    budget: Option<&RetryBudget>,
) -> Value {
    let tcp = pool.tcp.clone().unwrap_or_default();
    let http = pool.http.clone().unwrap_or_default();
    let limit =
        |value: Option<i32>| value.filter(|n| *n > 0).map_or(UNLIMITED, |n| n.unsigned_abs());
    let timeout = tcp.connect_timeout.unwrap_or(snapshot.mesh.connect_timeout);
    let mut thresholds = json!({
        "max_connections": limit(tcp.max_connections),
        "max_pending_requests": limit(http.http1_max_pending_requests),
        "max_requests": limit(http.http2_max_requests),
        "max_retries": limit(http.max_retries),
    });
    if let Some(budget) = budget {
        thresholds["retry_budget"] = json!({
            "budget_percent": { "value": budget.percent.unwrap_or(20.0) },
            "min_retry_concurrency": budget.min_retry_concurrency.unwrap_or(3),
        });
    }
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": format!("{name};"),
        "connect_timeout": timeout.to_string(),
        "circuit_breakers": { "thresholds": [thresholds] },
    });
    let keepalive = tcp.tcp_keepalive.or_else(|| snapshot.mesh.tcp_keepalive.clone());
    if let Some(keepalive) = keepalive {
        let seconds = |d: Option<Duration>| match d {
            Some(d) => json!(d.get().as_secs()),
            None => Value::Null,
        };
        let mut settings = json!({});
        set(&mut settings, "keepalive_probes", json!(keepalive.probes));
        set(&mut settings, "keepalive_time", seconds(keepalive.time));
        set(&mut settings, "keepalive_interval", seconds(keepalive.interval));
        cluster["upstream_connection_options"] = json!({ "tcp_keepalive": settings });
    }
    cluster
}

/// Whether requests go to the endpoints as HTTP/2: by the port's protocol, or because a rule or
/// the mesh raises HTTP/1.1 to it.
pub(crate) fn is_http2(
    snapshot: &Snapshot,
    protocol: Protocol,
    pool: &ConnectionPoolSettings,
) -> bool {
    let http = pool.http.clone().unwrap_or_default();
    if protocol.is_http2() {
        return true;
    }
    if http.use_client_protocol == Some(true) || protocol.is_tcp() {
        return false;
    }
    match http.h2_upgrade_policy.unwrap_or_default() {
        // Who asks for it in a rule knows the port, even one without a protocol.
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => {
            protocol.is_http() && snapshot.mesh.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade)
        }
    }
}

/// How requests are spoken to the endpoints; null where Envoy's default will do.
pub(crate) fn options(protocol: Protocol, is_http2: bool, pool: &ConnectionPoolSettings) -> Value {
    let tcp = pool.tcp.clone().unwrap_or_default();
    let http = pool.http.clone().unwrap_or_default();
    let mut http2 = json!({});
    let streams = http.max_concurrent_streams.filter(|n| *n > 0);
    set(&mut http2, "max_concurrent_streams", json!(streams));
    if let Some(keepalive) = &http.http2_keep_alive
        && let Some(timeout) = keepalive.timeout
    {
        let mut pings = json!({ "timeout": timeout.to_string() });
        set(&mut pings, "interval", duration(keepalive.interval));
        http2["connection_keepalive"] = pings;
    }
    let client = http.use_client_protocol.unwrap_or(false);
    let mut options = if is_http2 && !client {
        json!({ "explicit_http_config": { "http2_protocol_options": http2 } })
    } else if protocol.is_unsupported() || client {
        json!({ "use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": http2,
        } })
    } else {
        json!({ "explicit_http_config": { "http_protocol_options": {} } })
    };
    let mut common = json!({});
    set(&mut common, "idle_timeout", duration(http.idle_timeout));
    let requests = http.max_requests_per_connection.filter(|n| *n > 0);
    set(&mut common, "max_requests_per_connection", json!(requests));
    set(&mut common, "max_connection_duration", duration(tcp.max_connection_duration));
    let bytes_only = protocol.is_tcp() && !client;
    if common.as_object().is_some_and(|fields| !fields.is_empty()) {
        options["common_http_protocol_options"] = common;
    } else if bytes_only {
        return Value::Null;
    }
    options["@type"] = url(HTTP_OPTIONS).into();
    json!({ HTTP_OPTIONS: options })
}

/// Slow start of new endpoints, as a part of the balancer's settings.
pub(crate) fn warmup(lb: &LoadBalancerSettings) -> Option<Value> {
    let warmup = lb.warmup.clone().unwrap_or_default();
    let window = match lb.warmup {
        Some(_) => warmup.duration,
        None => lb.warmup_duration_secs?,
    };
    let mut settings = json!({
        "slow_start_window": window.to_string(),
        "min_weight_percent": { "value": warmup.minimum_percent.unwrap_or(10.0) },
    });
    if let Some(aggression) = warmup.aggression {
        // Envoy wants a key beside the value; nothing sets it.
        settings["aggression"] =
            json!({ "default_value": aggression, "runtime_key": "slow_start.aggression" });
    }
    Some(json!({ "slow_start_config": settings }))
}

/// The ring that requests of one hash find their endpoint by: Envoy's policy, the field of its
/// settings, and these.
pub(crate) fn ring(hash: &ConsistentHashLb) -> (&'static str, &'static str, Value) {
    if let Some(maglev) = &hash.maglev {
        let mut settings = json!({});
        set(&mut settings, "table_size", json!(maglev.table_size.filter(|size| *size > 0)));
        return ("MAGLEV", "maglev_lb_config", settings);
    }
    let own = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    let least = own.or(hash.minimum_ring_size).filter(|size| *size > 0).unwrap_or(1024);
    ("RING_HASH", "ring_hash_lb_config", json!({ "minimum_ring_size": least }))
}

/// What of a request is hashed, for the routes to a cluster of that policy; none where nothing is.
pub(crate) fn hashed(policy: &TrafficPolicy) -> Option<Value> {
    let hash = policy.load_balancer.as_ref()?.consistent_hash.as_ref()?;
    if let Some(name) = &hash.http_header_name {
        return Some(json!({ "header": { "header_name": name } }));
    }
    if let Some(cookie) = &hash.http_cookie {
        let mut all = json!({ "name": cookie.name });
        set(&mut all, "path", json!(cookie.path));
        set(&mut all, "ttl", duration(cookie.ttl));
        let attributes = cookie.attributes.iter().map(|attribute| {
            json!({ "name": attribute.name, "value": attribute.value.clone().unwrap_or_default() })
        });
        let attributes: Vec<Value> = attributes.collect();
        if !attributes.is_empty() {
            all["attributes"] = attributes.into();
        }
        return Some(json!({ "cookie": all }));
    }
    if let Some(name) = &hash.http_query_parameter_name {
        return Some(json!({ "query_parameter": { "name": name } }));
    }
    hash.use_source_ip?.then(|| json!({ "connection_properties": { "source_ip": true } }))
}

/// When endpoints are left out for a while.
pub(crate) fn ejection(outlier: &OutlierDetection) -> Value {
    let mut all = json!({ "enforcing_success_rate": 0 });
    let errors = outlier.consecutive_5xx_errors;
    set(&mut all, "consecutive_5xx", json!(errors));
    if let Some(errors) = errors {
        all["enforcing_consecutive_5xx"] = json!(if errors > 0 { 100 } else { 0 });
    }
    if let Some(errors) = outlier.consecutive_gateway_errors {
        all["consecutive_gateway_failure"] = json!(errors);
        all["enforcing_consecutive_gateway_failure"] = json!(if errors > 0 { 100 } else { 0 });
    }
    set(&mut all, "interval", duration(outlier.interval));
    set(&mut all, "base_ejection_time", duration(outlier.base_ejection_time));
    let percent = outlier.max_ejection_percent.filter(|percent| *percent > 0);
    all["max_ejection_percent"] = json!(percent.unwrap_or(10));
    if outlier.split_external_local_origin_errors == Some(true) {
        all["split_external_local_origin_errors"] = true.into();
        let failures = outlier.consecutive_local_origin_failures;
        set(&mut all, "consecutive_local_origin_failure", json!(failures));
    }
    all
}

/// Istio has no panic threshold unless a rule that ejects names one.
pub(crate) fn panic_threshold(outlier: Option<&OutlierDetection>) -> Value {
    match outlier {
        Some(outlier) => {
            let percent = outlier.min_health_percent.unwrap_or(0).max(0);
            json!({ "healthy_panic_threshold": { "value": f64::from(percent) } })
        }
        None => json!({}),
    }
}
