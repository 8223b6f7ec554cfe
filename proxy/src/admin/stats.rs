//! `/stats`: counters and gauges by Envoy's names, as text, JSON and for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use mesh_api::admin::ServerState;
use mesh_api::mesh_config::ProxyStatsMatcher;
use mesh_api::type_url::TypeUrl;
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::build_info;
use mesh_rt::http_server::{reply, text};
use mesh_rt::metrics::PROMETHEUS_TEXT;
use proxy_model::cluster::Cluster;
use proxy_model::snapshot::Snapshot;
use regex::Regex;
use serde_json::json;

use super::{Pages, pretty};
use crate::observe::traffic::Traffic;
use crate::upstream::counters::Codes;
use crate::upstream::shared::ClusterShared;

/// Bytes of an expression at most.
const MAX_ARGUMENT: usize = 4096;
/// Names that Istio keeps for Prometheus when nothing else is asked for.
const KEPT_PREFIXES: [&str; 8] = [
    "cluster_manager",
    "listener_manager",
    "server",
    "control_plane",
    "cluster.xds-grpc",
    "filesystem",
    "wasm",
    "component",
];
/// The same, by their end.
const KEPT_SUFFIXES: [&str; 5] =
    ["rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied", "downstream_cx_active"];

/// What kind a statistic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// A statistic.
#[derive(Clone, Debug)]
struct Stat {
    /// Its whole name, as `/stats` shows it.
    name: String,
    /// Its name without what became labels.
    family: String,
    labels: Vec<(&'static str, String)>,
    kind: Kind,
    value: u64,
}

/// `/stats`.
pub(super) fn page(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let format = request.query_value("format").unwrap_or_default();
    if format == "prometheus" {
        return prometheus_page(pages, request);
    }
    let filter = request.query_value("filter").filter(|filter| !filter.is_empty());
    if filter.as_ref().is_some_and(|filter| filter.len() > MAX_ARGUMENT) {
        let words = format!("filter has more than {MAX_ARGUMENT} bytes\n");
        return text(StatusCode::BAD_REQUEST, words);
    }
    let filter = match filter.map(|filter| Regex::new(&filter)).transpose() {
        Ok(filter) => filter,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("filter: {error}\n")),
    };
    let kind = match request.query_value("type").as_deref() {
        None | Some("" | "All") => None,
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        Some(other) => {
            let words = format!("type {other:?} is none of Counters, Gauges, All\n");
            return text(StatusCode::BAD_REQUEST, words);
        }
    };
    let used = request.query_value("usedonly").is_some();
    let mut stats = envoys(pages);
    stats.extend(istios(pages));
    stats.retain(|stat| {
        filter.as_ref().is_none_or(|filter| filter.is_match(&stat.name))
            && kind.is_none_or(|kind| stat.kind == kind)
            && (!used || stat.value != 0)
    });
    stats.sort_by(|a, b| a.name.cmp(&b.name));
    if format == "json" {
        let row = |stat: &Stat| json!({ "name": stat.name, "value": stat.value });
        return pretty(&json!({ "stats": stats.iter().map(row).collect::<Vec<_>>() }));
    }
    let mut page = String::new();
    for stat in stats {
        // Writing to a string does not fail.
        let _infallible = writeln!(page, "{}: {}", stat.name, stat.value);
    }
    text(StatusCode::OK, page)
}

/// `/stats/prometheus`.
pub(super) fn prometheus_page(pages: &Pages, _: &AdminRequest) -> AdminReply {
    reply(StatusCode::OK, PROMETHEUS_TEXT, prometheus(pages))
}

/// Everything for Prometheus: Istio's metrics, the process's, and those of Envoy's that are kept.
pub fn prometheus(pages: &Pages) -> String {
    let mut out = pages.process.metrics.encode();
    // The mark of OpenMetrics' end would be in the middle.
    out.truncate(out.trim_end().strip_suffix("# EOF").map_or(out.len(), str::len));
    let kept = Kept::new(pages.bootstrap.stats.inclusion.as_ref());
    let mut families: BTreeMap<String, Vec<Stat>> = BTreeMap::new();
    for stat in envoys(pages).into_iter().filter(|stat| kept.keeps(&stat.name)) {
        let family: String = stat.family.chars().map(in_name).collect();
        families.entry(format!("envoy_{family}")).or_default().push(stat);
    }
    for (family, stats) in families {
        let kind = match stats.first().map(|stat| stat.kind) {
            Some(Kind::Gauge) => "gauge",
            _ => "counter",
        };
        // Writing to a string does not fail.
        let _infallible = writeln!(out, "# TYPE {family} {kind}");
        for stat in stats {
            let _infallible = writeln!(out, "{family}{{{}}} {}", labels(&stat.labels), stat.value);
        }
    }
    let tag = build_info::VERSION;
    let build = [("component", "proxy".to_owned()), ("tag", tag.to_owned())];
    let _infallible =
        writeln!(out, "# TYPE istio_build gauge\nistio_build{{{}}} 1", labels(&build));
    out
}

fn in_name(letter: char) -> char {
    if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' }
}

fn labels(labels: &[(&'static str, String)]) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pair = |(name, value): &(&str, String)| format!("{name}=\"{}\"", escaped(value));
    labels.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// Which of Envoy's statistics Prometheus gets.
struct Kept<'a> {
    more: Option<&'a ProxyStatsMatcher>,
    expressions: Vec<Regex>,
}

impl<'a> Kept<'a> {
    fn new(more: Option<&'a ProxyStatsMatcher>) -> Self {
        let all = more.into_iter().flat_map(|more| &more.inclusion_regexps);
        // An expression that is none matches nothing.
        let expressions = all.filter_map(|text| Regex::new(&format!("^(?:{text})$")).ok());
        Self { more, expressions: expressions.collect() }
    }

    fn keeps(&self, name: &str) -> bool {
        let prefix = |prefix: &str| name.starts_with(prefix);
        let suffix = |suffix: &str| name.ends_with(suffix);
        KEPT_PREFIXES.iter().any(|p| prefix(p))
            || KEPT_SUFFIXES.iter().any(|s| suffix(s))
            || self.more.is_some_and(|more| {
                more.inclusion_prefixes.iter().any(|p| prefix(p))
                    || more.inclusion_suffixes.iter().any(|s| suffix(s))
            })
            || self.expressions.iter().any(|expression| expression.is_match(name))
    }
}

/// Istio's counters, by the names an Envoy gives them.
fn istios(pages: &Pages) -> Vec<Stat> {
    let mut stats = Vec::new();
    pages.observed.standard.each_counter(|family, labels, value| {
        let mut name = format!("istiocustom.{family}");
        for (label, value) in &labels {
            // Writing to a string does not fail.
            let _infallible = write!(name, ".{label}.{value}");
        }
        stats.push(Stat { name, family: family.to_owned(), labels, kind: Kind::Counter, value });
    });
    stats
}

/// Collects statistics without labels of their own.
struct Collector(Vec<Stat>);

impl Collector {
    fn add(&mut self, kind: Kind, name: &str, value: u64) {
        let (name, family) = (name.to_owned(), name.to_owned());
        self.0.push(Stat { name, family, labels: Vec::new(), kind, value });
    }

    fn counter(&mut self, name: &str, value: u64) {
        self.add(Kind::Counter, name, value);
    }

    fn gauge(&mut self, name: &str, value: u64) {
        self.add(Kind::Gauge, name, value);
    }

    /// A statistic of a cluster or manager, whose name becomes a label.
    fn of(&mut self, place: Place<'_>, stat: Named<'_>) {
        let Place { group, label, of, shown } = place;
        let Named { name, family, label: more, kind, value } = stat;
        let mut labels = vec![(label, of.to_owned())];
        labels.extend(more);
        let (name, family) = (format!("{group}.{shown}.{name}"), format!("{group}.{family}"));
        self.0.push(Stat { name, family, labels, kind, value });
    }
}

/// What a statistic is of.
#[derive(Clone, Copy)]
struct Place<'a> {
    group: &'a str,
    label: &'static str,
    /// Its name.
    of: &'a str,
    /// Its name within those of statistics.
    shown: &'a str,
}

impl<'a> Place<'a> {
    fn cluster(name: &'a str, shown: &'a str) -> Self {
        Self { group: "cluster", label: "cluster_name", of: name, shown }
    }

    fn manager(prefix: &'a str) -> Self {
        let of = prefix.trim_end_matches(';');
        Self { group: "http", label: "http_conn_manager_prefix", of, shown: prefix }
    }
}

/// A statistic of a cluster or manager.
struct Named<'a> {
    name: &'a str,
    family: &'a str,
    label: Option<(&'static str, String)>,
    kind: Kind,
    value: u64,
}

fn plain(kind: Kind, name: &str, value: u64) -> Named<'_> {
    Named { name, family: name, label: None, kind, value }
}

fn envoys(pages: &Pages) -> Vec<Stat> {
    let mut all = Collector(Vec::new());
    let snapshot = pages.world.load();
    server(pages, &mut all);
    managers(pages, &snapshot, &mut all);
    let (opened, failed) = pages.world.sync.streams();
    let connected = u64::from(pages.world.sync.is_connected());
    all.gauge("control_plane.connected_state", connected);
    let xds = Place::cluster("xds-grpc", "xds-grpc");
    all.of(xds, plain(Kind::Gauge, "upstream_cx_active", connected));
    all.of(xds, plain(Kind::Counter, "upstream_cx_total", opened));
    all.of(xds, plain(Kind::Counter, "upstream_cx_connect_fail", failed));
    let logs = &pages.observed.logs;
    all.counter("filesystem.write_completed", logs.written());
    all.counter("filesystem.write_failed", logs.lost());
    clusters(pages, &snapshot, &mut all);
    for (prefix, traffic) in pages.observed.traffic.managers() {
        let place = Place::manager(&prefix);
        let total = traffic.total.load(Ordering::Relaxed);
        all.of(place, plain(Kind::Counter, "downstream_rq_total", total));
        all.of(place, plain(Kind::Counter, "downstream_rq_completed", total));
        codes(&traffic.codes, "downstream", place, &mut all);
        bytes(&traffic, "downstream", place, &mut all);
        for (name, counter) in [
            ("fault.delays_injected", &traffic.delays_injected),
            ("fault.aborts_injected", &traffic.aborts_injected),
        ] {
            all.of(place, plain(Kind::Counter, name, counter.load(Ordering::Relaxed)));
        }
    }
    all.0
}

fn server(pages: &Pages, all: &mut Collector) {
    let state = super::server::state(pages);
    all.gauge("server.live", u64::from(state == ServerState::Live));
    all.gauge(
        "server.state",
        match state {
            ServerState::Live => 0,
            ServerState::Draining => 1,
            ServerState::PreInitializing => 2,
            ServerState::Initializing => 3,
        },
    );
    all.gauge("server.uptime", pages.0.started.elapsed().as_secs());
    all.gauge("server.concurrency", pages.workers as u64);
    all.gauge("server.total_connections", (pages.connections)() as u64);
    if let Some(certificate) = pages.live.current() {
        let left = certificate.not_after().duration_since((pages.now)()).unwrap_or_default();
        all.gauge("server.days_until_first_cert_expiring", left.as_secs() / (24 * 3600));
        all.gauge("server.seconds_until_first_cert_expiring", left.as_secs());
    }
}

fn managers(pages: &Pages, snapshot: &Snapshot, all: &mut Collector) {
    let held = pages.world.held();
    for (manager, what, discovery, type_url) in [
        ("cluster_manager", "clusters", "cds", TypeUrl::Cluster),
        ("listener_manager", "listeners", "lds", TypeUrl::Listener),
    ] {
        let resources = held.of_type(&type_url);
        let warming = resources.iter().filter(|resource| resource.warming).count();
        let active = (resources.len() - warming) as u64;
        let names = match what {
            "clusters" => ["active_clusters", "warming_clusters"],
            _ => ["total_listeners_active", "total_listeners_warming"],
        };
        all.gauge(&format!("{manager}.{}", names[0]), active);
        all.gauge(&format!("{manager}.{}", names[1]), warming as u64);
        let (accepted, rejected) = pages.world.sync.updates(&type_url);
        all.counter(&format!("{manager}.{discovery}.update_attempt"), accepted + rejected);
        all.counter(&format!("{manager}.{discovery}.update_success"), accepted);
        all.counter(&format!("{manager}.{discovery}.update_rejected"), rejected);
    }
    all.gauge("listener_manager.workers_started", u64::from(snapshot.generation > 0));
}

fn clusters(pages: &Pages, snapshot: &Snapshot, all: &mut Collector) {
    let used: BTreeMap<_, _> = pages.upstreams.all().into_iter().collect();
    let now = pages.upstreams.now();
    let mut held: Vec<_> = snapshot.clusters.held.iter().collect();
    held.sort_by_key(|(name, _)| Arc::clone(name));
    for (name, cluster) in held.into_iter().filter(|(name, held)| ***name == *held.name) {
        let place = Place::cluster(name, cluster.alt_stat_name.as_deref().unwrap_or(name));
        let used = used.get(name);
        if let Some(set) = snapshot.cluster_endpoints(cluster).found() {
            let aside = used.map_or(0, |used| ejected(used, now));
            let healthy = set.endpoints().filter(|endpoint| endpoint.health.is_healthy()).count();
            let healthy = (healthy as u64).saturating_sub(aside);
            all.of(place, plain(Kind::Gauge, "membership_healthy", healthy));
            let total = set.endpoints().count() as u64;
            all.of(place, plain(Kind::Gauge, "membership_total", total));
        }
        if let Some(used) = used {
            shared(used, now, place, all);
            breakers(used, cluster, place, all);
        }
    }
    for (name, traffic) in pages.observed.traffic.clusters() {
        let known = snapshot.clusters.held.get(&name);
        let shown = known.and_then(|cluster| cluster.alt_stat_name.as_deref()).unwrap_or(&name);
        bytes(&traffic, "upstream", Place::cluster(&name, shown), all);
    }
}

fn ejected(used: &ClusterShared, now: u64) -> u64 {
    used.hosts().iter().filter(|(_, host)| host.is_ejected(now)).count() as u64
}

/// What workers share of a cluster.
fn shared(used: &ClusterShared, now: u64, place: Place<'_>, all: &mut Collector) {
    let gauge = |counter: &std::sync::atomic::AtomicU32| u64::from(counter.load(Ordering::Relaxed));
    for (name, value) in [
        ("upstream_cx_active", gauge(&used.connections)),
        ("upstream_rq_active", gauge(&used.requests)),
        ("upstream_rq_pending_active", gauge(&used.pending)),
        ("outlier_detection.ejections_active", ejected(used, now)),
    ] {
        all.of(place, plain(Kind::Gauge, name, value));
    }
    for (name, value) in used.counters.all() {
        all.of(place, plain(Kind::Counter, name, value));
    }
    codes(&used.counters.codes, "upstream", place, all);
    codes(&used.counters.retried_codes, "retry.upstream", place, all);
}

/// Whether limits of a cluster are reached, and what is left of them.
fn breakers(used: &ClusterShared, cluster: &Cluster, place: Place<'_>, all: &mut Collector) {
    let gauge = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
    let circuit = &cluster.circuit;
    for (priority, limits) in [("default", &circuit.default), ("high", &circuit.high)] {
        for (open, left, limit, taken) in [
            ("cx_open", "remaining_cx", limits.max_connections, gauge(&used.connections)),
            (
                "rq_pending_open",
                "remaining_pending",
                limits.max_pending_requests,
                gauge(&used.pending),
            ),
            ("rq_open", "remaining_rq", limits.max_requests, gauge(&used.requests)),
            ("rq_retry_open", "remaining_retries", limits.max_retries, gauge(&used.retries)),
        ] {
            let name = format!("circuit_breakers.{priority}.{open}");
            all.of(place, plain(Kind::Gauge, &name, u64::from(taken >= limit)));
            let name = format!("circuit_breakers.{priority}.{left}");
            all.of(place, plain(Kind::Gauge, &name, limit.saturating_sub(taken).into()));
        }
    }
}

/// Answers by status.
fn codes(codes: &Codes, side: &str, place: Place<'_>, all: &mut Collector) {
    let mut classes = BTreeMap::<u16, u64>::new();
    for (code, count) in codes.seen() {
        *classes.entry(code / 100).or_default() += count;
        all.of(
            place,
            Named {
                name: &format!("{side}_rq_{code}"),
                family: &format!("{side}_rq"),
                label: Some(("response_code", code.to_string())),
                kind: Kind::Counter,
                value: count,
            },
        );
    }
    for (class, count) in classes {
        all.of(
            place,
            Named {
                name: &format!("{side}_rq_{class}xx"),
                family: &format!("{side}_rq_xx"),
                label: Some(("response_code_class", class.to_string())),
                kind: Kind::Counter,
                value: count,
            },
        );
    }
}

fn bytes(traffic: &Traffic, side: &str, place: Place<'_>, all: &mut Collector) {
    for (way, counter) in [("rx", &traffic.received), ("tx", &traffic.sent)] {
        let name = format!("{side}_cx_{way}_bytes_total");
        all.of(place, plain(Kind::Counter, &name, counter.load(Ordering::Relaxed)));
    }
}
