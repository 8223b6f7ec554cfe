//! What a scope includes of the services of a snapshot: computed once for all proxies that share
//! the scope.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use mesh_api::crd::VirtualService;
use mesh_api::crd::common::Destination;
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;

use super::Scope;
use crate::registry::Service;

/// What proxies of a scope in a namespace know.
#[derive(Debug)]
pub(crate) struct Imported {
    /// Services, each with the ports it may be reached at.
    pub(crate) services: BTreeMap<Hostname, Arc<Service>>,
    /// The virtual services that apply to what they send.
    pub(crate) rules: Vec<Arc<VirtualService>>,
}

/// What was computed for a snapshot, by scope and namespace. Only grows, so that references into
/// it last as long as the snapshot.
#[derive(Debug)]
pub(crate) struct Cache([Slot; 64]);

type Slot = OnceLock<Box<Entry>>;

#[derive(Debug)]
struct Entry {
    digest: [u8; 32],
    namespace: String,
    imported: Imported,
    next: Slot,
}

impl Default for Cache {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl Cache {
    /// What is included, made by `make` where it is asked for first.
    pub(crate) fn get(
        &self,
        scope: &Scope,
        namespace: &str,
        make: impl Fn() -> Imported,
    ) -> &Imported {
        let mut hash = DefaultHasher::new();
        (scope.digest(), namespace).hash(&mut hash);
        let bucket = usize::try_from(hash.finish() % 64).unwrap_or_default();
        let mut slot = &self.0[bucket];
        loop {
            let entry = slot.get_or_init(|| {
                Box::new(Entry {
                    digest: *scope.digest(),
                    namespace: namespace.to_owned(),
                    imported: make(),
                    next: OnceLock::new(),
                })
            });
            if entry.digest == *scope.digest() && entry.namespace == namespace {
                return &entry.imported;
            }
            slot = &entry.next;
        }
    }
}

/// A service with the ports that the scope includes; none without any.
pub(crate) fn narrowed(scope: &Scope, service: &Arc<Service>, own: &str) -> Option<Arc<Service>> {
    if service.ports.is_empty() {
        let included = scope.includes(&service.host, &service.namespace, own);
        return included.then(|| Arc::clone(service));
    }
    let place = (&service.host, service.namespace.as_str());
    with_ports(service, |port| scope.imports(place, port, own))
}

/// A service that rules lead to, with the ports they name, all where they name none; and those it
/// is known with already.
pub(crate) fn led_to(
    service: &Arc<Service>,
    ports: &BTreeSet<Option<u16>>,
    known: Option<&Arc<Service>>,
) -> Option<Arc<Service>> {
    let all = ports.contains(&None) || service.ports.is_empty();
    let is_known = |port| known.is_some_and(|known| known.port(port).is_some());
    with_ports(service, |port| all || is_known(port) || ports.contains(&Some(port.get())))
}

fn with_ports(service: &Arc<Service>, wanted: impl Fn(PortNumber) -> bool) -> Option<Arc<Service>> {
    let kept = service.ports.iter().filter(|port| wanted(port.number)).count();
    if kept == service.ports.len() {
        return Some(Arc::clone(service));
    }
    if kept == 0 {
        return None;
    }
    let mut own = Service::clone(service);
    own.ports.retain(|port| wanted(port.number));
    Some(Arc::new(own))
}

/// The hosts and ports that a virtual service leads to, as it writes them.
pub(crate) fn destinations(vs: &VirtualService) -> impl Iterator<Item = (&str, Option<u16>)> {
    let http = vs.spec.http.iter().flat_map(|http| {
        let routes = http.route.iter().map(|route| &route.destination);
        routes.chain(&http.mirror).chain(http.mirrors.iter().map(|mirror| &mirror.destination))
    });
    let tls = vs.spec.tls.iter().flat_map(|tls| &tls.route).map(|route| &route.destination);
    let tcp = vs.spec.tcp.iter().flat_map(|tcp| &tcp.route).map(|route| &route.destination);
    http.chain(tls).chain(tcp).map(|destination: &Destination| {
        let port = destination.port.as_ref().and_then(|port| port.number);
        (destination.host.as_str(), port.and_then(|port| u16::try_from(port).ok()))
    })
}
