//! Proxy classes: what configuration depends on, of a proxy. Proxies of one class get the same
//! configuration, so a workload's replicas share one.

use std::sync::Arc;

use mesh_api::crd::PeerAuthentication;
use mesh_api::crd::peer_authentication::{MutualTls, MutualTlsMode};
use mesh_api::name::Hostname;
use mesh_api::node::NodeType;
use mesh_api::port::{PortNumber, Protocol};
use mesh_api::selector::{Labels, is_subset};

use crate::proxy::{Dialect, Proxy};
use crate::registry::{Port, Service, TargetPort, Workload};
use crate::scope::ingress::Application;
use crate::scope::{self, Scope};
use crate::snapshot::Snapshot;

/// What a workload accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mtls {
    /// Plaintext only.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

/// A port of the workload that a service leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inbound {
    /// The workload's port.
    pub target: PortNumber,
    /// The service's port.
    pub port: PortNumber,
    /// What the service says it speaks.
    pub protocol: Protocol,
    /// What the workload accepts there.
    pub mtls: Mtls,
    /// The service.
    pub host: Hostname,
    /// The service's short name.
    pub service: String,
    /// The service's namespace.
    pub namespace: String,
    /// Where the application is.
    pub application: Application,
}

/// What configuration depends on, of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// Sidecar, gateway and so on.
    pub node_type: NodeType,
    /// Its namespace.
    pub namespace: String,
    /// Labels of its pod.
    pub labels: Labels,
    /// Which extensions it has.
    pub dialect: Dialect,
    /// Whether it subscribes by name.
    pub on_demand: bool,
    /// Whether its DNS server answers for the application.
    pub dns_capture: bool,
    /// Whether it accepts HTTP/1.0.
    pub http10: bool,
    /// Ports that services lead to, one service per port: the oldest.
    pub inbound: Vec<Inbound>,
    /// What it accepts at other ports.
    pub mtls: Mtls,
    /// What it knows of the mesh; everything where there is none.
    pub scope: Option<Arc<Scope>>,
}

impl Class {
    /// The class of a proxy.
    pub fn of(snapshot: &Snapshot, proxy: &Proxy) -> Self {
        let id = proxy.id();
        let metadata = proxy.metadata();
        let namespace = id.namespace.as_str().to_owned();
        let place = (namespace.clone(), id.name.as_str().to_owned());
        let workload = snapshot.workloads.get(&place);
        let mut labels = metadata.labels.clone();
        if labels.is_empty() {
            labels = workload.map(|workload| workload.labels.clone()).unwrap_or_default();
        }
        let flag = |value: Option<bool>| value.unwrap_or(false);
        let capabilities = proxy.capabilities();
        let facts = Facts { proxy, workload, labels: &labels, namespace: &namespace };
        let scope = facts.scope(snapshot);
        Self {
            node_type: id.node_type,
            inbound: facts.ports(snapshot, scope.as_deref()),
            scope,
            mtls: mtls(snapshot, &namespace, &labels, None),
            dialect: capabilities.dialect,
            on_demand: capabilities.on_demand,
            dns_capture: flag(metadata.dns_capture),
            http10: flag(metadata.http10),
            namespace,
            labels,
        }
    }

    /// Whether it stands at the edge of the mesh.
    pub fn is_router(&self) -> bool {
        self.node_type == NodeType::Router
    }
}

struct Facts<'a> {
    proxy: &'a Proxy,
    workload: Option<&'a Arc<Workload>>,
    labels: &'a Labels,
    namespace: &'a str,
}

impl Facts<'_> {
    /// Gateways serve whatever their Gateway objects say.
    fn scope(&self, snapshot: &Snapshot) -> Option<Arc<Scope>> {
        if self.proxy.is_router() {
            return None;
        }
        let root = snapshot.mesh.root_namespace.as_str();
        let workload = (self.namespace, self.labels);
        scope::select(&snapshot.scopes, workload, root).map(Arc::clone)
    }

    /// The workload's ports: those of its scope where that has any, else those of its services.
    fn ports(&self, snapshot: &Snapshot, scope: Option<&Scope>) -> Vec<Inbound> {
        let of_services = self.inbound(snapshot);
        let Some(scope) = scope.filter(|scope| !scope.ingress().is_empty()) else {
            return of_services;
        };
        let key = scope.key();
        let ports = scope.ingress().iter().filter_map(|ingress| {
            let known = of_services.iter().find(|known| known.target == ingress.port);
            // Istio's name for what is behind a port that no service leads to.
            let own = || Hostname::parse(&format!("{}.{}", key.name, key.namespace)).ok();
            Some(Inbound {
                target: ingress.port,
                port: known.map_or(ingress.port, |known| known.port),
                protocol: ingress.protocol,
                mtls: mtls(snapshot, self.namespace, self.labels, Some(ingress.port)),
                host: known.map(|known| known.host.clone()).or_else(own)?,
                service: known.map_or(&key.name, |known| &known.service).clone(),
                namespace: known.map_or(&key.namespace, |known| &known.namespace).clone(),
                application: ingress.endpoint.clone(),
            })
        });
        let mut all: Vec<Inbound> = ports.collect();
        all.sort();
        all
    }

    fn inbound(&self, snapshot: &Snapshot) -> Vec<Inbound> {
        let mut all: Vec<Inbound> = Vec::new();
        let mut services: Vec<&Arc<Service>> =
            snapshot.services.values().flatten().filter(|s| self.is_behind(s)).collect();
        services.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.host.cmp(&b.host)));
        for service in services {
            for port in &service.ports {
                let Some(target) = self.target(port) else { continue };
                if all.iter().any(|inbound| inbound.target == target) {
                    continue;
                }
                all.push(Inbound {
                    target,
                    port: port.number,
                    protocol: port.protocol,
                    mtls: mtls(snapshot, self.namespace, self.labels, Some(target)),
                    host: service.host.clone(),
                    service: service.name.clone(),
                    namespace: service.namespace.clone(),
                    application: Application::Same,
                });
            }
        }
        all.sort();
        all
    }

    fn is_behind(&self, service: &Service) -> bool {
        service.namespace == self.namespace
            && !service.selector.is_empty()
            && !service.is_alias()
            && is_subset(&service.selector, self.labels)
    }

    fn target(&self, port: &Port) -> Option<PortNumber> {
        let name = match &port.target {
            TargetPort::Number(number) => return Some(*number),
            TargetPort::Name(name) => name,
        };
        let told = self.proxy.metadata().pod_ports.iter().find(|port| port.name == *name);
        let told = told.and_then(|port| PortNumber::new(port.container_port));
        told.or_else(|| self.workload.and_then(|pod| pod.ports.get(name).copied()))
    }
}

/// What a workload accepts at a port: the mesh's policy, overridden by the namespace's, overridden
/// by the workload's, overridden by the port's. Of several at one level the oldest counts.
pub fn mtls(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &Labels,
    port: Option<PortNumber>,
) -> Mtls {
    let root = snapshot.mesh.root_namespace.as_str();
    let place = |policy: &PeerAuthentication| policy.metadata.namespace.clone().unwrap_or_default();
    let selector = |policy: &PeerAuthentication| {
        let selector = policy.spec.selector.as_ref().map(|s| s.match_labels.clone());
        selector.unwrap_or_default()
    };
    let all = || snapshot.peer_authentications.iter();
    let whole = |of: &str| all().find(|policy| place(policy) == of && selector(policy).is_empty());
    let own = all().find(|policy| {
        let selector = selector(policy);
        !selector.is_empty() && place(policy) == namespace && is_subset(&selector, labels)
    });
    let of_port = port.and_then(|port| {
        let ports = own?.spec.port_level_mtls.as_ref()?;
        mode(ports.get(&port.to_string()))
    });
    let level = |policy: Option<&Arc<PeerAuthentication>>| {
        policy.and_then(|policy| mode(policy.spec.mtls.as_ref()))
    };
    let levels = || level(own).or_else(|| level(whole(namespace))).or_else(|| level(whole(root)));
    of_port.or_else(levels).unwrap_or(Mtls::Permissive)
}

fn mode(mtls: Option<&MutualTls>) -> Option<Mtls> {
    match mtls?.mode.unwrap_or_default() {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(Mtls::Disable),
        MutualTlsMode::Permissive => Some(Mtls::Permissive),
        MutualTlsMode::Strict => Some(Mtls::Strict),
    }
}
