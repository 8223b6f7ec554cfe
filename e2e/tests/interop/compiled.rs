//! A proxy's whole configuration, compiled as our proxy compiles it.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::type_url::TypeUrl;
use pilot_model::class::Class;
use pilot_model::generate::Generator;
use pilot_model::proxy::Proxy;
use pilot_model::resource::{Answer, Resource};
use pilot_model::snapshot::Snapshot as World;
use proxy_model::cluster::UpstreamTransport;
use proxy_model::explain::{Outcome, Trail, explain, explain_listener};
use proxy_model::facts::{ConnFacts, DetectedTransport, RequestHead};
use proxy_model::listener::Listener;
use proxy_model::lookup::Lookup;
use proxy_model::snapshot::{OnDemand, Snapshot};
use proxy_model::stage::{Stage, Upsert};

const TYPES: [TypeUrl; 5] =
    [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route, TypeUrl::NameTable];

/// What a proxy holds.
pub(crate) struct Compiled {
    world: Arc<World>,
    generator: Generator,
    class: Arc<Class>,
    stage: Stage,
    snapshot: Arc<Snapshot>,
}

/// A request to explain.
pub(crate) struct Ask<'a> {
    pub(crate) to: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl Compiled {
    /// Everything there is for the proxy.
    ///
    /// # Panics
    /// If any of it is rejected or understood in part only, or pilot complains of an object.
    pub(crate) fn whole(world: &Arc<World>, proxy: &Proxy) -> Self {
        let all = Self::with_complaints(world, proxy);
        for type_url in TYPES {
            let complaints = all.generator.diagnostics(&all.world, &all.class, &type_url);
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
        all
    }

    /// Everything there is for the proxy, whatever pilot complains of.
    ///
    /// # Panics
    /// If any of it is rejected or understood in part only.
    pub(crate) fn with_complaints(world: &Arc<World>, proxy: &Proxy) -> Self {
        let mut all = Self::empty(world, proxy, None);
        for type_url in TYPES {
            let set = all.generator.wildcard(&all.world, &all.class, &type_url);
            all.apply(&type_url, set.iter().map(|resource| upsert(resource, Vec::new())), &[]);
        }
        all.snapshot = all.stage.publish(Duration::ZERO);
        all
    }

    /// Nothing yet: all is asked for by name.
    pub(crate) fn on_demand(world: &Arc<World>, proxy: &Proxy) -> Self {
        let on_demand = OnDemand::default();
        let mut all = Self::empty(world, proxy, Some(on_demand));
        for name in ["virtualOutbound", "virtualInbound"] {
            all.ask(&TypeUrl::Listener, name);
        }
        all.snapshot = all.stage.publish(Duration::ZERO);
        all
    }

    fn empty(world: &Arc<World>, proxy: &Proxy, on_demand: Option<OnDemand>) -> Self {
        let generator = Generator::new();
        let class = generator.class(world, proxy);
        let mut stage = Stage::default();
        stage.set_on_demand(on_demand);
        let snapshot = stage.publish(Duration::ZERO);
        Self { world: Arc::clone(world), generator, class, stage, snapshot }
    }

    fn apply(
        &mut self,
        type_url: &TypeUrl,
        upserts: impl Iterator<Item = Upsert>,
        removed: &[Arc<str>],
    ) {
        let applied = self.stage.apply(type_url, upserts.collect(), removed, Duration::ZERO);
        assert!(applied.rejected.is_empty(), "{type_url}: {:#?}", applied.rejected);
        for (name, warnings) in applied.accepted {
            assert!(warnings.is_empty(), "{type_url} {name}: {warnings:#?}");
        }
    }

    /// Asks for one name, and takes what the answer refers to with it.
    fn ask(&mut self, type_url: &TypeUrl, name: &str) {
        let answer = self.generator.named(&self.world, &self.class, type_url, name);
        let resource = match &answer {
            Answer::Resource(resource) => upsert(resource, Vec::new()),
            Answer::Alias { of } => upsert(of, vec![name.into()]),
            Answer::Absent => {
                self.apply(type_url, std::iter::empty(), &[name.into()]);
                return;
            }
        };
        let of = answer.resource().cloned().unwrap();
        let closure = self.generator.closure(&self.world, &self.class, &of);
        self.apply(type_url, std::iter::once(resource), &[]);
        for (kind, name) in closure {
            let answer = self.generator.named(&self.world, &self.class, &kind, &name);
            let found = answer.resource().map(|resource| upsert(resource, vec![name.clone()]));
            assert!(found.is_some(), "{kind} {name} is referred to and absent");
            self.apply(&kind, found.into_iter(), &[]);
        }
    }

    /// How many resources are held.
    pub(crate) fn len(&self) -> usize {
        Stage::TYPES.iter().map(|kind| self.stage.versions(kind).len()).sum()
    }

    /// Whether connections to endpoints of which nothing is known are mutual TLS.
    pub(crate) fn secures(&self, cluster: &str) -> bool {
        let Lookup::Found(cluster) = self.snapshot.cluster(cluster) else {
            panic!("there is no cluster {cluster}");
        };
        match &cluster.transports.default {
            UpstreamTransport::Tls(tls) => tls.certificate.is_some(),
            _ => false,
        }
    }

    /// Whether a connection to that inbound port is looked into, for TLS and for HTTP.
    pub(crate) fn inspects(&self, port: u16) -> (bool, bool) {
        let inspect = &self.inbound_listener().inspect;
        (inspect.tls.wants(port), inspect.http.wants(port))
    }

    fn inbound_listener(&self) -> &Listener {
        let mut listeners = self.snapshot.bound_listeners();
        listeners.find(|listener| &*listener.name == "virtualInbound").unwrap()
    }

    /// The way of a plaintext HTTP request that the application sends; what is not held is asked
    /// for, at most a few times.
    pub(crate) fn request(&mut self, ask: &Ask<'_>) -> Trail {
        let mut facts =
            ConnFacts::plain(ask.to.parse().unwrap(), "10.1.0.1:40000".parse().unwrap());
        facts.local = "127.0.0.1:15001".parse().unwrap();
        facts.application_protocols = vec!["http/1.1".into()];
        let mut headers = http::HeaderMap::new();
        for (name, value) in ask.headers {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: ask.authority,
            path: ask.path,
            headers: &headers,
            is_grpc: false,
        };
        self.follow(&facts, Some(&head))
    }

    /// The way of a connection without HTTP that the application opens.
    pub(crate) fn connection(&mut self, to: &str) -> Trail {
        let mut facts = ConnFacts::plain(to.parse().unwrap(), "10.1.0.1:40000".parse().unwrap());
        facts.local = "127.0.0.1:15001".parse().unwrap();
        self.follow(&facts, None)
    }

    /// The way of a TLS connection that the application opens, naming that server.
    pub(crate) fn hello(&mut self, to: &str, server_name: &str) -> Trail {
        let mut facts = ConnFacts::plain(to.parse().unwrap(), "10.1.0.1:40000".parse().unwrap());
        facts.local = "127.0.0.1:15001".parse().unwrap();
        facts.transport = DetectedTransport::Tls;
        facts.server_name = Some(server_name.into());
        self.follow(&facts, None)
    }

    fn follow(&mut self, facts: &ConnFacts, head: Option<&RequestHead<'_>>) -> Trail {
        for _ in 0..4 {
            let trail = explain(&self.snapshot, facts, head);
            let Outcome::Unknown { resource } = &trail.outcome else { return trail };
            let (kind, name) = resource.split_once(' ').unwrap();
            let kind = Stage::TYPES.into_iter().find(|known| known.short() == kind).unwrap();
            self.ask(&kind, name);
            self.snapshot = self.stage.publish(Duration::ZERO);
        }
        panic!("{facts:?} is not answered");
    }

    /// The filter chain that takes an inbound connection to the pod's port.
    pub(crate) fn inbound(&self, port: u16, transport: DetectedTransport, alpn: &[&str]) -> String {
        let address = self.world.workloads.values().next().unwrap().addresses[0];
        let mut facts = ConnFacts::plain((address, port).into(), "10.1.9.9:40000".parse().unwrap());
        facts.transport = transport;
        facts.application_protocols = alpn.iter().map(|name| (*name).into()).collect();
        let listener = self.inbound_listener();
        let headers = http::HeaderMap::new();
        let head = RequestHead {
            method: "GET",
            scheme: "http",
            authority: "a",
            path: "/",
            headers: &headers,
            is_grpc: false,
        };
        let trail = explain_listener(&self.snapshot, listener, &facts, Some(&head));
        if matches!(trail.outcome, Outcome::Refused { .. }) {
            return "refused".to_owned();
        }
        let what = |what: &str| trail.steps.iter().find(|step| step.what == what);
        let kind = if what("route table").is_some() { "http" } else { "tcp" };
        let transport = what("filter chain").map(|step| step.notes.join(" ")).unwrap_or_default();
        let secure = if transport.contains("required") { "mtls" } else { "plain" };
        let cluster = what("cluster").map(|step| step.name.clone()).unwrap_or_default();
        format!("{secure} {kind} {cluster}")
    }
}

fn upsert(resource: &Resource, aliases: Vec<Arc<str>>) -> Upsert {
    Upsert {
        name: Arc::clone(&resource.name),
        version: Arc::clone(&resource.version),
        aliases,
        body: resource.body.clone(),
    }
}

/// Where a way ends: `<share> <cluster> <endpoint>=<transport>…` per cluster, or the answer.
pub(crate) fn end(trail: &Trail) -> String {
    match &trail.outcome {
        Outcome::Forwarded { targets } => {
            let target = |target: &proxy_model::explain::Target| {
                let endpoints = target.endpoints.iter();
                let endpoints: Vec<String> = endpoints
                    .map(|(address, transport)| format!(" {address}={transport}"))
                    .collect();
                let problem = target.problem.as_ref();
                let problem = problem.map(|why| format!(": {why}")).unwrap_or_default();
                format!("{}% {}{}{problem}", target.percent, target.cluster, endpoints.concat())
            };
            targets.iter().map(target).collect::<Vec<_>>().join(", ")
        }
        Outcome::Answered { status, reason } => format!("{status} {reason}"),
        Outcome::Refused { reason } => format!("refused: {reason}"),
        other => format!("{other:?}"),
    }
}
