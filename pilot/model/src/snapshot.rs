//! The world at one moment, indexed the way configuration asks about it. Never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::crd::{
    DestinationRule, Gateway, Object, PeerAuthentication, ServiceEntry, VirtualService,
    WorkloadEntry,
};
use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;
use mesh_api::selector::{Labels, is_subset};

use crate::key::ResourceKey;
use crate::registry::kube::{Node, Slice, created};
use crate::registry::service_entry::{self, Entry};
use crate::registry::{
    Address, Endpoint, Export, Instance, Locality, Resolution, Service, Workload, vips,
};
use crate::scope::Scopes;
use crate::scope::imports::Cache;
use crate::store::{Held, Shard};

/// The world at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the snapshots of a store.
    pub generation: u64,
    /// The DNS domain of Kubernetes services.
    pub domain: Arc<str>,
    /// The mesh's settings.
    pub mesh: Arc<MeshConfig>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    /// Services by full name. Several namespaces may define one name: Kubernetes' own service
    /// comes first, then the oldest.
    pub services: BTreeMap<Hostname, Vec<Arc<Service>>>,
    /// Services by port, oldest first.
    pub by_port: BTreeMap<PortNumber, Vec<Arc<Service>>>,
    /// Services that are other names of a service, by that service's name.
    pub aliases: BTreeMap<Hostname, Vec<Arc<Service>>>,
    /// Endpoints of services by name and what defines the service, in the order of their
    /// addresses.
    pub endpoints: BTreeMap<Hostname, BTreeMap<ResourceKey, Arc<Vec<Endpoint>>>>,
    /// Pods by namespace and name.
    pub workloads: BTreeMap<(String, String), Arc<Workload>>,
    /// The addresses that nodes give to their pods.
    pub pod_cidrs: BTreeSet<IpNet>,
    /// Virtual services, oldest first.
    pub virtual_services: Vec<Arc<VirtualService>>,
    /// Destination rules, oldest first.
    pub destination_rules: Vec<Arc<DestinationRule>>,
    /// Gateways, oldest first.
    pub gateways: Vec<Arc<Gateway>>,
    /// Service entries, oldest first.
    pub service_entries: Vec<Arc<ServiceEntry>>,
    /// Workload entries, oldest first.
    pub workload_entries: Vec<Arc<WorkloadEntry>>,
    /// Peer authentications, oldest first.
    pub peer_authentications: Vec<Arc<PeerAuthentication>>,
    /// Scopes of Sidecar resources.
    pub scopes: Scopes,
    /// What scopes include.
    pub(crate) imports: Cache,
}

impl Snapshot {
    /// The services a proxy in that namespace sees, one per name.
    pub fn visible<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Service>> + 'a {
        self.services.values().filter_map(move |all| self.chosen(namespace, all))
    }

    /// The service of that name, when a proxy in that namespace sees it: of several that of its
    /// own namespace, else Kubernetes' own, else the oldest.
    pub fn service(&self, namespace: &str, host: &Hostname) -> Option<&Arc<Service>> {
        self.chosen(namespace, self.services.get(host)?)
    }

    /// The services with that port that a proxy in that namespace sees, oldest first.
    pub fn at_port<'a>(
        &'a self,
        namespace: &'a str,
        port: PortNumber,
    ) -> impl Iterator<Item = &'a Arc<Service>> + 'a {
        let all = self.by_port.get(&port).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |service| match self.services.get(&service.host) {
            Some(named) if named.len() > 1 => {
                self.chosen(namespace, named).is_some_and(|chosen| Arc::ptr_eq(chosen, service))
            }
            _ => self.sees(namespace, service),
        })
    }

    fn chosen<'a>(&self, namespace: &str, all: &'a [Arc<Service>]) -> Option<&'a Arc<Service>> {
        let mut seen = all.iter().filter(|service| self.sees(namespace, service));
        let first = seen.next()?;
        let own = std::iter::once(first).chain(seen).find(|s| s.namespace == namespace);
        Some(own.unwrap_or(first))
    }

    /// Whether a proxy in that namespace sees the service.
    pub fn sees(&self, namespace: &str, service: &Service) -> bool {
        let own = service.export.as_deref().unwrap_or_default();
        let default = &self.mesh.default_service_export_to;
        Export::of(own, default, &service.namespace).reaches(namespace)
    }

    /// The endpoints of a service; none when it has none.
    pub fn endpoints_of(&self, service: &Service) -> &[Endpoint] {
        let of_name = self.endpoints.get(&service.host);
        let own = of_name.and_then(|all| all.get(&service.object));
        own.map_or(&[], |all| all.as_slice())
    }

    /// The full name that `host` means in an object of that namespace.
    pub fn resolve(&self, host: &str, namespace: &str) -> Option<Hostname> {
        if host.contains('.') || host == "*" {
            return Hostname::parse(host).ok();
        }
        Hostname::parse(&format!("{host}.{namespace}.svc.{}", self.domain)).ok()
    }
}

/// A snapshot in the making.
pub(crate) struct World {
    domain: Arc<str>,
    mesh: Option<Arc<MeshConfig>>,
    namespaces: BTreeMap<String, Labels>,
    services: BTreeMap<Hostname, Vec<Arc<Service>>>,
    endpoints: BTreeMap<Hostname, BTreeMap<ResourceKey, Vec<Endpoint>>>,
    workloads: BTreeMap<(String, String), Arc<Workload>>,
    pod_cidrs: BTreeSet<IpNet>,
    /// With the workloads that each selects.
    entries: Vec<(Arc<Entry>, Vec<Instance>)>,
    virtual_services: Vec<Arc<VirtualService>>,
    destination_rules: Vec<Arc<DestinationRule>>,
    gateways: Vec<Arc<Gateway>>,
    workload_entries: Vec<Arc<WorkloadEntry>>,
    peer_authentications: Vec<Arc<PeerAuthentication>>,
    scopes: Scopes,
}

/// The objects of one cluster that others refer to.
#[derive(Default)]
struct Cluster<'a> {
    slices: Vec<&'a Slice>,
    nodes: BTreeMap<&'a str, &'a Arc<Node>>,
    pods: BTreeMap<(&'a str, &'a str), &'a Arc<Workload>>,
    services: BTreeMap<(&'a str, &'a str), &'a Arc<Service>>,
    /// WorkloadEntries by namespace.
    instances: BTreeMap<&'a str, Vec<&'a Instance>>,
    entries: Vec<&'a Arc<Entry>>,
}

impl World {
    pub(crate) fn new(domain: &Arc<str>) -> Self {
        Self {
            domain: Arc::clone(domain),
            mesh: None,
            namespaces: BTreeMap::new(),
            services: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            workloads: BTreeMap::new(),
            pod_cidrs: BTreeSet::new(),
            entries: Vec::new(),
            virtual_services: Vec::new(),
            destination_rules: Vec::new(),
            gateways: Vec::new(),
            workload_entries: Vec::new(),
            peer_authentications: Vec::new(),
            scopes: Scopes::new(),
        }
    }

    /// Adds a cluster. A service that several clusters have keeps the ports and addresses of the
    /// first and has the endpoints of all.
    pub(crate) fn add(&mut self, shard: &Shard) {
        let mut cluster = Cluster::default();
        for (key, held) in &shard.objects {
            match held {
                Held::Service(o) => {
                    cluster.services.insert((&key.namespace, &key.name), o);
                    let named = self.services.entry(o.host.clone()).or_default();
                    if !named.iter().any(|known| known.object == o.object) {
                        named.push(Arc::clone(o));
                    }
                }
                Held::Slice(o) => cluster.slices.push(o),
                Held::Workload(o) => {
                    cluster.pods.insert((&key.namespace, &key.name), o);
                    let place = (key.namespace.clone(), key.name.clone());
                    self.workloads.entry(place).or_insert_with(|| Arc::clone(o));
                }
                Held::Node(o) => {
                    cluster.nodes.insert(&key.name, o);
                    self.pod_cidrs.extend(&o.pod_cidrs);
                }
                Held::Namespace(o) => {
                    self.namespaces.entry(key.name.clone()).or_insert_with(|| o.clone());
                }
                Held::ServiceEntry(o) => cluster.entries.push(o),
                Held::WorkloadEntry(o, instance) => {
                    cluster.instances.entry(&key.namespace).or_default().push(instance);
                    self.workload_entries.push(Arc::clone(o));
                }
                Held::VirtualService(o) => self.virtual_services.push(Arc::clone(o)),
                Held::DestinationRule(o) => self.destination_rules.push(Arc::clone(o)),
                Held::Gateway(o) => self.gateways.push(Arc::clone(o)),
                Held::PeerAuthentication(o) => self.peer_authentications.push(Arc::clone(o)),
                Held::Scope(o) => {
                    self.scopes.entry(key.namespace.clone()).or_default().push(Arc::clone(o))
                }
                Held::Mesh(o) => self.mesh = self.mesh.take().or_else(|| Some(Arc::clone(o))),
            }
        }
        for slice in &cluster.slices {
            let Some(service) = cluster.services.get(&(&*slice.namespace, &*slice.service)) else {
                continue;
            };
            cluster.collect(self.endpoints_of(service), service, slice);
        }
        for service in cluster.services.values().filter(|service| !service.selector.is_empty()) {
            let of_entries = cluster.entries_behind(&service.namespace, &service.selector);
            let of_entries = of_entries.flat_map(|instance| {
                let ports = service.ports.iter();
                ports.filter_map(|port| instance.endpoint(port)).collect::<Vec<_>>()
            });
            let mut all = of_entries.filter(|e| !matches!(e.address, Address::Name(_))).peekable();
            if all.peek().is_some() && !service.is_alias() {
                self.endpoints_of(service).extend(all);
            }
        }
        for entry in &cluster.entries {
            let namespace = entry.object.metadata.namespace.as_deref().unwrap_or_default();
            let selected = entry.selector.as_ref().map(|labels| cluster.behind(namespace, labels));
            self.entries.push((Arc::clone(entry), selected.unwrap_or_default()));
        }
    }

    fn endpoints_of(&mut self, service: &Service) -> &mut Vec<Endpoint> {
        let of_name = self.endpoints.entry(service.host.clone()).or_default();
        of_name.entry(service.object.clone()).or_default()
    }

    /// Adds the services of ServiceEntries: one per host and namespace.
    fn add_entries(&mut self) -> Vec<Arc<ServiceEntry>> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by_key(|(entry, _)| age(&*entry.object));
        let mut all: BTreeMap<(String, Hostname), (Service, bool)> = BTreeMap::new();
        for (entry, selected) in &entries {
            for service in &entry.services {
                let place = (service.namespace.clone(), service.host.clone());
                let (known, wants) =
                    all.entry(place).or_insert_with(|| (service.clone(), entry.wants_address));
                if known.object != service.object && !service_entry::join(known, service) {
                    continue;
                }
                *wants &= entry.wants_address;
                let endpoints = entry.endpoints(service, selected);
                let object = known.object.clone();
                let of_name = self.endpoints.entry(service.host.clone()).or_default();
                of_name.entry(object).or_default().extend(endpoints);
            }
        }
        let alone = all.iter().filter(|((_, host), (_, wants))| *wants && !host.is_wildcard());
        let vips = vips::allocate(alone.map(|((namespace, host), _)| (&**namespace, host)));
        for ((namespace, host), (service, _)) in &all {
            let allocated = vips.get(&(namespace.as_str(), host)).copied();
            let service = Arc::new(Service { allocated, ..service.clone() });
            self.services.entry(host.clone()).or_default().push(service);
        }
        let mut objects: Vec<Arc<ServiceEntry>> =
            entries.iter().map(|(entry, _)| Arc::clone(&entry.object)).collect();
        by_age(&mut objects);
        objects
    }

    pub(crate) fn finish(mut self, generation: u64) -> Snapshot {
        let service_entries = self.add_entries();
        by_age(&mut self.virtual_services);
        by_age(&mut self.destination_rules);
        by_age(&mut self.gateways);
        by_age(&mut self.workload_entries);
        by_age(&mut self.peer_authentications);
        for named in self.services.values_mut() {
            let age = |s: &Service| (s.is_entry(), s.created, s.object.clone());
            named.sort_by_cached_key(|service| age(service));
        }
        for scopes in self.scopes.values_mut() {
            scopes.sort_by_cached_key(|scope| scope.age());
        }
        let mut by_port: BTreeMap<PortNumber, Vec<Arc<Service>>> = BTreeMap::new();
        let mut aliases: BTreeMap<Hostname, Vec<Arc<Service>>> = BTreeMap::new();
        for service in self.services.values().flatten() {
            if let Resolution::Alias(target) = &service.resolution {
                aliases.entry(target.clone()).or_default().push(Arc::clone(service));
            }
        }
        let mut oldest: Vec<&Arc<Service>> = self.services.values().flatten().collect();
        oldest.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.host.cmp(&b.host)));
        for service in oldest {
            for port in &service.ports {
                by_port.entry(port.number).or_default().push(Arc::clone(service));
            }
        }
        let endpoints = self.endpoints.into_iter().map(|(host, of_name)| {
            let of_name = of_name.into_iter().map(|(object, all)| (object, Arc::new(sorted(all))));
            (host, of_name.collect())
        });
        Snapshot {
            generation,
            domain: self.domain,
            mesh: self.mesh.unwrap_or_default(),
            namespaces: self.namespaces,
            endpoints: endpoints.collect(),
            by_port,
            aliases,
            services: self.services,
            workloads: self.workloads,
            pod_cidrs: self.pod_cidrs,
            virtual_services: self.virtual_services,
            destination_rules: self.destination_rules,
            gateways: self.gateways,
            service_entries,
            workload_entries: self.workload_entries,
            peer_authentications: self.peer_authentications,
            scopes: self.scopes,
            imports: Cache::default(),
        }
    }
}

impl Cluster<'_> {
    fn locality(&self, node: Option<&str>) -> Locality {
        let node = node.and_then(|node| self.nodes.get(node));
        node.map(|node| node.locality.clone()).unwrap_or_default()
    }

    fn collect(&self, all: &mut Vec<Endpoint>, service: &Service, slice: &Slice) {
        for endpoint in &slice.endpoints {
            if !endpoint.ready && !service.publish_not_ready {
                continue;
            }
            let pod = endpoint.pod.as_deref();
            let pod = pod.and_then(|pod| self.pods.get(&(&*slice.namespace, pod)));
            let locality = self.locality(endpoint.node.as_deref());
            all.extend(slice.ports.iter().map(|(name, port)| Endpoint {
                address: Address::Ip(endpoint.address),
                port: *port,
                port_name: name.clone(),
                locality: locality.clone(),
                weight: 1,
                hostname: endpoint.hostname.clone(),
                workload: pod.map(|pod| Arc::clone(pod)),
            }));
        }
    }

    /// The WorkloadEntries with those labels.
    fn entries_behind(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = &Instance> {
        let all = self.instances.get(namespace).into_iter().flatten().copied();
        let fits = |instance: &&Instance| {
            let workload = instance.workload.as_ref();
            workload.is_some_and(|workload| is_subset(labels, &workload.labels))
        };
        all.filter(fits)
    }

    /// The WorkloadEntries and ready pods with those labels.
    fn behind(&self, namespace: &str, labels: &Labels) -> Vec<Instance> {
        let mut all: Vec<Instance> = self.entries_behind(namespace, labels).cloned().collect();
        let pods = self.pods.range((namespace, "")..).map(|(_, pod)| *pod);
        let pods = pods.take_while(|pod| pod.namespace == namespace);
        for pod in pods.filter(|pod| pod.ready && is_subset(labels, &pod.labels)) {
            all.extend(pod.addresses.first().map(|ip| Instance {
                address: Address::Ip(*ip),
                ports: BTreeMap::new(),
                weight: 1,
                locality: self.locality(Some(&pod.node)),
                workload: Some(Arc::clone(pod)),
            }));
        }
        all
    }
}

/// In order, each once.
fn sorted(mut all: Vec<Endpoint>) -> Vec<Endpoint> {
    let key = |e: &Endpoint| (e.address.clone(), e.port, e.port_name.clone());
    all.sort_by_cached_key(key);
    // Slices of one service may overlap while a controller moves endpoints between them.
    all.dedup_by(|a, b| (&a.address, a.port, &a.port_name) == (&b.address, b.port, &b.port_name));
    all
}

fn age<S: mesh_api::crd::Definition>(object: &Object<S>) -> (i64, Option<String>, Option<String>) {
    let meta = &object.metadata;
    (created(meta), meta.namespace.clone(), meta.name.clone())
}

/// Oldest first; objects of one moment by namespace and name.
fn by_age<S: mesh_api::crd::Definition>(objects: &mut [Arc<Object<S>>]) {
    objects.sort_by_cached_key(|object| age(object));
}
