//! details: what is printed on the back of the book.

mod external;

use std::time::Duration;

use http::{Method, StatusCode};
use mesh_rt::http_server::json;
use mesh_rt::process::Process;
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

pub use external::{BookService, ExternalError};

use crate::headers::forwarded;
use crate::server::{App, AppRequest, AppResponse, json_error, method_not_allowed};
use crate::settings::DetailsSettings;

/// The service.
#[derive(Debug)]
pub struct Details {
    /// Where v2 asks.
    external: Option<BookService>,
}

/// A book, as productpage shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Book {
    /// The product's number.
    pub id: i64,
    /// Who wrote it.
    pub author: Value,
    /// When: a number, or the outside service's date.
    pub year: Value,
    /// The binding.
    #[serde(rename = "type")]
    pub binding: String,
    /// How many pages.
    pub pages: Value,
    /// Who printed it.
    pub publisher: Value,
    /// The language's name.
    pub language: String,
    /// The old number.
    #[serde(rename = "ISBN-10")]
    pub isbn_10: Value,
    /// The new number.
    #[serde(rename = "ISBN-13")]
    pub isbn_13: Value,
}

impl Details {
    /// The service as its variables say.
    #[must_use]
    pub fn new(settings: DetailsSettings, process: &Process) -> Self {
        let external = settings.external.then(|| {
            let roots = (!settings.in_clear).then_some(settings.roots);
            BookService::google(roots, process.tasks.clone(), Duration::from_secs(5))
        });
        Self { external }
    }

    /// The service with an outside service of the caller's: for tests.
    #[must_use]
    pub fn with_external(service: BookService) -> Self {
        Self { external: Some(service) }
    }

    async fn book(&self, id: i64, request: &AppRequest) -> Result<Book, ExternalError> {
        match &self.external {
            Some(service) => service.fetch(id, forwarded(&request.headers)).await,
            None => Ok(printed(id)),
        }
    }
}

impl App for Details {
    async fn answer(&self, request: AppRequest) -> AppResponse {
        let segments = request.segments();
        let known = matches!(segments[..], ["health"] | ["details", ..]);
        if known && request.method != Method::GET {
            return method_not_allowed("GET");
        }
        match segments[..] {
            ["health"] => {
                json(StatusCode::OK, &serde_json::json!({"status": "Details is healthy"}))
            }
            ["details", ..] => {
                let Some(id) = segments.last().and_then(|id| id.parse().ok()) else {
                    let error = "please provide numeric product id";
                    return json_error(StatusCode::BAD_REQUEST, error);
                };
                match self.book(id, &request).await {
                    Ok(book) => json(StatusCode::OK, &book),
                    Err(error) => {
                        warn!("the outside book service: {error}");
                        json_error(StatusCode::BAD_REQUEST, &error.to_string())
                    }
                }
            }
            _ => json_error(StatusCode::NOT_FOUND, "not found"),
        }
    }
}

fn printed(id: i64) -> Book {
    Book {
        id,
        author: "William Shakespeare".into(),
        year: 1595.into(),
        binding: "paperback".to_owned(),
        pages: 200.into(),
        publisher: "PublisherA".into(),
        language: "English".to_owned(),
        isbn_10: "1234567890".into(),
        isbn_13: "123-1234567890".into(),
    }
}
