//! A route: which requests, and what happens to them.

use std::sync::Arc;

use crate::facts::RequestHead;
use crate::http::action::Action;
use crate::http::filter::{FilterOverrides, Percentage};
use crate::http::header::HeaderMatcher;
use crate::http::mutation::HeaderMutations;
use crate::http::path::PathMatch;
use crate::http::query::QueryMatcher;

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Which requests.
    pub matching: RouteMatch,
    /// What happens to them.
    pub action: Action,
    /// The object it was made from: `istio.config` of its metadata.
    pub config: Option<Arc<str>>,
    /// The operation's name in spans and `x-envoy-decorator-operation`.
    pub decorator: Option<Arc<str>>,
    /// Changes to the request's headers.
    pub request_headers: HeaderMutations,
    /// Changes to the response's headers.
    pub response_headers: HeaderMutations,
    /// Changes to filters.
    pub overrides: FilterOverrides,
    /// Prefix of its metrics' names.
    pub stat_prefix: Option<Arc<str>>,
}

/// Which requests a route takes.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// All of these headers.
    pub headers: Vec<HeaderMatcher>,
    /// All of these query parameters.
    pub query: Vec<QueryMatcher>,
    /// Whether gRPC only.
    pub grpc: bool,
    /// A share of the requests that match; the others go on to later routes.
    pub fraction: Option<Percentage>,
}

impl RouteMatch {
    /// Whether it takes a request.
    pub fn matches(&self, head: &RequestHead<'_>, random: u64) -> bool {
        (!self.grpc || head.is_grpc)
            && self.fraction.is_none_or(|fraction| fraction.hits(random))
            && self.path.matches(head)
            && self.headers.iter().all(|header| header.matches(head))
            && self.query.iter().all(|parameter| parameter.matches(head.query()))
    }
}
