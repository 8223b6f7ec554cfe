//! `/clusters`: each cluster with its circuit breakers, and its endpoints with their health.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use mesh_api::admin::{
    ClusterStatus, Clusters, EnvoyAddress, EnvoyLocality, HostHealth, HostStatus, Pipe,
    SimpleMetric, SocketAddress,
};
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use proxy_model::cluster::{Cluster, Discovery, Thresholds};
use proxy_model::endpoint::{Endpoint, EndpointAddress, Health};
use proxy_model::snapshot::Snapshot;
use serde_json::{Value, json};

use super::{Pages, pretty, wants_json};
use crate::upstream::shared::{ClusterShared, HostAddress, HostShared};

/// The page.
pub(super) fn page(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let all = all(pages);
    if wants_json(request) {
        let statuses = all.iter().map(Row::status).collect();
        return pretty(&Clusters { cluster_statuses: statuses });
    }
    let mut page = String::new();
    for row in &all {
        // Writing to a string does not fail.
        let _infallible = row.write(&mut page);
    }
    text(StatusCode::OK, page)
}

/// A cluster in force.
struct Row {
    cluster: Arc<Cluster>,
    hosts: Vec<Host>,
    now: u64,
}

/// An endpoint: as pilot gave it, as it was used, or both.
struct Host {
    address: HostOrName,
    endpoint: Option<Arc<Endpoint>>,
    shared: Option<Arc<HostShared>>,
}

enum HostOrName {
    Host(HostAddress),
    Name(Arc<str>, u16),
}

impl std::fmt::Display for HostOrName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

fn all(pages: &Pages) -> Vec<Row> {
    let snapshot = pages.world.load();
    let used: std::collections::HashMap<_, _> = pages.upstreams.all().into_iter().collect();
    let own = |(name, cluster): (&Arc<str>, &Arc<Cluster>)| {
        (**name == *cluster.name).then(|| Arc::clone(cluster))
    };
    let mut clusters: Vec<_> = snapshot.clusters.held.iter().filter_map(own).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let now = pages.upstreams.now();
    clusters
        .into_iter()
        .map(|cluster| {
            let hosts = hosts(&snapshot, &cluster, used.get(&cluster.name));
            Row { cluster, hosts, now }
        })
        .collect()
}

/// The endpoints pilot gave, and those that were resolved or asked for by address.
fn hosts(snapshot: &Snapshot, cluster: &Cluster, used: Option<&Arc<ClusterShared>>) -> Vec<Host> {
    let mut rest = used.map(|used| used.hosts()).unwrap_or_default();
    let mut hosts = Vec::new();
    if let Some(set) = snapshot.cluster_endpoints(cluster).found() {
        for endpoint in set.endpoints() {
            let address = match &endpoint.address {
                EndpointAddress::Socket(at) => HostOrName::Host(HostAddress::Socket(*at)),
                EndpointAddress::Pipe(path) => HostOrName::Host(HostAddress::Pipe(path.clone())),
                EndpointAddress::Host { name, port } => HostOrName::Name(Arc::clone(name), *port),
            };
            let shared = match &address {
                HostOrName::Host(address) => {
                    let place = rest.iter().position(|(at, _)| at == address);
                    place.map(|place| rest.swap_remove(place).1)
                }
                HostOrName::Name(..) => None,
            };
            hosts.push(Host { address, endpoint: Some(Arc::clone(endpoint)), shared });
        }
    }
    rest.sort_by_key(|(at, _)| at.to_string());
    hosts.extend(rest.into_iter().map(|(at, shared)| Host {
        address: HostOrName::Host(at),
        endpoint: None,
        shared: Some(shared),
    }));
    hosts
}

impl Row {
    fn eds_name(&self) -> &str {
        match &self.cluster.discovery {
            Discovery::Eds { service_name } => service_name,
            _ => "",
        }
    }

    fn observability_name(&self) -> &str {
        self.cluster.alt_stat_name.as_deref().unwrap_or(&self.cluster.name)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let name = &self.cluster.name;
        writeln!(out, "{name}::observability_name::{}", self.observability_name())?;
        let circuit = &self.cluster.circuit;
        for (priority, limits) in [("default", &circuit.default), ("high", &circuit.high)] {
            for (field, limit) in fields(limits) {
                writeln!(out, "{name}::{priority}_priority::{field}::{limit}")?;
            }
        }
        writeln!(out, "{name}::added_via_api::true")?;
        if !self.eds_name().is_empty() {
            writeln!(out, "{name}::eds_service_name::{}", self.eds_name())?;
        }
        for host in &self.hosts {
            let at = &host.address;
            for (field, _, value) in host.stats() {
                writeln!(out, "{name}::{at}::{field}::{value}")?;
            }
            let endpoint = host.endpoint.as_deref();
            let hostname = endpoint.and_then(|endpoint| endpoint.hostname.as_deref());
            let locality = endpoint.map(|e| Arc::clone(&e.locality)).unwrap_or_default();
            for (field, value) in [
                ("hostname", hostname.unwrap_or_default()),
                ("health_flags", host.health_flags(self.now)),
                ("weight", &endpoint.map_or(1, |endpoint| endpoint.weight).to_string()),
                ("region", &locality.region),
                ("zone", &locality.zone),
                ("sub_zone", &locality.sub_zone),
                ("canary", "false"),
                ("priority", &endpoint.map_or(0, |endpoint| endpoint.priority).to_string()),
                ("success_rate", "-1"),
                ("local_origin_success_rate", "-1"),
            ] {
                writeln!(out, "{name}::{at}::{field}::{value}")?;
            }
        }
        Ok(())
    }

    fn status(&self) -> ClusterStatus {
        ClusterStatus {
            name: self.cluster.name.to_string(),
            added_via_api: true,
            host_statuses: self.hosts.iter().map(|host| host.status(self.now)).collect(),
            circuit_breakers: Some(json!({ "thresholds": [
                thresholds("DEFAULT", &self.cluster.circuit.default),
                thresholds("HIGH", &self.cluster.circuit.high),
            ]})),
            observability_name: self.observability_name().to_owned(),
            eds_service_name: self.eds_name().to_owned(),
        }
    }
}

fn fields(limits: &Thresholds) -> [(&'static str, u32); 4] {
    [
        ("max_connections", limits.max_connections),
        ("max_pending_requests", limits.max_pending_requests),
        ("max_requests", limits.max_requests),
        ("max_retries", limits.max_retries),
    ]
}

fn thresholds(priority: &str, limits: &Thresholds) -> Value {
    let mut all = json!({ "priority": priority });
    for (field, limit) in fields(limits) {
        all[field] = limit.into();
    }
    all
}

impl Host {
    /// Envoy's counters and gauges of a host, in its order.
    fn stats(&self) -> [(&'static str, &'static str, u64); 9] {
        let shared = self.shared.as_deref();
        let long = |read: fn(&HostShared) -> u64| shared.map_or(0, read);
        let total = long(|host| host.total.load(Ordering::Relaxed));
        let active = long(|host| host.active.load(Ordering::Relaxed).into());
        let errors = long(|host| host.errors.load(Ordering::Relaxed));
        [
            ("cx_active", "GAUGE", long(|host| host.connections.load(Ordering::Relaxed).into())),
            (
                "cx_connect_fail",
                "COUNTER",
                long(|host| host.connect_failed.load(Ordering::Relaxed)),
            ),
            ("cx_total", "COUNTER", long(|host| host.connected.load(Ordering::Relaxed))),
            ("rq_active", "GAUGE", active),
            ("rq_error", "COUNTER", errors),
            ("rq_success", "COUNTER", total.saturating_sub(active).saturating_sub(errors)),
            ("rq_timeout", "COUNTER", long(|host| host.timeouts.load(Ordering::Relaxed))),
            ("rq_total", "COUNTER", total),
            ("ejections", "COUNTER", long(|host| host.ejections.load(Ordering::Relaxed).into())),
        ]
    }

    fn is_ejected(&self, now: u64) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_ejected(now))
    }

    fn health(&self) -> Health {
        self.endpoint.as_ref().map(|endpoint| endpoint.health).unwrap_or_default()
    }

    fn health_flags(&self, now: u64) -> &'static str {
        match (self.is_ejected(now), self.health()) {
            (true, Health::Unhealthy | Health::Draining) => {
                "/failed_outlier_check/failed_eds_health"
            }
            (true, _) => "/failed_outlier_check",
            (false, Health::Unhealthy | Health::Draining) => "/failed_eds_health",
            (false, Health::Degraded) => "/degraded_eds_health",
            (false, Health::Unknown | Health::Healthy) => "healthy",
        }
    }

    fn status(&self, now: u64) -> HostStatus {
        let stats = self.stats().into_iter().filter(|(name, ..)| *name != "ejections");
        let metric = |(name, kind, value): (&str, &str, u64)| SimpleMetric {
            name: name.to_owned(),
            // Protobuf JSON leaves zero and the first kind, a counter, out.
            value: (value > 0).then(|| value.to_string()),
            kind: (kind == "GAUGE").then(|| kind.to_owned()),
        };
        let endpoint = self.endpoint.as_deref();
        let locality = endpoint.map(|endpoint| EnvoyLocality {
            region: endpoint.locality.region.to_string(),
            zone: endpoint.locality.zone.to_string(),
            sub_zone: endpoint.locality.sub_zone.to_string(),
        });
        let eds = match self.health() {
            Health::Unknown | Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
            Health::Draining => "DRAINING",
            Health::Degraded => "DEGRADED",
        };
        HostStatus {
            address: address(&self.address),
            stats: stats.map(metric).collect(),
            health_status: HostHealth {
                eds_health_status: Some(eds.to_owned()),
                failed_active_health_check: false,
                failed_outlier_check: self.is_ejected(now),
            },
            hostname: endpoint.and_then(|e| e.hostname.as_deref()).unwrap_or_default().to_owned(),
            weight: Some(endpoint.map_or(1, |endpoint| endpoint.weight)),
            priority: endpoint.map_or(0, |endpoint| endpoint.priority),
            locality: locality.filter(|locality| *locality != EnvoyLocality::default()),
        }
    }
}

fn address(at: &HostOrName) -> EnvoyAddress {
    let socket = |address: String, port_value| EnvoyAddress {
        socket_address: Some(SocketAddress { address, port_value }),
        pipe: None,
    };
    match at {
        HostOrName::Host(HostAddress::Socket(at)) => socket(at.ip().to_string(), at.port()),
        HostOrName::Host(HostAddress::Pipe(path)) => EnvoyAddress {
            socket_address: None,
            pipe: Some(Pipe { path: path.display().to_string() }),
        },
        HostOrName::Name(name, port) => socket(name.to_string(), *port),
    }
}
