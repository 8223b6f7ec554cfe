//! reviews: two reviews of the book; v2 and v3 add the stars that ratings knows.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mesh_rt::http_server::json;
use mesh_rt::process::Process;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

use crate::client::Client;
use crate::headers::forwarded_with_user;
use crate::server::{App, AppRequest, AppResponse, json_error, method_not_allowed};
use crate::settings::ReviewsSettings;

/// Who wrote what.
const REVIEWS: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "Two pairs of twins, one long afternoon and no end of mischief. I laughed out loud on the bus!",
    ),
    (
        "Reviewer2",
        "Quick, silly and great fun on a stage. Do not look for the depth of the later plays.",
    ),
];

/// What takes the place of the stars when there is no answer.
const NO_RATINGS: &str = "Ratings service is currently unavailable";

#[derive(Serialize)]
struct Page<'a> {
    id: String,
    podname: &'a str,
    clustername: &'a str,
    reviews: Vec<Review<'a>>,
}

#[derive(Serialize)]
struct Review<'a> {
    reviewer: &'static str,
    text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<Rating<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rating<'a> {
    Stars { stars: i64, color: &'a str },
    Error { error: &'static str },
}

/// The service.
#[derive(Debug)]
pub struct Reviews {
    settings: ReviewsSettings,
    client: Client,
    limit: Duration,
}

impl Reviews {
    /// The service as its variables say. With black stars it waits 10 s for ratings, with any
    /// other colour 2.5 s: what Istio's fault injection task turns on.
    #[must_use]
    pub fn new(settings: ReviewsSettings, process: &Process) -> Self {
        let limit =
            Duration::from_millis(if settings.star_color == "black" { 10_000 } else { 2_500 });
        let client = Client::new(&process.tasks, settings.keep_alive);
        Self { settings, client, limit }
    }

    /// The same with another limit for ratings.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The stars by reviewer; `None` when ratings gave no answer.
    async fn ratings(&self, product: i32, headers: HeaderMap) -> Option<Value> {
        let path = format!("/ratings/{product}");
        match self.client.get(&self.settings.ratings, &path, headers, self.limit).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                answer.json.as_ref().and_then(|json| json.get("ratings")).cloned()
            }
            Ok(answer) => {
                warn!(status = answer.status.as_u16(), "ratings refused");
                None
            }
            Err(error) => {
                warn!("{error}");
                None
            }
        }
    }

    async fn page(&self, product: i32, request: &AppRequest) -> AppResponse {
        let enabled = self.settings.ratings_enabled;
        let ratings = match enabled {
            true => self.ratings(product, forwarded_with_user(&request.headers)).await,
            false => None,
        };
        let color = &self.settings.star_color;
        let given = |reviewer| ratings.as_ref().and_then(|stars| stars.get(reviewer)?.as_i64());
        let rating = |reviewer| match given(reviewer) {
            Some(stars) => Rating::Stars { stars, color },
            None => Rating::Error { error: NO_RATINGS },
        };
        let review =
            |(reviewer, text)| Review { reviewer, text, rating: enabled.then(|| rating(reviewer)) };
        let page = Page {
            id: product.to_string(),
            podname: &self.settings.pod_name,
            clustername: &self.settings.cluster_name,
            reviews: REVIEWS.into_iter().map(review).collect(),
        };
        json(StatusCode::OK, &page)
    }
}

impl App for Reviews {
    async fn answer(&self, request: AppRequest) -> AppResponse {
        let segments = request.segments();
        let product = match segments[..] {
            ["health"] => None,
            ["reviews", product] => match product.parse::<i32>() {
                Ok(product) => Some(product),
                Err(_) => return json_error(StatusCode::NOT_FOUND, "not found"),
            },
            _ => return json_error(StatusCode::NOT_FOUND, "not found"),
        };
        if request.method != Method::GET {
            return method_not_allowed("GET");
        }
        match product {
            Some(product) => self.page(product, &request).await,
            None => json(StatusCode::OK, &serde_json::json!({"status": "Reviews is healthy"})),
        }
    }
}
