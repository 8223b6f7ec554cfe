//! A virtual host: its domains and routes.

use std::sync::Arc;

use crate::facts::RequestHead;
use crate::http::filter::FilterOverrides;
use crate::http::mutation::HeaderMutations;
use crate::http::retry::RetryPolicy;
use crate::http::route::Route;

/// A virtual host.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its name: `<host>:<port>`.
    pub name: Arc<str>,
    /// The version pilot gave it, or its table.
    pub version: Arc<str>,
    /// Its domains, in lower case.
    pub domains: Vec<Arc<str>>,
    /// Its routes; the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    /// Who is redirected to `https`.
    pub require_tls: RequireTls,
    /// Retries where the route says nothing.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Whether requests have `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// Whether responses have `x-envoy-attempt-count`.
    pub include_attempt_count_in_response: bool,
    /// Changes to requests' headers.
    pub request_headers: HeaderMutations,
    /// Changes to responses' headers.
    pub response_headers: HeaderMutations,
    /// Changes to filters.
    pub overrides: FilterOverrides,
    /// The object it was made from: `istio.config` of its metadata.
    pub config: Option<Arc<str>>,
}

/// Who is redirected to `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequireTls {
    /// Nobody.
    #[default]
    None,
    /// Clients from outside.
    ExternalOnly,
    /// Everybody.
    All,
}

/// A route that was found.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// Its virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Arc<Route>,
}

impl VirtualHost {
    /// The first route that takes a request. The random number decides about routes that take a
    /// share.
    pub fn find_route(&self, head: &RequestHead<'_>, random: u64) -> Option<Matched<'_>> {
        self.routes
            .iter()
            .find(|route| route.matching.matches(head, random))
            .map(|route| Matched { host: self, route })
    }
}
