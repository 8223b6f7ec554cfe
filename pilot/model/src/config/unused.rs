//! What objects say that configuration does not follow: each such field is named, with what
//! happens instead.

use mesh_api::crd::DestinationRule;
use mesh_api::crd::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings,
    OutlierDetection, TrafficPolicy,
};
use mesh_api::crd::virtual_service::{HttpMatchRequest, HttpRoute};
use mesh_api::mesh_config::{MeshConfig, OutboundTrafficMode};

use super::document::Notes;
use crate::key::{Kind, ResourceKey};
use crate::store::mesh_key;

/// Settings of the mesh by name, and what happens instead where they are not as they are by
/// default.
const MESH: [(&str, &str); 21] = [
    ("extensionProviders", "has no effect: nothing refers to providers"),
    ("localityLbSetting", "has no effect: endpoints of all localities are used alike"),
    ("zoneAwareLbSetting", "has no effect: endpoints of all zones are used alike"),
    ("defaultInboundHttpRetryPolicy", "has no effect: requests are not retried on arrival"),
    ("serviceSettings", "has no effect: services are those of their own cluster"),
    ("serviceScopeConfigs", "has no effect: services are those of their own cluster"),
    ("serviceEntryVisibility", "has no effect: exportTo says who sees an entry"),
    ("discoverySelectors", "has no effect: every namespace is watched"),
    ("meshMTLS", "has no effect: mutual TLS is of version 1.2 or 1.3 with AEAD cipher suites"),
    ("tlsDefaults", "has no effect: gateways say in each server which TLS they take"),
    ("caCertificates", "has no effect here: trust is in the roots of the certificate authority"),
    ("ca", "has no effect: certificates come from the certificate authority of the installation"),
    ("certificates", "has no effect: the control plane's certificates follow a fixed table"),
    ("configSources", "has no effect: objects are read from the Kubernetes API"),
    ("hboneIdleTimeout", "has no effect: connections between proxies are not tunnelled"),
    ("proxyHttpPort", "has no effect: no port takes requests to a forward proxy"),
    ("inboundClusterStatName", "has no effect: clusters have their own names in statistics"),
    ("outboundClusterStatName", "has no effect: clusters have their own names in statistics"),
    ("enableEnvoyAccessLogService", "has no effect: access logs are written to a file"),
    ("ingressControllerMode", "has no effect: Ingress objects are not read"),
    ("verifyCertificateAtClient", "has no effect: certificates of servers are always verified"),
];

/// Complains about settings of the mesh.
pub(crate) fn mesh(mesh: &MeshConfig, notes: &mut Notes) {
    let key = mesh_key();
    let mut complain = |field: &str, reason: &str| notes.complain(&key, field, reason.to_owned());
    let written = |mesh: &MeshConfig| serde_json::to_value(mesh).unwrap_or_default();
    let (own, default) = (written(mesh), written(&MeshConfig::default()));
    for (field, reason) in MESH {
        if own[field] != default[field] {
            complain(field, reason);
        }
    }
    let builtin = mesh.default_providers.as_ref().is_none_or(|providers| {
        providers.tracing.is_empty()
            && providers.metrics.iter().all(|name| name == "prometheus")
            && providers.access_logging.iter().all(|name| name == "envoy")
    });
    if !builtin {
        complain(
            "defaultProviders",
            "has no effect: metrics and access logs are those without a provider",
        );
    }
    if own["defaultConfig"]["tracing"] != default["defaultConfig"]["tracing"] {
        complain("defaultConfig.tracing", "has no effect: requests are not traced");
    }
    if mesh.outbound_traffic_policy.mode == OutboundTrafficMode::AllowAnyDynamicDns {
        let reason = "acts as ALLOW_ANY: connections to unknown hosts go to the address the \
                      application chose";
        complain("outboundTrafficPolicy.mode", reason);
    }
    if mesh.outbound_traffic_policy.tls.is_some() {
        complain("outboundTrafficPolicy.tls", "has no effect: such connections go on as they are");
    }
    for field in mesh.unknown.keys() {
        complain(field, "is not a setting of the mesh");
    }
}

/// Complains about a DestinationRule.
pub(crate) fn destination_rule(rule: &DestinationRule, notes: &mut Notes) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&rule.metadata.namespace), text(&rule.metadata.name));
    let key = ResourceKey::new(Kind::DestinationRule, &namespace, &name);
    if let Some(policy) = &rule.spec.traffic_policy {
        traffic_policy(&key, "spec.trafficPolicy", policy, notes);
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            let path = format!("spec.subsets[{index}].trafficPolicy");
            traffic_policy(&key, &path, policy, notes);
        }
    }
}

fn traffic_policy(key: &ResourceKey, path: &str, policy: &TrafficPolicy, notes: &mut Notes) {
    let mut complain = |set: bool, field: &str, reason: &str| {
        if set {
            notes.complain(key, &format!("{path}.{field}"), reason.to_owned());
        }
    };
    let tunnel = "has no effect: connections are not tunnelled";
    complain(policy.tunnel.is_some(), "tunnel", tunnel);
    let header = "has no effect: no PROXY protocol header is sent";
    complain(policy.proxy_protocol.is_some(), "proxyProtocol", header);
    let interval = policy.retry_budget.as_ref().and_then(|budget| budget.budget_interval);
    let counted = "has no effect: requests count while they are under way";
    let is_set = interval.is_some_and(|interval| !interval.get().is_zero());
    complain(is_set, "retryBudget.budgetInterval", counted);
    pool(key, path, policy.connection_pool.as_ref(), notes);
    balancer(key, path, policy.load_balancer.as_ref(), notes);
    outlier(key, path, policy.outlier_detection.as_ref(), notes);
    tls(key, path, policy.tls.as_ref(), notes);
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        pool(key, &path, port.connection_pool.as_ref(), notes);
        balancer(key, &path, port.load_balancer.as_ref(), notes);
        outlier(key, &path, port.outlier_detection.as_ref(), notes);
        tls(key, &path, port.tls.as_ref(), notes);
    }
}

fn pool(key: &ResourceKey, path: &str, pool: Option<&ConnectionPoolSettings>, notes: &mut Notes) {
    let http = pool.and_then(|pool| pool.http.as_ref());
    let keepalive = http.and_then(|http| http.http2_keep_alive.as_ref());
    if keepalive.is_some_and(|keepalive| keepalive.timeout.is_none()) {
        let field = format!("{path}.connectionPool.http.http2KeepAlive");
        let reason = "has no effect without timeout: no pings are sent";
        notes.complain(key, &field, reason.to_owned());
    }
}

fn balancer(key: &ResourceKey, path: &str, lb: Option<&LoadBalancerSettings>, notes: &mut Notes) {
    let Some(lb) = lb else { return };
    let mut complain = |set: bool, field: &str, reason: &str| {
        if set {
            notes.complain(key, &format!("{path}.loadBalancer.{field}"), reason.to_owned());
        }
    };
    let alike = "has no effect: endpoints of all localities are used alike";
    complain(lb.locality_lb_setting.is_some(), "localityLbSetting", alike);
    complain(lb.zone_aware_lb_setting.is_some(), "zoneAwareLbSetting", alike);
}

fn outlier(key: &ResourceKey, path: &str, outlier: Option<&OutlierDetection>, notes: &mut Notes) {
    let Some(outlier) = outlier else { return };
    let mut complain = |set: bool, field: &str, reason: &str| {
        if set {
            notes.complain(key, &format!("{path}.outlierDetection.{field}"), reason.to_owned());
        }
    };
    let errors = "has no effect: use consecutive5xxErrors or consecutiveGatewayErrors";
    complain(outlier.consecutive_errors.is_some(), "consecutiveErrors", errors);
    let codes = !outlier.outlier_detection_http_error_codes.is_empty();
    let counted = "has no effect: every 5xx counts as an error";
    complain(codes, "outlierDetectionHttpErrorCodes", counted);
}

fn tls(key: &ResourceKey, path: &str, tls: Option<&ClientTlsSettings>, notes: &mut Notes) {
    let Some(tls) = tls else { return };
    if matches!(tls.mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual)) {
        return;
    }
    let fields = [
        ("clientCertificate", tls.client_certificate.is_some()),
        ("privateKey", tls.private_key.is_some()),
        ("caCertificates", tls.ca_certificates.is_some()),
        ("credentialName", tls.credential_name.is_some()),
        ("caCrl", tls.ca_crl.is_some()),
        ("insecureSkipVerify", tls.insecure_skip_verify == Some(true)),
    ];
    for (field, _) in fields.iter().filter(|(_, set)| *set) {
        let reason = "has no effect in this mode: only SIMPLE and MUTUAL read it";
        notes.complain(key, &format!("{path}.tls.{field}"), reason.to_owned());
    }
}

/// Complains about an HTTP rule at that path of a VirtualService.
pub(crate) fn http_route(key: &ResourceKey, path: &str, http: &HttpRoute, notes: &mut Notes) {
    let mut complain = |set: bool, field: &str, reason: &str| {
        if set {
            notes.complain(key, &format!("{path}.{field}"), reason.to_owned());
        }
    };
    let fault = http.fault.clone().unwrap_or_default();
    let delay = fault.delay.is_some_and(|delay| delay.exponential_delay.is_some());
    complain(delay, "fault.delay.exponentialDelay", "has no effect: use fixedDelay");
    let abort = fault.abort.is_some_and(|abort| abort.http2_error.is_some());
    complain(abort, "fault.abort.http2Error", "has no effect: use httpStatus or grpcStatus");
    for (index, matching) in http.match_.iter().enumerate() {
        let reason = "never matches: requests carry no claims here";
        complain(claims(matching), &format!("match[{index}].headers"), reason);
    }
}

/// Whether a condition asks for claims of a token.
fn claims(matching: &HttpMatchRequest) -> bool {
    matching.headers.keys().chain(matching.without_headers.keys()).any(|n| n.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use mesh_api::mesh_config::effective;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_the_mesh_are_settings() {
        let mut notes = Notes::default();
        mesh(&MeshConfig::default(), &mut notes);
        assert!(notes.diagnostics.is_empty(), "{:?}", notes.diagnostics);
        let own = effective([json!({
            "outboundTrafficPolicy": { "mode": "ALLOW_ANY_DYNAMIC_DNS" },
            "defaultConfig": { "tracing": { "sampling": 10.0 } },
            "meshMTLS": { "minProtocolVersion": "TLSV1_3" },
            "discoverySelectors": [{ "matchLabels": { "a": "b" } }],
            "nonsense": 1,
        })]);
        mesh(&own.unwrap(), &mut notes);
        let fields: Vec<&str> = notes.diagnostics.iter().map(|d| d.field.as_str()).collect();
        let expected = [
            "discoverySelectors",
            "meshMTLS",
            "defaultConfig.tracing",
            "outboundTrafficPolicy.mode",
            "nonsense",
        ];
        assert_eq!(fields, expected);
    }
}
