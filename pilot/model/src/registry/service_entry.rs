//! ServiceEntries as the service model: one service per host, and what is behind each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::crd::ServiceEntry;
use mesh_api::crd::service_entry::{Location, Resolution as Declared, ServicePort};
use mesh_api::name::Hostname;
use mesh_api::port::{PortNumber, Protocol, Transport};
use mesh_api::selector::Labels;

use super::kube::created;
use super::{
    Address, Endpoint, Instance, Misfit, Port, Resolution, Service, TargetPort, workload_entry,
};
use crate::key::{Kind, ResourceKey};
use crate::resource::Diagnostic;

/// A ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As it was written.
    pub object: Arc<ServiceEntry>,
    /// Its services, one per host.
    pub services: Vec<Service>,
    /// The endpoints it lists.
    pub listed: Vec<Instance>,
    /// Labels of the workloads behind it; `None` where it does not select.
    pub selector: Option<Labels>,
    /// Whether clients find services without an address by an invented one.
    pub wants_address: bool,
}

impl Entry {
    /// The endpoints of one of its services, of which `selected` are the workloads it selects.
    pub fn endpoints(&self, service: &Service, selected: &[Instance]) -> Vec<Endpoint> {
        let itself = Instance {
            address: Address::Name(service.host.clone()),
            ports: std::collections::BTreeMap::new(),
            weight: 1,
            locality: super::Locality::default(),
            workload: None,
        };
        let resolves = service.is_resolved_by_clients();
        let alone = resolves && self.listed.is_empty() && self.selector.is_none();
        let behind = self.listed.iter().chain(selected).chain(alone.then_some(&itself));
        let usable = |instance: &&Instance| match instance.address {
            Address::Ip(_) => service.resolution != Resolution::OriginalDestination,
            Address::Name(_) => resolves,
            Address::Unix(_) => service.resolution == Resolution::Endpoints,
        };
        let of_port = |instance: &Instance| {
            service.ports.iter().filter_map(|port| instance.endpoint(port)).collect::<Vec<_>>()
        };
        behind.filter(usable).flat_map(of_port).collect()
    }
}

/// What is said of an endpoint whose kind of address does not fit the resolution.
fn unusable(address: &Address, resolution: &Resolution) -> Option<&'static str> {
    match (address, resolution) {
        (_, Resolution::OriginalDestination) => {
            Some("has no effect: with resolution NONE clients choose the address")
        }
        (Address::Name(_), Resolution::Endpoints) => {
            Some("is left out: with resolution STATIC its address must be an IP address")
        }
        (Address::Unix(_), Resolution::Dns | Resolution::DnsRoundRobin) => {
            Some("is left out: a socket of this machine needs resolution STATIC")
        }
        _ => None,
    }
}

/// Reads a ServiceEntry.
///
/// # Errors
/// The field without which nothing can be made of it.
pub fn entry(object: ServiceEntry) -> Result<Entry, Misfit> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&object.metadata.namespace), text(&object.metadata.name));
    let key = ResourceKey::new(Kind::ServiceEntry, &namespace, &name);
    let mut flaws = Flaws { key: key.clone(), all: Vec::new() };
    let spec = &object.spec;
    let resolution = match spec.resolution.unwrap_or_default() {
        Declared::None => Resolution::OriginalDestination,
        Declared::Static => Resolution::Endpoints,
        Declared::Dns => Resolution::Dns,
        Declared::DnsRoundRobin => Resolution::DnsRoundRobin,
        Declared::DynamicDns => {
            let reason = "DYNAMIC_DNS is refused: use NONE for wildcard hosts, DNS for others";
            return Err(Misfit::new("spec.resolution", reason));
        }
    };
    let mut listed = Vec::new();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let path = format!("spec.endpoints[{index}]");
        let instance = workload_entry::listed(endpoint, &namespace, &path)?;
        if let Some(reason) = unusable(&instance.address, &resolution) {
            flaws.add(path.clone(), reason);
        }
        if endpoint.network.as_ref().is_some_and(|network| !network.is_empty()) {
            flaws.add(format!("{path}.network"), OTHER_NETWORKS);
        }
        listed.push(instance);
    }
    if resolution == Resolution::DnsRoundRobin && listed.len() > 1 {
        let reason = "has no effect beyond the first: DNS_ROUND_ROBIN uses one endpoint";
        flaws.add("spec.endpoints".to_owned(), reason);
        listed.truncate(1);
    }
    let selector = spec.workload_selector.as_ref().map(|selector| selector.labels.clone());
    let hosts = hosts(&spec.hosts, &resolution, listed.is_empty() && selector.is_none())?;
    let (vips, ranges) = addresses(&spec.addresses)?;
    let ports = ports(&spec.ports, &mut flaws)?;
    let export = (!spec.export_to.is_empty()).then(|| spec.export_to.clone());
    let service = |host: Hostname| Service {
        name: host.as_str().to_owned(),
        host,
        namespace: namespace.clone(),
        object: key.clone(),
        ports: ports.clone(),
        vips: vips.clone(),
        ranges: ranges.clone(),
        allocated: None,
        resolution: resolution.clone(),
        selector: selector.clone().unwrap_or_default(),
        export: export.clone(),
        created: created(&object.metadata),
        publish_not_ready: false,
        is_external: spec.location.unwrap_or_default() == Location::MeshExternal,
        subject_alt_names: spec.subject_alt_names.clone(),
        flaws: flaws.all.clone(),
    };
    let services: Vec<Service> = hosts.into_iter().map(service).collect();
    let switch = object.metadata.labels.as_ref();
    let switch =
        switch.and_then(|all| all.get(mesh_api::labels::NETWORKING_ENABLE_AUTOALLOCATE_IP));
    let wants_address = vips.is_empty()
        && ranges.is_empty()
        && resolution != Resolution::OriginalDestination
        && switch.is_none_or(|value| value != "false");
    Ok(Entry { object: Arc::new(object), services, listed, selector, wants_address })
}

/// Said of networks.
const OTHER_NETWORKS: &str =
    "has no effect: endpoints are reached at their own addresses, not through gateways";

struct Flaws {
    key: ResourceKey,
    all: Vec<Diagnostic>,
}

impl Flaws {
    fn add(&mut self, field: String, reason: &str) {
        let object = self.key.clone();
        self.all.push(Diagnostic { object, field, reason: reason.to_owned() });
    }
}

/// The distinct hosts. With `alone` there are no endpoints but the hosts themselves.
fn hosts(texts: &[String], resolution: &Resolution, alone: bool) -> Result<Vec<Hostname>, Misfit> {
    let mut all: Vec<Hostname> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let refused = |reason: &str| Misfit::new(format!("spec.hosts[{index}]"), reason);
        let host = Hostname::parse(text).map_err(|error| refused(&error.to_string()))?;
        if host.as_str() == "*" {
            return Err(refused("stands for every host; name the hosts, such as *.example.com"));
        }
        let resolves = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if host.is_wildcard() && resolves && alone {
            let reason = "is no name that DNS knows; list endpoints, or use resolution NONE";
            return Err(refused(reason));
        }
        if !all.contains(&host) {
            all.push(host);
        }
    }
    match all.is_empty() {
        true => Err(Misfit::new("spec.hosts", "is empty: name a host")),
        false => Ok(all),
    }
}

fn addresses(texts: &[String]) -> Result<(Vec<IpAddr>, Vec<IpNet>), Misfit> {
    let (mut vips, mut ranges) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        if let Ok(ip) = text.parse::<IpAddr>() {
            vips.push(ip);
            continue;
        }
        let range: IpNet = text.parse().map_err(|_| {
            let reason = format!("{text:?} is neither an address nor a network");
            Misfit::new(format!("spec.addresses[{index}]"), reason)
        })?;
        match range.prefix_len() == range.max_prefix_len() {
            true => vips.push(range.addr()),
            false => ranges.push(range.trunc()),
        }
    }
    // An unspecified address is none.
    vips.retain(|ip| !ip.is_unspecified());
    let mut seen = BTreeSet::new();
    vips.retain(|ip| seen.insert(*ip));
    ranges.sort();
    ranges.dedup();
    Ok((vips, ranges))
}

fn ports(declared: &[ServicePort], flaws: &mut Flaws) -> Result<Vec<Port>, Misfit> {
    let mut all: Vec<Port> = Vec::new();
    for (index, port) in declared.iter().enumerate() {
        let read = |field: &str, number: u32| {
            let port = u16::try_from(number).ok().and_then(PortNumber::new);
            let field = format!("spec.ports[{index}].{field}");
            port.ok_or_else(|| Misfit::new(field, format!("{number} is no port")))
        };
        let number = read("number", port.number)?;
        let target = match port.target_port.filter(|target| *target > 0) {
            Some(target) => read("targetPort", target)?,
            None => number,
        };
        let declared = port.protocol.as_deref().filter(|protocol| !protocol.is_empty());
        let protocol = match declared {
            Some(protocol) => Protocol::named(protocol),
            None => Protocol::of_service_port(Transport::Tcp, number, &port.name, None),
        };
        if protocol == Protocol::Udp {
            let field = format!("spec.ports[{index}].protocol");
            flaws.add(field, "has no effect: datagrams do not go through the mesh");
            continue;
        }
        let is_known = declared.is_none_or(|name| Protocol::parse(name).is_ok());
        if !is_known {
            let field = format!("spec.ports[{index}].protocol");
            flaws.add(field, "is not known: the proxy looks at what a connection begins with");
        }
        if all.iter().any(|known| known.number == number) {
            let field = format!("spec.ports[{index}].number");
            flaws.add(field, "has no effect: an earlier port has the same number");
            continue;
        }
        let target = TargetPort::Number(target);
        all.push(Port { name: port.name.clone(), number, protocol, target });
    }
    Ok(all)
}

/// Two ServiceEntries of one namespace that define one host, as one service: the older has its
/// ports, and those of the younger that it does not have. Whether that could be done.
pub fn join(older: &mut Service, younger: &Service) -> bool {
    let alike = older.resolution == younger.resolution && older.is_external == younger.is_external;
    if !alike {
        let reason = format!(
            "{} has no effect: {} defines it with another resolution or location",
            younger.host, older.object
        );
        let (object, field) = (younger.object.clone(), "spec.hosts".to_owned());
        older.flaws.push(Diagnostic { object, field, reason });
        return false;
    }
    older.flaws.extend(younger.flaws.iter().cloned());
    for port in &younger.ports {
        if older.ports.iter().any(|known| known.number == port.number) {
            continue;
        }
        if older.ports.iter().any(|known| known.name == port.name) {
            let reason = format!(
                "port {} of {} has no effect: {} has another port {:?}",
                port.number, younger.host, older.object, port.name
            );
            let (object, field) = (younger.object.clone(), "spec.ports".to_owned());
            older.flaws.push(Diagnostic { object, field, reason });
            continue;
        }
        older.ports.push(port.clone());
    }
    for ip in &younger.vips {
        if !older.vips.contains(ip) {
            older.vips.push(*ip);
        }
    }
    for range in &younger.ranges {
        if !older.ranges.contains(range) {
            older.ranges.push(*range);
        }
    }
    for name in &younger.subject_alt_names {
        if !older.subject_alt_names.contains(name) {
            older.subject_alt_names.push(name.clone());
        }
    }
    true
}

#[cfg(test)]
mod tests;
