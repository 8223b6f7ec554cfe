//! Clusters: one per service port and subset, one per inbound port, and the fixed ones.

use std::collections::BTreeSet;

use mesh_api::crd::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, SimpleLb,
    TrafficPolicy,
};
use mesh_api::mesh_config::InboundTrafficMode;
use mesh_api::name::{ClusterName, FixedCluster, SubsetName};
use mesh_api::port::PortNumber;
use mesh_api::type_url::TypeUrl;
use serde_json::{Value, json};

use super::destination::{self, Destination};
use super::document::{Notes, ads, config_path, set, socket, url};
use super::endpoint::{self, Chosen, accepts_mutual};
use super::pool::{self, HTTP_OPTIONS, frame, options};
use super::{gateway, tls, unused};
use crate::class::{Class, Inbound};
use crate::proxy::Dialect;
use crate::registry::{Port, Resolution, Service};
use crate::resource::Inputs;
use crate::scope::ingress::Application;
use crate::snapshot::Snapshot;

/// All clusters of a class.
pub(crate) fn all(snapshot: &Snapshot, class: &Class) -> Vec<Inputs> {
    let names = names(snapshot, class);
    let mut all: Vec<Inputs> =
        names.iter().filter_map(|name| outbound(snapshot, class, name)).collect();
    let mut hole = fixed(snapshot, FixedCluster::BlackHole);
    if class.is_router() {
        // A gateway may have no listener that could tell.
        hole.diagnostics = gateway::complaints(snapshot, class);
    }
    all.push(hole);
    if !class.is_router() {
        all.extend(class.inbound.iter().map(|port| inbound(snapshot, class, port)));
        all.push(fixed(snapshot, FixedCluster::Passthrough));
        all.push(fixed(snapshot, FixedCluster::InboundPassthrough));
    }
    all
}

/// The names of the outbound clusters of a class.
pub(crate) fn names(snapshot: &Snapshot, class: &Class) -> Vec<ClusterName> {
    let mut names = Vec::new();
    for service in snapshot.known(class) {
        if service.is_alias() {
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

/// Whether clusters of the service get endpoints from the mesh. Sidecars leave the choice of an
/// endpoint to the application where the service has no address; a gateway has no application.
pub(crate) fn has_endpoints(service: &Service, class: &Class) -> bool {
    match service.resolution {
        Resolution::Endpoints => true,
        Resolution::Headless | Resolution::OriginalDestination => class.is_router(),
        Resolution::Dns | Resolution::DnsRoundRobin | Resolution::Alias(_) => false,
    }
}

/// The cluster of that name; `None` when there is no such service, port or subset.
pub(crate) fn outbound(snapshot: &Snapshot, class: &Class, name: &ClusterName) -> Option<Inputs> {
    let ClusterName::Outbound { port, subset, host } = name else { return None };
    let service = snapshot.known_service(class, host)?;
    if service.is_alias() {
        return None;
    }
    let port = service.port(*port)?;
    let rule = destination::of(snapshot, class, service);
    let policy = governing(snapshot, rule.as_ref(), port.number, subset.as_ref())?;
    let pool = policy.connection_pool.clone().unwrap_or_default();
    let is_http2 = pool::is_http2(snapshot, port.protocol, &pool);
    let target = Target { snapshot, class, service, port, name, rule: rule.as_ref(), is_http2 };
    Some(target.cluster(&policy, &pool))
}

/// The policy of an outbound cluster; `None` when there is no such service, port or subset.
pub(crate) fn policy(
    snapshot: &Snapshot,
    class: &Class,
    name: &ClusterName,
) -> Option<TrafficPolicy> {
    let ClusterName::Outbound { port, subset, host } = name else { return None };
    let service = snapshot.known_service(class, host)?;
    let rule = destination::of(snapshot, class, service);
    governing(snapshot, rule.as_ref(), *port, subset.as_ref())
}

fn governing(
    snapshot: &Snapshot,
    rule: Option<&Destination>,
    port: PortNumber,
    subset: Option<&SubsetName>,
) -> Option<TrafficPolicy> {
    let chosen = match subset {
        Some(subset) => Some(rule?.subset(subset.as_str())?),
        None => None,
    };
    let policy = rule.map(|rule| rule.policy(port, chosen)).unwrap_or_default();
    Some(pool::completed(snapshot, policy))
}

struct Target<'a> {
    snapshot: &'a Snapshot,
    class: &'a Class,
    service: &'a Service,
    port: &'a Port,
    name: &'a ClusterName,
    rule: Option<&'a Destination>,
    /// Whether requests go to the endpoints as HTTP/2.
    is_http2: bool,
}

impl Target<'_> {
    fn cluster(&self, policy: &TrafficPolicy, pool: &ConnectionPoolSettings) -> Inputs {
        let mut notes = Notes::default();
        let name = self.name.to_string();
        let mut cluster = frame(self.snapshot, &name, pool, policy.retry_budget.as_ref());
        if has_endpoints(self.service, self.class) {
            cluster["type"] = "EDS".into();
            cluster["eds_cluster_config"] = json!({ "eds_config": ads(), "service_name": name });
            cluster["lb_policy"] = "LEAST_REQUEST".into();
            notes.refer(TypeUrl::Endpoint, &name);
            self.balance(&mut cluster, policy.load_balancer.as_ref(), &mut notes);
        } else if self.service.is_resolved_by_clients() {
            self.resolve(&mut cluster, &mut notes);
            self.balance(&mut cluster, policy.load_balancer.as_ref(), &mut notes);
        } else {
            cluster["type"] = "ORIGINAL_DST".into();
            cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
        }
        if let Some(outlier) = &policy.outlier_detection {
            cluster["outlier_detection"] = pool::ejection(outlier);
        }
        cluster["common_lb_config"] = pool::panic_threshold(policy.outlier_detection.as_ref());
        let options = options(self.port.protocol, self.is_http2, pool);
        set(&mut cluster, "typed_extension_protocol_options", options);
        self.secure(&mut cluster, policy.tls.as_ref(), &mut notes);
        notes.diagnostics.extend(self.service.flaws.iter().cloned());
        for rule in self.rule.into_iter().flat_map(|rule| &rule.rules) {
            unused::destination_rule(rule, &mut notes);
        }
        let mode = policy.tls.as_ref().and_then(|tls| tls.mode);
        cluster["metadata"] =
            self.metadata(matches!(mode, Some(ClientTlsMode::Simple | ClientTlsMode::Mutual)));
        notes.finish(TypeUrl::Cluster, &name, cluster)
    }

    /// Endpoints by names that the proxy asks DNS for.
    fn resolve(&self, cluster: &mut Value, notes: &mut Notes) {
        let subset = self.name.subset();
        let subset = subset.and_then(|name| self.rule?.subset(name.as_str()));
        let chosen = Chosen {
            service: self.service,
            port: self.port,
            labels: subset.map(|subset| &subset.labels),
        };
        let mut assignment =
            endpoint::assignment(self.snapshot, &self.name.to_string(), chosen, notes);
        cluster["type"] = "STRICT_DNS".into();
        cluster["lb_policy"] = "LEAST_REQUEST".into();
        if self.service.resolution == Resolution::DnsRoundRobin {
            let first = assignment["endpoints"].get_mut(0).map(Value::take);
            // It has exactly one endpoint, or is none of its kind.
            cluster["type"] = if first.is_some() { "LOGICAL_DNS" } else { "STATIC" }.into();
            if let Some(mut first) = first {
                let one = first["lb_endpoints"].get_mut(0).map(Value::take);
                first["lb_endpoints"] = one.into_iter().collect();
                assignment["endpoints"] = json!([first]);
            }
        }
        cluster["load_assignment"] = assignment;
        cluster["dns_refresh_rate"] = self.snapshot.mesh.dns_refresh_rate.to_string().into();
        cluster["respect_dns_ttl"] = true.into();
        cluster["dns_lookup_family"] = "V4_PREFERRED".into();
    }

    fn metadata(&self, is_foreign: bool) -> Value {
        let Service { host, name, namespace, .. } = self.service;
        let mut istio = json!({
            "services": [{ "host": host.as_str(), "name": name, "namespace": namespace }],
        });
        if let Some(rule) = self.rule {
            istio["config"] = config_path(&rule.rule, "destination-rule").into();
        }
        if is_foreign {
            // Servers that are not of the mesh do not know its protocols.
            istio["alpn_override"] = "false".into();
        }
        if self.service.is_external {
            istio["external"] = true.into();
            istio["disable_mx"] = true.into();
        }
        if let Some(subset) = self.name.subset() {
            istio["subset"] = subset.as_str().into();
        }
        json!({ "filter_metadata": { "istio": istio } })
    }

    fn balance(&self, cluster: &mut Value, lb: Option<&LoadBalancerSettings>, notes: &mut Notes) {
        let Some(lb) = lb else { return };
        if let Some(hash) = &lb.consistent_hash {
            let (policy, field, settings) = pool::ring(hash);
            cluster["lb_policy"] = policy.into();
            cluster[field] = settings;
            return;
        }
        match lb.simple.unwrap_or_default() {
            SimpleLb::Random => cluster["lb_policy"] = "RANDOM".into(),
            SimpleLb::RoundRobin => {
                cluster["lb_policy"] = "ROUND_ROBIN".into();
                set(cluster, "round_robin_lb_config", json!(pool::warmup(lb)));
            }
            SimpleLb::Passthrough => {
                cluster["type"] = "ORIGINAL_DST".into();
                cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
                if let Some(fields) = cluster.as_object_mut() {
                    fields.remove("eds_cluster_config");
                    fields.remove("load_assignment");
                }
                notes.references.clear();
            }
            SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest => {
                set(cluster, "least_request_lb_config", json!(pool::warmup(lb)));
            }
        }
    }

    /// Mutual TLS towards endpoints that have a proxy, unless the rule says otherwise.
    fn secure(&self, cluster: &mut Value, tls: Option<&ClientTlsSettings>, notes: &mut Notes) {
        let mode = tls.map(|tls| tls.mode.unwrap_or_default());
        match mode {
            None if !self.snapshot.mesh.enable_auto_mtls || self.service.is_external => {}
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
                if let Some(tls) = tls {
                    self.originate(cluster, tls, notes);
                }
            }
            Some(ClientTlsMode::Disable) => {}
        }
    }

    /// TLS that the endpoints end themselves. What cannot be done ends connections, rather than
    /// letting them go on in clear.
    fn originate(&self, cluster: &mut Value, tls: &ClientTlsSettings, notes: &mut Notes) {
        let alpn: &[&str] = if self.is_http2 { &["h2"] } else { &[] };
        let own = &self.service.subject_alt_names;
        let mut tls = tls.clone();
        if tls.subject_alt_names.is_empty() {
            tls.subject_alt_names.clone_from(own);
        }
        match tls::originated(&tls, &self.service.host, alpn) {
            Ok(socket) => cluster["transport_socket"] = socket,
            Err((field, reason)) => {
                if let Some(rule) = self.rule {
                    let field = format!("spec.trafficPolicy.tls.{field}");
                    let reason = format!("{reason}; connections to the service fail");
                    notes.complain(&rule.rule, &field, reason);
                }
                cluster["type"] = "STATIC".into();
                cluster["lb_policy"] = "ROUND_ROBIN".into();
                if let Some(fields) = cluster.as_object_mut() {
                    for field in ["eds_cluster_config", "ring_hash_lb_config", "maglev_lb_config"] {
                        fields.remove(field);
                    }
                    fields.remove("load_assignment");
                    fields.remove("least_request_lb_config");
                }
                notes.references.clear();
            }
        }
    }

    /// Whether there are endpoints of the port, and all of them end mutual TLS.
    fn all_accept_mutual(&self) -> bool {
        let endpoints = self.snapshot.endpoints_of(self.service).iter();
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
            Dialect::Istio if self.is_http2 => &["istio", "h2"],
            Dialect::Istio => &["istio"],
            Dialect::Upstream if self.is_http2 => &["istio-h2", "istio", "h2"],
            Dialect::Upstream if protocol.is_http() => &["istio-http/1.1", "istio", "http/1.1"],
            Dialect::Upstream => &["istio"],
        }
    }

    /// The identities of the service's workloads, under every name of the trust domain.
    fn identities(&self) -> Vec<String> {
        let mesh = &self.snapshot.mesh;
        let mut all: BTreeSet<String> = self.service.subject_alt_names.iter().cloned().collect();
        let workloads = self.snapshot.endpoints_of(self.service).iter();
        let workloads = workloads.filter_map(|endpoint| endpoint.workload.as_ref());
        for workload in workloads.filter(|workload| !workload.service_account.is_empty()) {
            for domain in std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases) {
                let (place, account) = (&workload.namespace, &workload.service_account);
                all.insert(format!("spiffe://{domain}/ns/{place}/sa/{account}"));
            }
        }
        all.into_iter().collect()
    }
}

/// The cluster of the application behind an inbound port.
fn inbound(snapshot: &Snapshot, class: &Class, inbound: &Inbound) -> Inputs {
    let name = ClusterName::Inbound { port: inbound.target }.to_string();
    let scope = class.scope.as_ref();
    let pool = scope.and_then(|scope| scope.inbound_pool(inbound.target)).cloned();
    let pool = pool.unwrap_or_default();
    let mut cluster = frame(snapshot, &name, &pool, None);
    let port = inbound.target.get();
    let is_local = snapshot.mesh.inbound_traffic_policy.mode == InboundTrafficMode::Localhost;
    let at = match &inbound.application {
        Application::Same if is_local => Some(socket("127.0.0.1", port)),
        Application::Same | Application::Pod(_) => None,
        Application::Local(address) => Some(socket(address.ip(), address.port())),
        Application::Unix(path) => Some(json!({ "pipe": { "path": path } })),
    };
    if let Some(address) = at {
        cluster["type"] = "STATIC".into();
        cluster["load_assignment"] = local(&name, &address);
    } else {
        cluster["type"] = "ORIGINAL_DST".into();
        cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
        // Capture leaves connections from this address alone.
        cluster["upstream_bind_config"] = inbound_source();
        if let Application::Pod(port) = inbound.application {
            let config = json!({ "upstream_port_override": port.get() });
            cluster["original_dst_lb_config"] = config;
        }
    }
    let options = options(inbound.protocol, inbound.protocol.is_http2(), &pool);
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

fn local(name: &str, address: &Value) -> Value {
    json!({
        "cluster_name": name,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
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
        frame(snapshot, name, &ConnectionPoolSettings::default(), None)["circuit_breakers"].clone();
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
