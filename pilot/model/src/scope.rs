//! Scopes: what a Sidecar resource lets the proxies it selects know of the mesh.

pub(crate) mod imports;
pub mod ingress;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mesh_api::crd::Sidecar;
use mesh_api::crd::common::Destination;
use mesh_api::crd::destination_rule::ConnectionPoolSettings;
use mesh_api::crd::sidecar::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficMode,
};
use mesh_api::name::Hostname;
use mesh_api::port::PortNumber;
use mesh_api::selector::{Labels, is_subset};
use sha2::{Digest, Sha256};

use self::ingress::Ingress;
use crate::key::{Kind, ResourceKey};
use crate::registry::kube::created;
use crate::resource::Diagnostic;

/// A Sidecar resource as configuration uses it. Scopes with one [digest](Scope::digest) are equal.
#[derive(Debug)]
pub struct Scope {
    key: ResourceKey,
    digest: [u8; 32],
    sidecar: Arc<Sidecar>,
    /// What may be reached at ports of their own.
    ports: BTreeMap<PortNumber, Hosts>,
    /// What may be reached at all other ports.
    rest: Option<Hosts>,
    /// The workload's ports; none for those of its services.
    ingress: Vec<Ingress>,
    flaws: Vec<Diagnostic>,
}

/// The hosts of an egress listener.
#[derive(Debug, Default)]
struct Hosts {
    /// Names without a wildcard, with the namespaces they may be of.
    exact: BTreeMap<Hostname, Vec<Place>>,
    wild: Vec<(Place, Hostname)>,
}

/// The namespaces of an egress host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Any,
    /// That of the proxy.
    Own,
    Named(String),
}

impl Place {
    fn has(&self, namespace: &str, own: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Own => namespace == own,
            Self::Named(name) => namespace == name,
        }
    }
}

impl Hosts {
    fn add(&mut self, host: &str) -> Result<(), String> {
        let Some((place, name)) = host.split_once('/') else {
            return Err(format!("{host:?} is not <namespace>/<host>: it has no effect"));
        };
        let place = match place {
            "~" => return Ok(()),
            "*" => Place::Any,
            "." => Place::Own,
            named => Place::Named(named.to_owned()),
        };
        let name = Hostname::parse(name).map_err(|error| format!("{error}: it has no effect"))?;
        match name.is_wildcard() {
            true => self.wild.push((place, name)),
            false => self.exact.entry(name).or_default().push(place),
        }
        Ok(())
    }

    /// Whether they include a service of that namespace.
    fn cover(&self, host: &Hostname, namespace: &str, own: &str) -> bool {
        let exact = self.exact.get(host).into_iter().flatten();
        exact.into_iter().any(|place| place.has(namespace, own))
            || self.wild.iter().any(|(place, wild)| place.has(namespace, own) && wild.covers(host))
    }

    /// Whether they include a host of a rule of that namespace, in part at least.
    fn overlap(&self, host: &Hostname, namespace: &str, own: &str) -> bool {
        if !host.is_wildcard() {
            return self.cover(host, namespace, own);
        }
        let exact =
            self.exact.iter().flat_map(|(name, places)| places.iter().map(move |p| (p, name)));
        exact
            .chain(self.wild.iter().map(|(place, name)| (place, name)))
            .any(|(place, name)| place.has(namespace, own) && name.overlaps(host))
    }
}

impl Scope {
    /// The scope of a Sidecar.
    pub fn new(sidecar: Arc<Sidecar>) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &sidecar.metadata;
        let key = ResourceKey::new(Kind::Sidecar, &text(&meta.namespace), &text(&meta.name));
        let spec = serde_json::to_string(&sidecar.spec).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [key.to_string().as_bytes(), spec.as_bytes()] {
            hash.update(part);
            hash.update([0]);
        }
        let mut scope = Self {
            key,
            digest: hash.finalize().into(),
            ports: BTreeMap::new(),
            rest: None,
            ingress: Vec::new(),
            flaws: Vec::new(),
            sidecar: Arc::clone(&sidecar),
        };
        for (index, listener) in sidecar.spec.egress.iter().enumerate() {
            scope.listen(index, listener);
        }
        if sidecar.spec.egress.is_empty() {
            let mut all = Hosts::default();
            let _known = all.add("*/*");
            scope.rest = Some(all);
        }
        for (index, listener) in sidecar.spec.ingress.iter().enumerate() {
            scope.accept(index, listener);
        }
        scope
    }

    fn complain(&mut self, field: String, reason: &str) {
        let object = self.key.clone();
        self.flaws.push(Diagnostic { object, field, reason: reason.to_owned() });
    }

    fn listen(&mut self, index: usize, listener: &IstioEgressListener) {
        let path = format!("spec.egress[{index}]");
        let mut hosts = Hosts::default();
        for (number, host) in listener.hosts.iter().enumerate() {
            if let Err(reason) = hosts.add(host) {
                self.complain(format!("{path}.hosts[{number}]"), &reason);
            }
        }
        if listener.bind.as_deref().is_some_and(|bind| !bind.is_empty()) {
            let reason = "has no effect: the listener takes redirected connections to its hosts";
            self.complain(format!("{path}.bind"), reason);
        }
        if listener.capture_mode == Some(CaptureMode::None) {
            let reason = "acts as DEFAULT: the listener takes redirected connections to its hosts";
            self.complain(format!("{path}.captureMode"), reason);
        }
        let number = listener.port.as_ref().map(|port| port.number.unwrap_or_default());
        match number.map(|number| u16::try_from(number).ok().and_then(PortNumber::new)) {
            None if self.rest.is_some() => {
                let reason = "is ignored: only one listener may be without a port";
                self.complain(format!("{path}.hosts"), reason);
            }
            None => self.rest = Some(hosts),
            Some(None) => {
                let reason = "is not between 1 and 65535: the listener is ignored";
                self.complain(format!("{path}.port.number"), reason);
            }
            Some(Some(port)) if self.ports.contains_key(&port) => {
                let reason = "is taken by another listener: this one is ignored";
                self.complain(format!("{path}.port.number"), reason);
            }
            Some(Some(port)) => {
                self.ports.insert(port, hosts);
            }
        }
    }

    fn accept(&mut self, index: usize, listener: &IstioIngressListener) {
        let path = format!("spec.ingress[{index}]");
        let mut found = Vec::new();
        let read = ingress::read(listener, |field, reason| {
            found.push((format!("{path}.{field}"), reason.to_owned()));
        });
        for (field, reason) in found {
            self.complain(field, &reason);
        }
        let Some(read) = read else { return };
        if self.ingress.iter().any(|known| known.port == read.port) {
            let reason = "is taken by another listener: this one is ignored";
            return self.complain(format!("{path}.port.number"), reason);
        }
        self.ingress.push(read);
    }

    /// The resource.
    pub fn key(&self) -> &ResourceKey {
        &self.key
    }

    /// The labels of the workloads it is for; none for all.
    fn selector(&self) -> Option<&Labels> {
        let selector = self.sidecar.spec.workload_selector.as_ref();
        selector.map(|selector| &selector.labels).filter(|labels| !labels.is_empty())
    }

    /// Sorts the oldest first; those of one moment by namespace and name.
    pub(crate) fn age(&self) -> (i64, ResourceKey) {
        (created(&self.sidecar.metadata), self.key.clone())
    }

    /// A hash of the resource's name and content.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What is wrong with the resource.
    pub fn flaws(&self) -> &[Diagnostic] {
        &self.flaws
    }

    /// Whether traffic to unknown services is let through; `None` where the mesh decides.
    pub fn allows_any(&self) -> Option<bool> {
        let policy = self.sidecar.spec.outbound_traffic_policy.as_ref()?;
        Some(policy.mode.unwrap_or_default() == OutboundTrafficMode::AllowAny)
    }

    /// Where traffic to unknown services is sent through, as the resource writes it.
    pub(crate) fn egress_proxy(&self) -> Option<&Destination> {
        let policy = self.sidecar.spec.outbound_traffic_policy.as_ref()?;
        policy.egress_proxy.as_ref()
    }

    /// The workload's ports; none where they are those of its services.
    pub(crate) fn ingress(&self) -> &[Ingress] {
        &self.ingress
    }

    /// What is said of connections to a port of the workload.
    pub(crate) fn inbound_pool(&self, port: PortNumber) -> Option<&ConnectionPoolSettings> {
        let own = self.ingress.iter().find(|ingress| ingress.port == port);
        own.and_then(|own| own.pool.as_ref()).or(self.sidecar.spec.inbound_connection_pool.as_ref())
    }

    /// Whether a proxy in the namespace `own` may reach a port of a service of a namespace.
    pub(crate) fn imports(
        &self,
        (host, namespace): (&Hostname, &str),
        port: PortNumber,
        own: &str,
    ) -> bool {
        let hosts = self.ports.get(&port).or(self.rest.as_ref());
        hosts.is_some_and(|hosts| hosts.cover(host, namespace, own))
    }

    /// Whether a proxy in the namespace `own` knows a service of a namespace, at whatever port.
    pub(crate) fn includes(&self, host: &Hostname, namespace: &str, own: &str) -> bool {
        let mut all = self.ports.values().chain(&self.rest);
        all.any(|hosts| hosts.cover(host, namespace, own))
    }

    /// Whether rules of a namespace for a host apply to a proxy in the namespace `own`.
    pub(crate) fn imports_rules(&self, host: &Hostname, namespace: &str, own: &str) -> bool {
        let mut all = self.ports.values().chain(&self.rest);
        all.any(|hosts| hosts.overlap(host, namespace, own))
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Scope {}

impl PartialOrd for Scope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scope {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// Scopes by namespace, oldest first.
pub type Scopes = BTreeMap<String, Vec<Arc<Scope>>>;

/// The scope of a workload: of those of its namespace that select it, else of those of its
/// namespace for all workloads, else of those of the root namespace for all; of several the oldest.
pub(crate) fn select<'a>(
    scopes: &'a Scopes,
    (namespace, labels): (&str, &Labels),
    root: &str,
) -> Option<&'a Arc<Scope>> {
    let of = |place: &str| scopes.get(place).into_iter().flatten();
    let selecting = of(namespace)
        .find(|scope| scope.selector().is_some_and(|selector| is_subset(selector, labels)));
    let whole = |place: &str| of(place).find(|scope| scope.selector().is_none());
    selecting.or_else(|| whole(namespace)).or_else(|| whole(root))
}
