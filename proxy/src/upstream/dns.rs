//! Endpoints of STRICT_DNS and LOGICAL_DNS clusters: names resolved when they are first used and
//! again in the background, the last good answer kept when DNS fails.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_rt::tasks::Tasks;
use proxy_model::cluster::{DnsFamily, DnsSettings};
use proxy_model::endpoint::{Endpoint, EndpointAddress, EndpointSet, LocalityEndpoints};
use tokio::time::Instant;
use tracing::debug;

use super::transport::Resolver;

/// How long the first use waits for an answer.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two resolutions.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// The names of one cluster, and what they resolved to.
pub(super) struct Names {
    template: Arc<EndpointSet>,
    settings: DnsSettings,
    first_only: bool,
    resolver: Rc<dyn Resolver>,
    held: RefCell<Option<(Arc<EndpointSet>, Instant)>>,
    refreshing: Cell<bool>,
}

impl Names {
    /// The names in `template`. With `first_only` each gives one endpoint.
    pub(super) fn new(
        template: &Arc<EndpointSet>,
        settings: &DnsSettings,
        first_only: bool,
        resolver: &Rc<dyn Resolver>,
    ) -> Rc<Self> {
        Rc::new(Self {
            template: Arc::clone(template),
            settings: settings.clone(),
            first_only,
            resolver: Rc::clone(resolver),
            held: RefCell::default(),
            refreshing: Cell::new(false),
        })
    }

    /// The endpoints: held ones at once, otherwise after resolving.
    pub(super) async fn endpoints(self: &Rc<Self>, tasks: &Tasks) -> Option<Arc<EndpointSet>> {
        let held = self.held.borrow().clone();
        if let Some((set, until)) = held {
            if until <= Instant::now() && !self.refreshing.replace(true) {
                let names = Rc::clone(self);
                tasks.spawn_local_background("dns refresh", async move {
                    names.refresh().await;
                    names.refreshing.set(false);
                });
            }
            return Some(set);
        }
        self.refresh().await;
        self.held.borrow().as_ref().map(|(set, _)| Arc::clone(set))
    }

    async fn refresh(&self) {
        let mut set = EndpointSet::clone(&self.template);
        let mut any = false;
        for locality in set.priorities.iter_mut().flat_map(|priority| &mut priority.localities) {
            any |= self.resolve_locality(locality).await;
        }
        let until = Instant::now() + self.settings.refresh_rate.max(MIN_REFRESH);
        let mut held = self.held.borrow_mut();
        match held.as_mut() {
            // Names that no longer resolve keep what they had.
            Some((_, expires)) if !any => *expires = until,
            _ if any => *held = Some((Arc::new(set), until)),
            _ => {}
        }
    }

    async fn resolve_locality(&self, locality: &mut LocalityEndpoints) -> bool {
        let mut resolved = Vec::new();
        for endpoint in locality.endpoints.iter() {
            let EndpointAddress::Host { name, port } = &endpoint.address else {
                resolved.push(Arc::clone(endpoint));
                continue;
            };
            let answer = tokio::time::timeout(RESOLVE_TIMEOUT, self.resolver.resolve(name.clone()));
            let addresses = match answer.await {
                Ok(Ok(addresses)) => filter(addresses, self.settings.family),
                Ok(Err(error)) => {
                    debug!("{name} does not resolve: {error}");
                    continue;
                }
                Err(_) => {
                    debug!("{name} does not resolve: no answer within {RESOLVE_TIMEOUT:?}");
                    continue;
                }
            };
            let most = if self.first_only { 1 } else { usize::MAX };
            resolved.extend(addresses.into_iter().take(most).map(|address| {
                Arc::new(Endpoint {
                    address: EndpointAddress::Socket(SocketAddr::new(address, *port)),
                    hostname: endpoint.hostname.clone().or_else(|| Some(Arc::clone(name))),
                    ..Endpoint::clone(endpoint)
                })
            }));
        }
        let any = !resolved.is_empty();
        locality.endpoints = resolved.into();
        any
    }
}

fn filter(addresses: Vec<IpAddr>, family: DnsFamily) -> Vec<IpAddr> {
    let has_v4 = addresses.iter().any(IpAddr::is_ipv4);
    let has_v6 = addresses.iter().any(IpAddr::is_ipv6);
    let wanted = |address: &IpAddr| match family {
        DnsFamily::All => true,
        DnsFamily::V4Only => address.is_ipv4(),
        DnsFamily::V6Only => address.is_ipv6(),
        DnsFamily::Auto => address.is_ipv6() || !has_v6,
        DnsFamily::V4Preferred => address.is_ipv4() || !has_v4,
    };
    let mut kept: Vec<IpAddr> = addresses.into_iter().filter(wanted).collect();
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proxy_model::cluster::DnsFamily;

    use super::filter;

    #[test]
    fn families_are_chosen_as_the_cluster_says() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        for (family, both, only_v4) in [
            (DnsFamily::All, vec![v4, v6], vec![v4]),
            (DnsFamily::V4Only, vec![v4], vec![v4]),
            (DnsFamily::V6Only, vec![v6], vec![]),
            (DnsFamily::Auto, vec![v6], vec![v4]),
            (DnsFamily::V4Preferred, vec![v4], vec![v4]),
        ] {
            assert_eq!(filter(vec![v4, v6], family), both, "{family:?}");
            assert_eq!(filter(vec![v4], family), only_v4, "{family:?}");
        }
    }
}
