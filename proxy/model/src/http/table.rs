//! A route table: which virtual host an authority gets.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_api::type_url::TypeUrl;

use crate::http::action::WeightedCluster;
use crate::http::filter::{FilterOverride, FilterOverrides};
use crate::http::mutation::HeaderMutations;
use crate::http::redirect::split_port;
use crate::http::virtual_host::{Matched, VirtualHost};
use crate::lookup::{Lookup, ResourceName};

#[cfg(test)]
mod tests;

/// A route table.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Its name.
    pub name: Arc<str>,
    /// The version pilot gave it.
    pub version: Arc<str>,
    /// Its virtual hosts by domain.
    pub hosts: HostIndex,
    /// Whether further virtual hosts are asked for by name.
    pub on_demand: bool,
    /// Whether a port in the authority does not count.
    pub ignore_port: bool,
    /// Changes to requests' headers.
    pub request_headers: HeaderMutations,
    /// Changes to responses' headers.
    pub response_headers: HeaderMutations,
    /// Whether the route's changes to headers come last, and win.
    pub most_specific_mutations_win: bool,
    /// Changes to filters.
    pub overrides: FilterOverrides,
    /// Headers that only the mesh itself may send.
    pub internal_only_headers: Vec<Arc<str>>,
    /// Bytes of a direct response's body at most.
    pub max_direct_response_body_size: u32,
}

impl RouteTable {
    /// The virtual host for an authority. A table on demand answers `Unknown` for an authority it
    /// holds nothing for.
    pub fn find_host(&self, authority: &str) -> Lookup<&Arc<VirtualHost>> {
        let host = if self.ignore_port { split_port(authority).0 } else { authority };
        let lower;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            lower.as_str()
        } else {
            host
        };
        match self.hosts.find(host) {
            Some(found) => Lookup::Found(found),
            None if self.on_demand => Lookup::Unknown(self.host_resource(host)),
            None => Lookup::Absent,
        }
    }

    /// The name under which one asks pilot for an authority's virtual host.
    pub fn host_resource(&self, authority: &str) -> ResourceName {
        ResourceName::new(TypeUrl::VirtualHost, format!("{}/{authority}", self.name))
    }

    /// The changes to a request's headers, in the order they are made.
    pub fn request_mutations<'a>(
        &'a self,
        matched: &Matched<'a>,
        cluster: Option<&'a WeightedCluster>,
    ) -> impl Iterator<Item = &'a HeaderMutations> {
        self.ordered([
            cluster.map(|cluster| &cluster.request_headers),
            Some(&matched.route.request_headers),
            Some(&matched.host.request_headers),
            Some(&self.request_headers),
        ])
    }

    /// The changes to a response's headers, in the order they are made.
    pub fn response_mutations<'a>(
        &'a self,
        matched: &Matched<'a>,
        cluster: Option<&'a WeightedCluster>,
    ) -> impl Iterator<Item = &'a HeaderMutations> {
        self.ordered([
            cluster.map(|cluster| &cluster.response_headers),
            Some(&matched.route.response_headers),
            Some(&matched.host.response_headers),
            Some(&self.response_headers),
        ])
    }

    /// The most specific change to a filter: of cluster, route, virtual host, table.
    pub fn filter_override<'a>(
        &'a self,
        filter: &str,
        matched: &Matched<'a>,
        cluster: Option<&'a WeightedCluster>,
    ) -> Option<&'a FilterOverride> {
        cluster
            .and_then(|cluster| cluster.overrides.get(filter))
            .or_else(|| matched.route.overrides.get(filter))
            .or_else(|| matched.host.overrides.get(filter))
            .or_else(|| self.overrides.get(filter))
    }

    fn ordered<'a>(
        &self,
        mut levels: [Option<&'a HeaderMutations>; 4],
    ) -> impl Iterator<Item = &'a HeaderMutations> {
        if self.most_specific_mutations_win {
            levels.reverse();
        }
        levels.into_iter().flatten().filter(|mutations| !mutations.is_empty())
    }
}

/// A domain is in two virtual hosts, or is not a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// It is in two of them.
    #[error("domain {domain:?} is in the virtual hosts {first:?} and {second:?}")]
    Duplicate {
        /// The domain.
        domain: Arc<str>,
        /// The first one.
        first: Arc<str>,
        /// The other one.
        second: Arc<str>,
    },
    /// A wildcard is inside.
    #[error("domain {0:?} has a wildcard that is neither at its start nor at its end")]
    Wildcard(Arc<str>),
}

/// Virtual hosts by domain: exact, then the longest `*suffix`, then the longest `prefix*`, then
/// `*`.
#[derive(Clone, Debug, Default)]
pub struct HostIndex {
    hosts: Vec<Arc<VirtualHost>>,
    exact: HashMap<Arc<str>, usize>,
    /// The longest first.
    suffixes: Vec<(Arc<str>, usize)>,
    /// The longest first.
    prefixes: Vec<(Arc<str>, usize)>,
    any: Option<usize>,
}

impl HostIndex {
    /// Indexes virtual hosts.
    ///
    /// # Errors
    /// When two of them have the same domain, or a domain has a wildcard inside.
    pub fn new(hosts: Vec<Arc<VirtualHost>>) -> Result<Self, DomainError> {
        let mut index = Self { hosts, ..Self::default() };
        let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
        for number in 0..index.hosts.len() {
            let host = Arc::clone(&index.hosts[number]);
            for domain in &host.domains {
                let domain: Arc<str> = domain.to_ascii_lowercase().into();
                if let Some(first) = seen.insert(Arc::clone(&domain), number) {
                    return Err(DomainError::Duplicate {
                        domain,
                        first: Arc::clone(&index.hosts[first].name),
                        second: Arc::clone(&host.name),
                    });
                }
                index.add(&domain, number)?;
            }
        }
        index.suffixes.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
        index.prefixes.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
        Ok(index)
    }

    /// The virtual host for a host in lower case.
    pub fn find(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        let longer = |part: &str| host.len() > part.len();
        let number = self
            .exact
            .get(host)
            .copied()
            .or_else(|| {
                let fits = |(part, _): &&(Arc<str>, usize)| longer(part) && host.ends_with(&**part);
                self.suffixes.iter().find(fits).map(|(_, number)| *number)
            })
            .or_else(|| {
                let fits =
                    |(part, _): &&(Arc<str>, usize)| longer(part) && host.starts_with(&**part);
                self.prefixes.iter().find(fits).map(|(_, number)| *number)
            })
            .or(self.any)?;
        self.hosts.get(number)
    }

    /// The virtual host that has this very host, in lower case, as a domain.
    pub fn find_exact(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        self.exact.get(host).and_then(|number| self.hosts.get(*number))
    }

    /// All virtual hosts, in the order pilot gave them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.hosts.iter()
    }

    fn add(&mut self, domain: &Arc<str>, number: usize) -> Result<(), DomainError> {
        if &**domain == "*" {
            self.any = Some(number);
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.push((plain(suffix, domain)?, number));
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.push((plain(prefix, domain)?, number));
        } else {
            self.exact.insert(plain(domain, domain)?, number);
        }
        Ok(())
    }
}

fn plain(part: &str, domain: &Arc<str>) -> Result<Arc<str>, DomainError> {
    if part.contains('*') {
        return Err(DomainError::Wildcard(Arc::clone(domain)));
    }
    Ok(part.into())
}
