//! Endpoints of STRICT_DNS and LOGICAL_DNS clusters: names resolved when they are first used and
//! again in the background, the last good answer kept when DNS fails.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mesh_rt::tasks::Tasks;
use proxy_model::cluster::{DnsFamily, DnsSettings};
use proxy_model::endpoint::{Endpoint, EndpointAddress, EndpointSet, LocalityEndpoints};
use tokio::time::Instant;
use tracing::debug;

use super::transport::Resolver;
use crate::dns::lookup::Resolved;

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
    /// What each name last resolved to; a name that no longer resolves keeps it.
    last: RefCell<HashMap<Arc<str>, Vec<IpAddr>>>,
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
            last: RefCell::default(),
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
        let mut wanted: Vec<Arc<str>> = Vec::new();
        for endpoint in self.template.endpoints() {
            if let EndpointAddress::Host { name, .. } = &endpoint.address
                && !wanted.contains(name)
            {
                wanted.push(Arc::clone(name));
            }
        }
        let mut ttl: Option<Duration> = None;
        let asked = wanted.into_iter().map(async |name| {
            let answer = self.ask(&name).await;
            (name, answer)
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        while let Some((name, answer)) = asked.next().await {
            let Some(answer) = answer else { continue };
            if let Some(own) = answer.ttl.filter(|_| self.settings.respect_ttl) {
                ttl = Some(ttl.map_or(own, |least| least.min(own)));
            }
            self.last.borrow_mut().insert(name, answer.addresses);
        }
        let mut set = EndpointSet::clone(&self.template);
        for locality in set.priorities.iter_mut().flat_map(|priority| &mut priority.localities) {
            self.fill(locality);
        }
        let until = Instant::now() + ttl.unwrap_or(self.settings.refresh_rate).max(MIN_REFRESH);
        // Without any endpoint the next use asks again.
        let any = set.endpoints().next().is_some();
        *self.held.borrow_mut() = any.then(|| (Arc::new(set), until));
    }

    /// The addresses of a name, of the families that are wanted; `None` when there are none.
    async fn ask(&self, name: &Arc<str>) -> Option<Resolved> {
        let answer = tokio::time::timeout(RESOLVE_TIMEOUT, self.resolver.resolve(name.clone()));
        match answer.await {
            Ok(Ok(Resolved { addresses, ttl })) => {
                let addresses = filter(addresses, self.settings.family);
                (!addresses.is_empty()).then_some(Resolved { addresses, ttl })
            }
            Ok(Err(error)) => {
                debug!("{name} does not resolve: {error}");
                None
            }
            Err(_) => {
                debug!("{name} does not resolve: no answer within {RESOLVE_TIMEOUT:?}");
                None
            }
        }
    }

    /// Puts addresses in the place of names.
    fn fill(&self, locality: &mut LocalityEndpoints) {
        let last = self.last.borrow();
        let mut resolved = Vec::new();
        for endpoint in locality.endpoints.iter() {
            let EndpointAddress::Host { name, port } = &endpoint.address else {
                resolved.push(Arc::clone(endpoint));
                continue;
            };
            let addresses = last.get(name).map(Vec::as_slice).unwrap_or_default();
            let most = if self.first_only { 1 } else { usize::MAX };
            resolved.extend(addresses.iter().take(most).map(|address| {
                Arc::new(Endpoint {
                    address: EndpointAddress::Socket(SocketAddr::new(*address, *port)),
                    hostname: endpoint.hostname.clone().or_else(|| Some(Arc::clone(name))),
                    ..Endpoint::clone(endpoint)
                })
            }));
        }
        locality.endpoints = resolved.into();
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
mod tests;
