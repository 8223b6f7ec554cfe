//! Clusters: one per service port and subset, one per inbound port, and the fixed ones.

use std::collections::BTreeSet;

use mesh_api::crd::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings,
    OutlierDetection, SimpleLb, TrafficPolicy,
};
use mesh_api::mesh_config::InboundTrafficMode;
use mesh_api::name::{ClusterName, FixedCluster, SubsetName};
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::destination::{self, Destination};
use super::document::{Notes, ads, config_path, duration, set, socket, url};
use super::endpoint::accepts_mutual;
use super::tls;
use crate::class::{Class, Inbound};
use crate::proxy::Dialect;
use crate::registry::{Port, Resolution, Service};
use crate::resource::Inputs;
use crate::snapshot::Snapshot;

/// No limit: Istio's default of every circuit breaker.
const UNLIMITED: u32 = u32::MAX;
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// All clusters of a class.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let names = names(snapshot, class);
    let mut all: Vec<Inputs> =
        names.iter().filter_map(|name| outbound(snapshot, class, name)).collect();
    all.push(fixed(snapshot, FixedCluster::BlackHole));
    if !class.is_router() {
        all.extend(class.inbound.iter().map(|port| inbound(snapshot, port)));
        all.push(fixed(snapshot, FixedCluster::Passthrough));
        all.push(fixed(snapshot, FixedCluster::InboundPassthrough));
    }
    all
}

/// The names of the outbound clusters of a class.
pub(crate) fn names(snapshot: &Snapshot, class: &Class) -> Vec<ClusterName> {
    let mut names = Vec::new();
    for service in snapshot.visible(&class.namespace) {
        if matches!(service.resolution, Resolution::Alias(_)) {
            continue;
        }
        let rule = destination::of(snapshot, class, service);
        let subsets = rule.map(|rule| rule.subsets).unwrap_or_default();
        let subsets: Vec<SubsetName> =
            subsets.iter().filter_map(|subset| SubsetName::parse(&subset.name).ok()).collect();
        for port in &service.ports {
            let name = |subset| ClusterName::Outbound {
                port: port.number,
                subset,
                host: service.host.clone(),
            };
            names.push(name(None));
            names.extend(subsets.iter().cloned().map(Some).map(name));
        }
    }
    names
}

/// Whether clusters of the service get endpoints from the mesh. Sidecars leave the choice of a
/// headless service's endpoint to the application; a gateway has no application.
pub(crate) fn has_endpoints(service: &Service, class: &Class) -> bool {
    match service.resolution {
        Resolution::Endpoints => true,
        Resolution::Headless => class.is_router(),
        Resolution::Alias(_) => false,
    }
}

/// The cluster of that name; `None` when there is no such service, port or subset.
pub(crate) fn outbound(snapshot: &Snapshot, class: &Class, name: &ClusterName) -> Option<Inputs> {
    let ClusterName::Outbound { port, subset, host } = name else { return None };
    let service = snapshot.service(&class.namespace, host)?;
    if matches!(service.resolution, Resolution::Alias(_)) {
        return None;
    }
    let port = service.port(*port)?;
    let rule = destination::of(snapshot, class, service);
    let chosen = match subset {
        Some(subset) => Some(rule.as_ref()?.subset(subset.as_str())?),
        None => None,
    };
    let policy = rule.as_ref().map(|rule| rule.policy(port.number, chosen)).unwrap_or_default();
    let target = Target { snapshot, class, service, port, name, rule: rule.as_ref() };
    Some(target.cluster(&policy))
}

struct Target<'a> {
    snapshot: &'a Snapshot,
    class: &'a Class,
    service: &'a Service,
    port: &'a Port,
    name: &'a ClusterName,
    rule: Option<&'a Destination>,
}

impl Target<'_> {
    fn cluster(&self, policy: &TrafficPolicy) -> Inputs {
        let mut notes = Notes::default();
        let name = self.name.to_string();
        let pool = policy.connection_pool.clone().unwrap_or_default();
        let mut cluster = frame(self.snapshot, &name, &pool);
        if has_endpoints(self.service, self.class) {
            cluster["type"] = "EDS".into();
            cluster["eds_cluster_config"] = json!({ "eds_config": ads(), "service_name": name });
            cluster["lb_policy"] = "LEAST_REQUEST".into();
            notes.refer(TypeUrl::Endpoint, &name);
            self.balance(&mut cluster, policy.load_balancer.as_ref(), &mut notes);
        } else {
            cluster["type"] = "ORIGINAL_DST".into();
            cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
        }
        if let Some(outlier) = &policy.outlier_detection {
            cluster["outlier_detection"] = ejection(outlier);
        }
        cluster["common_lb_config"] = panic_threshold(policy.outlier_detection.as_ref());
        set(&mut cluster, "typed_extension_protocol_options", options(self.port.protocol, &pool));
        self.secure(&mut cluster, policy.tls.as_ref(), &mut notes);
        cluster["metadata"] = self.metadata();
        notes.finish(TypeUrl::Cluster, &name, cluster)
    }

    fn metadata(&self) -> Value {
        let Service { host, name, namespace, .. } = self.service;
        let mut istio = json!({
            "services": [{ "host": host.as_str(), "name": name, "namespace": namespace }],
        });
        if let Some(rule) = self.rule {
            istio["config"] = config_path(&rule.rule, "destination-rule").into();
        }
        if let Some(subset) = self.name.subset() {
            istio["subset"] = subset.as_str().into();
        }
        json!({ "filter_metadata": { "istio": istio } })
    }

    fn balance(&self, cluster: &mut Value, lb: Option<&LoadBalancerSettings>, notes: &mut Notes) {
        let Some(lb) = lb else { return };
        match lb.simple.unwrap_or_default() {
            SimpleLb::Random => cluster["lb_policy"] = "RANDOM".into(),
            SimpleLb::RoundRobin => cluster["lb_policy"] = "ROUND_ROBIN".into(),
            SimpleLb::Passthrough => {
                cluster["type"] = "ORIGINAL_DST".into();
                cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
                if let Some(fields) = cluster.as_object_mut() {
                    fields.remove("eds_cluster_config");
                }
                notes.references.clear();
            }
            SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest => {}
        }
        if let Some(rule) = self.rule
            && lb.consistent_hash.is_some()
        {
            let field = "spec.trafficPolicy.loadBalancer.consistentHash";
            notes.complain(
                &rule.rule,
                field,
                "has no effect: requests are balanced by load".into(),
            );
        }
    }

    /// Mutual TLS towards endpoints that have a proxy, unless the rule says otherwise.
    fn secure(&self, cluster: &mut Value, tls: Option<&ClientTlsSettings>, notes: &mut Notes) {
        let mode = tls.map(|tls| tls.mode.unwrap_or_default());
        match mode {
            None if !self.snapshot.mesh.enable_auto_mtls => {}
            // Addresses that the application chose have no metadata that could decide, so all
            // pods decide together.
            None if cluster["type"] == "ORIGINAL_DST" => {
                if self.all_accept_mutual() {
                    cluster["transport_socket"] = self.mutual(None);
                }
            }
            None => {
                cluster["transport_socket_matches"] = json!([
                    {
                        "name": "tlsMode-istio",
                        "match": { "tlsMode": "istio" },
                        "transport_socket": self.mutual(None),
                    },
                    {
                        "name": "tlsMode-disabled",
                        "match": {},
                        "transport_socket": tls::plaintext(),
                    },
                ]);
            }
            Some(ClientTlsMode::IstioMutual) => {
                cluster["transport_socket"] = self.mutual(tls);
            }
            Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) => {
                if let Some(rule) = self.rule {
                    let reason = "modes SIMPLE and MUTUAL are refused: connections get no TLS \
                                  of their own; use ISTIO_MUTUAL or DISABLE";
                    notes.complain(&rule.rule, "spec.trafficPolicy.tls.mode", reason.to_owned());
                }
            }
            Some(ClientTlsMode::Disable) => {}
        }
    }

    /// Whether there are endpoints of the port, and all of them end mutual TLS.
    fn all_accept_mutual(&self) -> bool {
        let endpoints = self.snapshot.endpoints_of(&self.service.host).iter();
        let mut own = endpoints.filter(|endpoint| endpoint.port_name == self.port.name).peekable();
        own.peek().is_some() && own.all(|endpoint| accepts_mutual(self.snapshot, endpoint))
    }

    fn mutual(&self, settings: Option<&ClientTlsSettings>) -> Value {
        let own = settings.map(|tls| tls.subject_alt_names.clone()).unwrap_or_default();
        let sans = if own.is_empty() { self.identities() } else { own };
        let derived = self.name.sni().map(|sni| sni.to_string()).unwrap_or_default();
        let sni = settings.and_then(|tls| tls.sni.clone()).filter(|sni| !sni.is_empty());
        tls::upstream(&sans, &sni.unwrap_or(derived), self.alpn())
    }

    /// In Istio's dialect a filter replaces these by the downstream's protocol.
    fn alpn(&self) -> &'static [&'static str] {
        let protocol = self.port.protocol;
        match self.class.dialect {
            Dialect::Istio if protocol.is_http2() => &["istio", "h2"],
            Dialect::Istio => &["istio"],
            Dialect::Upstream if protocol.is_http2() => &["istio-h2", "istio", "h2"],
            Dialect::Upstream if protocol.is_http() => &["istio-http/1.1", "istio", "http/1.1"],
            Dialect::Upstream => &["istio"],
        }
    }

    /// The identities of the service's pods, under every name of the trust domain.
    fn identities(&self) -> Vec<String> {
        let mesh = &self.snapshot.mesh;
        let mut all = BTreeSet::new();
        for endpoint in self.snapshot.endpoints_of(&self.service.host) {
            let Some(workload) = &endpoint.workload else { continue };
            for domain in std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases) {
                let (place, account) = (&workload.namespace, &workload.service_account);
                all.insert(format!("spiffe://{domain}/ns/{place}/sa/{account}"));
            }
        }
        all.into_iter().collect()
    }
}

/// What every cluster has.
fn frame(snapshot: &Snapshot, name: &str, pool: &ConnectionPoolSettings) -> Value {
    let tcp = pool.tcp.clone().unwrap_or_default();
    let http = pool.http.clone().unwrap_or_default();
    let limit =
        |value: Option<i32>| value.filter(|n| *n > 0).map_or(UNLIMITED, |n| n.unsigned_abs());
    let timeout = tcp.connect_timeout.unwrap_or(snapshot.mesh.connect_timeout);
    let mut cluster = json!({
        "name": name,
        "alt_stat_name": format!("{name};"),
        "connect_timeout": timeout.to_string(),
        "circuit_breakers": { "thresholds": [{
            "max_connections": limit(tcp.max_connections),
            "max_pending_requests": limit(http.http1_max_pending_requests),
            "max_requests": limit(http.http2_max_requests),
            "max_retries": limit(http.max_retries),
        }] },
    });
    let keepalive = tcp.tcp_keepalive.or_else(|| snapshot.mesh.tcp_keepalive.clone());
    if let Some(keepalive) = keepalive {
        let seconds = |d: Option<mesh_api::crd::Duration>| match d {
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

/// How requests are spoken to the endpoints; null where Envoy's default will do.
fn options(protocol: Protocol, pool: &ConnectionPoolSettings) -> Value {
    let http = pool.http.clone().unwrap_or_default();
    let streams = http.max_concurrent_streams.filter(|n| *n > 0);
    let mut http2 = json!({});
    set(&mut http2, "max_concurrent_streams", json!(streams));
    let client = http.use_client_protocol.unwrap_or(false);
    let mut options = if protocol.is_http2() && !client {
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
    let bytes_only = protocol.is_tcp() && !client;
    if common.as_object().is_some_and(|fields| !fields.is_empty()) {
        options["common_http_protocol_options"] = common;
    } else if bytes_only {
        return Value::Null;
    }
    options["@type"] = url(HTTP_OPTIONS).into();
    json!({ HTTP_OPTIONS: options })
}

fn ejection(outlier: &OutlierDetection) -> Value {
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
fn panic_threshold(outlier: Option<&OutlierDetection>) -> Value {
    match outlier {
        Some(outlier) => {
            let percent = outlier.min_health_percent.unwrap_or(0).max(0);
            json!({ "healthy_panic_threshold": { "value": f64::from(percent) } })
        }
        None => json!({}),
    }
}

/// The cluster of the application behind an inbound port.
fn inbound(snapshot: &Snapshot, inbound: &Inbound) -> Inputs {
    let name = ClusterName::Inbound { port: inbound.target }.to_string();
    let mut cluster = frame(snapshot, &name, &ConnectionPoolSettings::default());
    match snapshot.mesh.inbound_traffic_policy.mode {
        InboundTrafficMode::Passthrough => {
            cluster["type"] = "ORIGINAL_DST".into();
            cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
            // Capture leaves connections from this address alone.
            cluster["upstream_bind_config"] = inbound_source();
        }
        InboundTrafficMode::Localhost => {
            cluster["type"] = "STATIC".into();
            cluster["load_assignment"] = local(&name, inbound.target);
        }
    }
    let pool = ConnectionPoolSettings::default();
    let options = options(inbound.protocol, &pool);
    set(&mut cluster, "typed_extension_protocol_options", options);
    let Inbound { host, service, namespace, .. } = inbound;
    cluster["metadata"] = json!({ "filter_metadata": { "istio": {
        "services": [{ "host": host.as_str(), "name": service, "namespace": namespace }],
    } } });
    Notes::default().finish(TypeUrl::Cluster, &name, cluster)
}

fn inbound_source() -> Value {
    json!({ "source_address": { "address": "127.0.0.6", "port_value": 0 } })
}

fn local(name: &str, port: PortNumber) -> Value {
    json!({
        "cluster_name": name,
        "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": socket("127.0.0.1", port.get()) },
        }] }],
    })
}

/// The clusters that lead nowhere, or to where the application wanted to go.
fn fixed(snapshot: &Snapshot, fixed: FixedCluster) -> Inputs {
    let name = fixed.as_str();
    let mut cluster = json!({
        "name": name,
        "connect_timeout": snapshot.mesh.connect_timeout.to_string(),
    });
    if fixed == FixedCluster::BlackHole {
        cluster["type"] = "STATIC".into();
        return Notes::default().finish(TypeUrl::Cluster, name, cluster);
    }
    cluster["alt_stat_name"] = format!("{name};").into();
    cluster["type"] = "ORIGINAL_DST".into();
    cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
    cluster["circuit_breakers"] =
        frame(snapshot, name, &ConnectionPoolSettings::default())["circuit_breakers"].clone();
    if fixed == FixedCluster::InboundPassthrough {
        cluster["upstream_bind_config"] = inbound_source();
    }
    cluster["typed_extension_protocol_options"] = json!({ HTTP_OPTIONS: {
        "@type": url(HTTP_OPTIONS),
        "common_http_protocol_options": { "idle_timeout": "300s" },
        "use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {},
        },
    } });
    Notes::default().finish(TypeUrl::Cluster, name, cluster)
}
