//! DestinationRule: subsets, traffic policies, connection pools, ejection and tunnels.

mod load_balancer;

use mesh_api::crd::Object;
use mesh_api::crd::destination_rule::{
    ConnectionPoolSettings, DestinationRuleSpec, H2UpgradePolicy, OutlierDetection,
    PortTrafficPolicy, TrafficPolicy, TunnelSettings,
};

use super::check::At;
use super::common::{export_to, labels, selector, subset_name, unique};
use super::{Validate, text, tls};

impl Validate for DestinationRuleSpec {
    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let own = object.metadata.namespace.as_deref().unwrap_or_default();
        at.field("host").require(text::wildcard(&spec.host));
        if let Some(policy) = &spec.traffic_policy {
            traffic_policy(policy, own, &mut at.field("trafficPolicy"));
        }
        let names = spec.subsets.iter().map(|subset| subset.name.as_str());
        unique(names, "subset name", &mut at.field("subsets"));
        for (index, subset) in spec.subsets.iter().enumerate() {
            let mut at = at.field("subsets");
            let mut at = at.index(index);
            subset_name(&subset.name, &mut at.field("name"));
            labels(&subset.labels, &mut at.field("labels"));
            if let Some(policy) = &subset.traffic_policy {
                traffic_policy(policy, own, &mut at.field("trafficPolicy"));
            }
        }
        export_to(own, &spec.export_to, false, &mut at.field("exportTo"));
        if let Some(select) = &spec.workload_selector {
            selector(
                Some(&select.match_labels),
                &mut at.field("workloadSelector").field("matchLabels"),
            );
            let local = match spec.export_to.as_slice() {
                [] => true,
                [one] => one == "." || one == own,
                _ => false,
            };
            at.field("exportTo").error_if(
                !local,
                "a rule with workloadSelector can only be exported to its own namespace",
            );
        }
    }
}

fn traffic_policy(policy: &TrafficPolicy, namespace: &str, at: &mut At<'_>) {
    at.error_if(*policy == TrafficPolicy::default(), "traffic policy must have at least one field");
    at.error_if(
        policy.tunnel.is_some() && policy.proxy_protocol.is_some(),
        "tunnel and proxyProtocol cannot both be set",
    );
    let common = PortTrafficPolicy {
        port: None,
        load_balancer: policy.load_balancer.clone(),
        connection_pool: policy.connection_pool.clone(),
        outlier_detection: policy.outlier_detection.clone(),
        tls: policy.tls.clone(),
    };
    parts(&common, namespace, at);
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let mut at = at.field("portLevelSettings");
        let mut at = at.index(index);
        match &port.port {
            None => at.field("port").error("portLevelSettings must have a port"),
            Some(port) => {
                at.field("port")
                    .field("number")
                    .require(text::port(port.number.unwrap_or_default()));
            }
        }
        let empty = PortTrafficPolicy { port: port.port.clone(), ..PortTrafficPolicy::default() };
        at.error_if(*port == empty, "port traffic policy must have at least one field");
        parts(port, namespace, &mut at);
    }
    if let Some(settings) = &policy.tunnel {
        tunnel(settings, &mut at.field("tunnel"));
    }
}

fn parts(policy: &PortTrafficPolicy, namespace: &str, at: &mut At<'_>) {
    if let Some(settings) = &policy.load_balancer {
        let ejects = policy.outlier_detection.is_some();
        load_balancer::check(settings, ejects, &mut at.field("loadBalancer"));
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(pool, &mut at.field("connectionPool"));
    }
    if let Some(settings) = &policy.outlier_detection {
        outlier_detection(settings, &mut at.field("outlierDetection"));
    }
    if let Some(settings) = &policy.tls {
        tls::client(settings, namespace, &mut at.field("tls"));
    }
}

/// Limits on connections and requests.
pub(super) fn connection_pool(pool: &ConnectionPoolSettings, at: &mut At<'_>) {
    at.error_if(
        pool.http.is_none() && pool.tcp.is_none(),
        "connection pool must have at least one field",
    );
    if let Some(http) = &pool.http {
        let mut at = at.field("http");
        at.error_if(
            *http == Default::default(),
            "http connection pool must have at least one field",
        );
        let numbers = [
            ("http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http2MaxRequests", http.http2_max_requests),
            ("maxRequestsPerConnection", http.max_requests_per_connection),
            ("maxRetries", http.max_retries),
            ("maxConcurrentStreams", http.max_concurrent_streams),
        ];
        not_negative(&numbers, &mut at);
        at.field("useClientProtocol").error_if(
            http.use_client_protocol == Some(true)
                && http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade),
            "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
        );
        if let Some(keepalive) = &http.http2_keep_alive {
            at.field("http2KeepAlive").error_if(
                keepalive.interval.is_none() || keepalive.timeout.is_none(),
                "both interval and timeout must be set",
            );
        }
    }
    if let Some(tcp) = &pool.tcp {
        let mut at = at.field("tcp");
        at.error_if(*tcp == Default::default(), "tcp connection pool must have at least one field");
        not_negative(&[("maxConnections", tcp.max_connections)], &mut at);
    }
}

fn not_negative(numbers: &[(&str, Option<i32>)], at: &mut At<'_>) {
    for (field, number) in numbers {
        if let Some(number) = number.filter(|number| *number < 0) {
            at.field(field).error(format!("must be non-negative, is {number}"));
        }
    }
}

fn outlier_detection(settings: &OutlierDetection, at: &mut At<'_>) {
    at.field("consecutiveErrors").warn_if(
        settings.consecutive_errors.is_some(),
        "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or \
         consecutive5xxErrors instead",
    );
    at.field("consecutiveLocalOriginFailures").error_if(
        settings.split_external_local_origin_errors != Some(true)
            && settings.consecutive_local_origin_failures.unwrap_or_default() > 0,
        "is only used when splitExternalLocalOriginErrors is true",
    );
    let percents = [
        ("maxEjectionPercent", settings.max_ejection_percent),
        ("minHealthPercent", settings.min_health_percent),
    ];
    for (field, percent) in percents {
        if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
            at.field(field).error(format!("percentage {percent} is not in range 0..100"));
        }
    }
}

fn tunnel(settings: &TunnelSettings, at: &mut At<'_>) {
    let protocol = settings.protocol.as_deref().unwrap_or("CONNECT");
    let known = ["CONNECT", "POST"].contains(&protocol);
    at.field("protocol").error_if(!known, "tunnel protocol must be CONNECT or POST");
    if text::ip(&settings.target_host).is_err() {
        at.field("targetHost").require(text::fqdn(&settings.target_host));
    }
    at.field("targetPort").require(text::port(settings.target_port));
}
