//! The cluster's names and what they stand for.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use hickory_proto::rr::Name;
use ipnet::Ipv4Net;

use crate::net::NodeConfig;
use crate::service_proxy::{ServiceEntry, ServiceKind, ServicePortEntry, ServiceTable};

/// The domain of the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// One record's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A.
    Address(Ipv4Addr),
    /// CNAME.
    Alias(Name),
    /// SRV; priority 0, weight 1.
    Service {
        /// The port.
        port: u16,
        /// The name of the host.
        target: Name,
    },
    /// PTR.
    Pointer(Name),
    /// NS.
    NameServer(Name),
}

/// What the zone says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The name belongs to somebody else.
    Foreign,
    /// There is no such name below `apex`.
    Missing {
        /// The top of the zone it would be in.
        apex: &'a str,
    },
    /// The name exists; with no data when only names below it do.
    Found {
        /// The top of the zone it is in.
        apex: &'a str,
        /// Its records.
        data: Vec<Data>,
    },
}

/// All names of the cluster at one time.
#[derive(Clone, Debug)]
pub struct Zone {
    /// By name: lower case, without the last dot.
    names: HashMap<String, Vec<Data>>,
    pointers: HashMap<Ipv4Addr, Vec<Data>>,
    /// The reverse zones and the ranges they cover.
    reverse: Vec<(String, Ipv4Net)>,
    pods: Ipv4Net,
}

impl Zone {
    /// The zone of a service table. Names that cannot be DNS names are left out.
    pub fn build(table: &ServiceTable, node: &NodeConfig) -> Self {
        let mut zone = Self {
            names: HashMap::new(),
            pointers: HashMap::new(),
            reverse: [node.service_range, node.pod_range]
                .map(|range| (reverse_apex(range), range))
                .to_vec(),
            pods: node.pod_range,
        };
        let server = format!("ns.dns.{CLUSTER_DOMAIN}");
        zone.add(&server, Data::Address(node.dns_server));
        if let Some(server) = fqdn(&server) {
            zone.add(CLUSTER_DOMAIN, Data::NameServer(server));
        }
        zone.add_empty(&format!("svc.{CLUSTER_DOMAIN}"));
        zone.add_empty(&format!("pod.{CLUSTER_DOMAIN}"));
        for ((namespace, name), service) in &table.services {
            zone.add_service(namespace, name, service);
        }
        zone
    }

    /// Looks a name up. `name` is in lower case and has no last dot.
    pub fn lookup(&self, name: &str) -> Lookup<'_> {
        if let Some((apex, range)) = self.reverse.iter().find(|(apex, _)| is_below(name, apex)) {
            return self.lookup_reverse(name, apex, *range);
        }
        if !is_below(name, CLUSTER_DOMAIN) {
            return Lookup::Foreign;
        }
        let data = match self.names.get(name) {
            Some(data) => data.clone(),
            None => match self.pod_name(name) {
                Some(data) => data,
                None => return Lookup::Missing { apex: CLUSTER_DOMAIN },
            },
        };
        Lookup::Found { apex: CLUSTER_DOMAIN, data }
    }

    fn lookup_reverse<'a>(&'a self, name: &str, apex: &'a str, range: Ipv4Net) -> Lookup<'a> {
        let octets = name.strip_suffix(".in-addr.arpa").map(|n| n.split('.').rev());
        let parsed: Option<Vec<u8>> =
            octets.and_then(|octets| octets.map(|octet| octet.parse().ok()).collect());
        let pointers = match parsed.as_deref() {
            Some([a, b, c, d]) => self.pointers.get(&Ipv4Addr::new(*a, *b, *c, *d)),
            // Names above addresses exist.
            Some(start) if start.len() < 4 => {
                let known = |address: &&Ipv4Addr| address.octets().starts_with(start);
                let exists = name == apex || self.pointers.keys().find(known).is_some();
                return if exists && range_covers(range, start) {
                    Lookup::Found { apex, data: Vec::new() }
                } else {
                    Lookup::Missing { apex }
                };
            }
            _ => None,
        };
        match pointers {
            Some(data) => Lookup::Found { apex, data: data.clone() },
            None => Lookup::Missing { apex },
        }
    }

    /// `10-244-0-5.ns.pod.cluster.local` stands for that pod address, and `ns.pod…` exists. Which
    /// namespace a pod is in is not checked, as in CoreDNS by default.
    fn pod_name(&self, name: &str) -> Option<Vec<Data>> {
        let rest = name.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix(".pod.")?;
        let Some((dashed, namespace)) = rest.split_once('.') else { return Some(Vec::new()) };
        let address: Ipv4Addr = dashed.replace('-', ".").parse().ok()?;
        let known = !namespace.contains('.') && self.pods.contains(&address);
        known.then(|| vec![Data::Address(address)])
    }

    fn add_service(&mut self, namespace: &str, name: &str, service: &ServiceEntry) {
        let own = format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}");
        let Some(own_name) = fqdn(&own) else { return };
        self.add_empty(&own);
        match &service.kind {
            ServiceKind::ExternalName(target) => {
                if let Some(target) = fqdn(target) {
                    self.add(&own, Data::Alias(target));
                }
            }
            ServiceKind::ClusterIp(addresses) => {
                for address in addresses {
                    self.add(&own, Data::Address(*address));
                    self.point(*address, &own_name);
                }
                for port in &service.ports {
                    let data = Data::Service { port: port.port, target: own_name.clone() };
                    self.add_port(&own, port, data);
                }
            }
            ServiceKind::Headless => self.add_headless(&own, service),
        }
    }

    fn add_headless(&mut self, own: &str, service: &ServiceEntry) {
        for (address, hostname) in &service.hosts {
            self.add(own, Data::Address(*address));
            let host = host_name(own, *address, hostname.as_deref());
            if let Some(host_name) = fqdn(&host) {
                self.add(&host, Data::Address(*address));
                self.point(*address, &host_name);
            }
        }
        for port in &service.ports {
            for backend in &port.backends {
                let hostname = service.hosts.get(backend.ip()).cloned().flatten();
                let host = host_name(own, *backend.ip(), hostname.as_deref());
                let Some(target) = fqdn(&host) else { continue };
                self.add_port(own, port, Data::Service { port: backend.port(), target });
            }
        }
    }

    fn add_port(&mut self, own: &str, port: &ServicePortEntry, data: Data) {
        self.add(own, data.clone());
        if !port.name.is_empty() {
            self.add(&format!("_{}._{}.{own}", port.name, port.transport), data);
        }
    }

    fn add(&mut self, name: &str, data: Data) {
        self.add_empty(name);
        if let Some(all) = self.names.get_mut(&name.to_ascii_lowercase())
            && !all.contains(&data)
        {
            all.push(data);
        }
    }

    /// Makes the name exist, and every name above it.
    fn add_empty(&mut self, name: &str) {
        let mut rest = name.to_ascii_lowercase();
        while is_below(&rest, CLUSTER_DOMAIN) {
            let above = rest.split_once('.').map(|(_, above)| above.to_owned());
            self.names.entry(rest).or_default();
            let Some(above) = above else { return };
            rest = above;
        }
    }

    fn point(&mut self, address: Ipv4Addr, name: &Name) {
        self.pointers.entry(address).or_default().push(Data::Pointer(name.clone()));
    }
}

/// The name of an endpoint of a headless service.
fn host_name(service: &str, address: Ipv4Addr, hostname: Option<&str>) -> String {
    match hostname {
        Some(hostname) => format!("{hostname}.{service}"),
        None => format!("{}.{service}", address.to_string().replace('.', "-")),
    }
}

/// The full name, when `text` is a DNS name.
fn fqdn(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok().filter(|name| !name.is_root())?;
    name.set_fqdn(true);
    Some(name)
}

/// Whether `name` is `apex` or below it.
fn is_below(name: &str, apex: &str) -> bool {
    name.strip_suffix(apex).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The smallest reverse zone with whole labels that holds a range.
fn reverse_apex(range: Ipv4Net) -> String {
    let labels = usize::from(range.prefix_len() / 8);
    let octets = range.network().octets();
    let reversed = octets.iter().take(labels).rev().map(|octet| format!("{octet}."));
    format!("{}in-addr.arpa", reversed.collect::<String>())
}

/// Whether addresses that start so can be in the range.
fn range_covers(range: Ipv4Net, start: &[u8]) -> bool {
    let whole = usize::from(range.prefix_len() / 8);
    let network = range.network().octets();
    start.iter().zip(network).take(whole).all(|(a, b)| *a == b)
}

#[cfg(test)]
pub(crate) mod tests;
