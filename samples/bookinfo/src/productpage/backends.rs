//! What productpage asks the other services, how long it waits, and what it says instead.

use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use mesh_rt::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::{Value, json};
use tracing::warn;

use crate::client::Client;
use crate::settings::{ProductpageSettings, Upstream};

/// How long calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One call to any service.
    pub call: Duration,
    /// How often reviews is asked until it answers. Together with reviews' own patience this is
    /// the flaw that Istio's fault injection task uncovers.
    pub review_attempts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call: Duration::from_secs(3), review_attempts: 2 }
    }
}

/// What the page shows: an answer, or `{"error": …}` with the status that explains it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) json: Value,
}

impl Fetched {
    pub(super) fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    destination_app: &'static str,
    response_code: u16,
}

/// The services behind the page.
#[derive(Debug)]
pub(super) struct Backends {
    settings: ProductpageSettings,
    client: Client,
    limits: Limits,
    results: Family<ResultLabels, Counter>,
}

impl Backends {
    pub(super) fn new(
        settings: ProductpageSettings,
        client: Client,
        limits: Limits,
        metrics: &Metrics,
    ) -> Self {
        let results = Family::<ResultLabels, Counter>::default();
        metrics.register_unprefixed(|registry| {
            registry.register("request_result", "Results of requests", results.clone());
        });
        Self { settings, client, limits, results }
    }

    pub(super) fn settings(&self) -> &ProductpageSettings {
        &self.settings
    }

    pub(super) async fn details(&self, product: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.settings.details, product, headers, 1).await
    }

    pub(super) async fn reviews(&self, product: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.settings.reviews, product, headers, self.limits.review_attempts).await
    }

    pub(super) async fn ratings(&self, product: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.settings.ratings, product, headers, 1).await
    }

    /// Asks for reviews that nobody reads, all at once, if the settings say so.
    pub(super) async fn flood(&self, product: &str, headers: &HeaderMap) {
        let calls = (0..self.settings.flood_factor).map(|_| self.reviews(product, headers));
        join_all(calls).await;
    }

    /// Asks `upstream` for its resource of the same name until it answers 200.
    async fn fetch(
        &self,
        upstream: &Upstream,
        product: &str,
        headers: &HeaderMap,
        attempts: usize,
    ) -> Fetched {
        let path = format!("/{}/{product}", upstream.name);
        let mut status = StatusCode::INTERNAL_SERVER_ERROR;
        for _attempt in 0..attempts {
            match self.client.get(upstream, &path, headers.clone(), self.limits.call).await {
                Ok(answer) => match (answer.status, answer.json) {
                    (StatusCode::OK, Some(json)) => {
                        self.count(upstream, StatusCode::OK);
                        return Fetched { status: StatusCode::OK, json };
                    }
                    (StatusCode::OK, None) => status = StatusCode::INTERNAL_SERVER_ERROR,
                    (refused, _) => status = refused,
                },
                Err(error) => {
                    warn!("{error}");
                    status = StatusCode::INTERNAL_SERVER_ERROR;
                }
            }
        }
        self.count(upstream, status);
        let name = upstream.name;
        let error = format!("Sorry, product {name} are currently unavailable for this book.");
        Fetched { status, json: json!({ "error": error }) }
    }

    fn count(&self, upstream: &Upstream, status: StatusCode) {
        let labels =
            ResultLabels { destination_app: upstream.name, response_code: status.as_u16() };
        self.results.get_or_create(&labels).inc();
    }
}
