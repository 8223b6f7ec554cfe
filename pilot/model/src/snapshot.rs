//! The world at one moment, indexed the way configuration asks about it. Never changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::crd::{DestinationRule, Gateway, Object, PeerAuthentication, VirtualService};
use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;
use mesh_api::selector::Labels;

use crate::registry::kube::{Node, Slice, created};
use crate::registry::{Endpoint, Export, Locality, Service, Workload};
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
    /// Services by full name.
    pub services: BTreeMap<Hostname, Arc<Service>>,
    /// Services by port, oldest first.
    pub by_port: BTreeMap<PortNumber, Vec<Arc<Service>>>,
    /// Endpoints of services, in the order of their addresses.
    pub endpoints: BTreeMap<Hostname, Arc<Vec<Endpoint>>>,
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
    /// Peer authentications, oldest first.
    pub peer_authentications: Vec<Arc<PeerAuthentication>>,
}

impl Snapshot {
    /// The services a proxy in that namespace sees.
    pub fn visible<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Service>> + 'a {
        self.services.values().filter(move |service| self.sees(namespace, service))
    }

    /// The service of that name, when a proxy in that namespace sees it.
    pub fn service(&self, namespace: &str, host: &Hostname) -> Option<&Arc<Service>> {
        self.services.get(host).filter(|service| self.sees(namespace, service))
    }

    /// Whether a proxy in that namespace sees the service.
    pub fn sees(&self, namespace: &str, service: &Service) -> bool {
        let own = service.export.as_deref().unwrap_or_default();
        let default = &self.mesh.default_service_export_to;
        Export::of(own, default, &service.namespace).reaches(namespace)
    }

    /// The endpoints of a service; none when it has none.
    pub fn endpoints_of(&self, host: &Hostname) -> &[Endpoint] {
        self.endpoints.get(host).map_or(&[], |all| all.as_slice())
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
    services: BTreeMap<Hostname, Arc<Service>>,
    endpoints: BTreeMap<Hostname, Vec<Endpoint>>,
    workloads: BTreeMap<(String, String), Arc<Workload>>,
    pod_cidrs: BTreeSet<IpNet>,
    virtual_services: Vec<Arc<VirtualService>>,
    destination_rules: Vec<Arc<DestinationRule>>,
    gateways: Vec<Arc<Gateway>>,
    peer_authentications: Vec<Arc<PeerAuthentication>>,
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
            virtual_services: Vec::new(),
            destination_rules: Vec::new(),
            gateways: Vec::new(),
            peer_authentications: Vec::new(),
        }
    }

    /// Adds a cluster. A service that several clusters have keeps the ports and addresses of the
    /// first and has the endpoints of all.
    pub(crate) fn add(&mut self, shard: &Shard) {
        let mut slices = Vec::new();
        let mut nodes: BTreeMap<&str, &Arc<Node>> = BTreeMap::new();
        let mut pods: BTreeMap<(&str, &str), &Arc<Workload>> = BTreeMap::new();
        let mut services: BTreeMap<(&str, &str), &Arc<Service>> = BTreeMap::new();
        for (key, held) in &shard.objects {
            match held {
                Held::Service(o) => {
                    services.insert((&key.namespace, &key.name), o);
                    self.services.entry(o.host.clone()).or_insert_with(|| Arc::clone(o));
                }
                Held::Slice(o) => slices.push(o),
                Held::Workload(o) => {
                    pods.insert((&key.namespace, &key.name), o);
                    let place = (key.namespace.clone(), key.name.clone());
                    self.workloads.entry(place).or_insert_with(|| Arc::clone(o));
                }
                Held::Node(o) => {
                    nodes.insert(&key.name, o);
                    self.pod_cidrs.extend(&o.pod_cidrs);
                }
                Held::Namespace(o) => {
                    self.namespaces.entry(key.name.clone()).or_insert_with(|| o.clone());
                }
                Held::VirtualService(o) => self.virtual_services.push(Arc::clone(o)),
                Held::DestinationRule(o) => self.destination_rules.push(Arc::clone(o)),
                Held::Gateway(o) => self.gateways.push(Arc::clone(o)),
                Held::PeerAuthentication(o) => self.peer_authentications.push(Arc::clone(o)),
                Held::Mesh(o) => self.mesh = self.mesh.take().or_else(|| Some(Arc::clone(o))),
            }
        }
        for slice in slices {
            let Some(service) = services.get(&(&*slice.namespace, &*slice.service)) else {
                continue;
            };
            let all = self.endpoints.entry(service.host.clone()).or_default();
            collect(all, service, slice, &|endpoint| {
                let pod = endpoint.pod.as_deref();
                let pod = pod.and_then(|pod| pods.get(&(&*slice.namespace, pod)));
                let node = endpoint.node.as_deref().and_then(|node| nodes.get(node));
                (
                    pod.map(|pod| Arc::clone(pod)),
                    node.map(|n| n.locality.clone()).unwrap_or_default(),
                )
            });
        }
    }

    pub(crate) fn finish(mut self, generation: u64) -> Snapshot {
        by_age(&mut self.virtual_services);
        by_age(&mut self.destination_rules);
        by_age(&mut self.gateways);
        by_age(&mut self.peer_authentications);
        let mut by_port: BTreeMap<PortNumber, Vec<Arc<Service>>> = BTreeMap::new();
        let mut oldest: Vec<&Arc<Service>> = self.services.values().collect();
        oldest.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.host.cmp(&b.host)));
        for service in oldest {
            for port in &service.ports {
                by_port.entry(port.number).or_default().push(Arc::clone(service));
            }
        }
        let endpoints = self.endpoints.into_iter().map(|(host, mut all)| {
            all.sort_by(|a, b| {
                let key = |e: &Endpoint| (e.address, e.port, e.port_name.clone());
                key(a).cmp(&key(b))
            });
            // Slices of one service may overlap while a controller moves endpoints between them.
            all.dedup_by(|a, b| {
                (a.address, a.port, &a.port_name) == (b.address, b.port, &b.port_name)
            });
            (host, Arc::new(all))
        });
        Snapshot {
            generation,
            domain: self.domain,
            mesh: self.mesh.unwrap_or_default(),
            namespaces: self.namespaces,
            endpoints: endpoints.collect(),
            by_port,
            services: self.services,
            workloads: self.workloads,
            pod_cidrs: self.pod_cidrs,
            virtual_services: self.virtual_services,
            destination_rules: self.destination_rules,
            gateways: self.gateways,
            peer_authentications: self.peer_authentications,
        }
    }
}

type Place = (Option<Arc<Workload>>, Locality);

fn collect(
    all: &mut Vec<Endpoint>,
    service: &Service,
    slice: &Slice,
    place: &dyn Fn(&crate::registry::kube::SliceEndpoint) -> Place,
) {
    for endpoint in &slice.endpoints {
        if !endpoint.ready && !service.publish_not_ready {
            continue;
        }
        let (workload, locality) = place(endpoint);
        let address: IpAddr = endpoint.address;
        all.extend(slice.ports.iter().map(|(name, port)| Endpoint {
            address,
            port: *port,
            port_name: name.clone(),
            locality: locality.clone(),
            hostname: endpoint.hostname.clone(),
            workload: workload.clone(),
        }));
    }
}

/// Oldest first; objects of one moment by namespace and name.
fn by_age<S: mesh_api::crd::Definition>(objects: &mut [Arc<Object<S>>]) {
    objects.sort_by(|a, b| {
        let place = |o: &Object<S>| (o.metadata.namespace.clone(), o.metadata.name.clone());
        let ages = created(&a.metadata).cmp(&created(&b.metadata));
        ages.then_with(|| place(a).cmp(&place(b)))
    });
}
