//! ratings: how many stars each reviewer gave, kept in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use mesh_rt::backoff::jitter;
use mesh_rt::http_server::json;
use mesh_rt::settings::Settings;
use parking_lot::Mutex;
use serde_json::{Value, json as value};
use tokio::time::Instant;

use crate::server::{App, AppRequest, AppResponse, json_error, method_not_allowed};

/// How many products can be rated; a further one is refused.
const PRODUCTS: usize = 1000;

/// The variant of the service, by `SERVICE_VERSION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// `v1` and any other: answers.
    #[default]
    Plain,
    /// `v2`: keeps its data in a database, which this sample does not bring along.
    Database,
    /// `v-faulty`: fails half of the requests.
    Faulty,
    /// `v-delayed`: answers half of the requests after 7 s.
    Delayed,
    /// `v-unavailable`: fails every second minute.
    Unavailable,
    /// `v-unhealthy`: fails, and says so to probes, every second quarter of an hour.
    Unhealthy,
}

/// What becomes of one request for ratings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answer,
    AnswerAfter(Duration),
    Fail,
}

impl Variant {
    /// Reads `SERVICE_VERSION`.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        match settings.optional("SERVICE_VERSION").as_deref() {
            Some("v2") => Self::Database,
            Some("v-faulty") => Self::Faulty,
            Some("v-delayed") => Self::Delayed,
            Some("v-unavailable") => Self::Unavailable,
            Some("v-unhealthy") => Self::Unhealthy,
            _ => Self::Plain,
        }
    }

    /// Decides a request at `age` of the process; `coin` is random in `0.0..1.0`.
    fn fate(self, age: Duration, coin: f64) -> Fate {
        let heads = coin <= 0.5;
        match self {
            Self::Faulty if heads => Fate::Fail,
            Self::Delayed if heads => Fate::AnswerAfter(Duration::from_secs(7)),
            Self::Unavailable if odd_period(age, Duration::from_secs(60)) => Fate::Fail,
            Self::Unhealthy if odd_period(age, UNHEALTHY) => Fate::Fail,
            _ => Fate::Answer,
        }
    }

    fn is_healthy(self, age: Duration) -> bool {
        self != Self::Unhealthy || !odd_period(age, UNHEALTHY)
    }
}

/// Longer than the ten minutes after which Kubernetes forgets a pod's restarts.
const UNHEALTHY: Duration = Duration::from_secs(15 * 60);

fn odd_period(age: Duration, period: Duration) -> bool {
    (age.as_secs() / period.as_secs()) % 2 == 1
}

/// The service.
#[derive(Debug)]
pub struct Ratings {
    variant: Variant,
    started: Instant,
    posted: Mutex<BTreeMap<i64, Value>>,
}

impl Ratings {
    /// A service without posted ratings.
    #[must_use]
    pub fn new(variant: Variant) -> Self {
        Self { variant, started: Instant::now(), posted: Mutex::default() }
    }

    async fn get(&self, product: i64) -> AppResponse {
        if self.variant == Variant::Database {
            let error = "could not connect to ratings database";
            return json_error(StatusCode::INTERNAL_SERVER_ERROR, error);
        }
        match self.variant.fate(self.started.elapsed(), jitter()) {
            Fate::Answer => {}
            Fate::AnswerAfter(delay) => tokio::time::sleep(delay).await,
            Fate::Fail => {
                return json_error(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable");
            }
        }
        self.stored(product)
    }

    fn post(&self, product: i64, body: &[u8]) -> AppResponse {
        let Ok(ratings) = serde_json::from_slice::<Value>(body) else {
            return json_error(StatusCode::BAD_REQUEST, "please provide valid ratings JSON");
        };
        if self.variant == Variant::Database {
            let error = "Post not implemented for database backed ratings";
            return json_error(StatusCode::NOT_IMPLEMENTED, error);
        }
        {
            let mut posted = self.posted.lock();
            if posted.len() >= PRODUCTS && !posted.contains_key(&product) {
                let error = "too many products are rated already";
                return json_error(StatusCode::INSUFFICIENT_STORAGE, error);
            }
            posted.insert(product, ratings);
        }
        self.stored(product)
    }

    fn stored(&self, product: i64) -> AppResponse {
        let posted = self.posted.lock().get(&product).cloned();
        let ratings = posted.unwrap_or_else(|| value!({"Reviewer1": 5, "Reviewer2": 4}));
        json(StatusCode::OK, &value!({"id": product, "ratings": ratings}))
    }

    fn health(&self) -> AppResponse {
        if self.variant.is_healthy(self.started.elapsed()) {
            json(StatusCode::OK, &value!({"status": "Ratings is healthy"}))
        } else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            json(status, &value!({"status": "Ratings is not healthy"}))
        }
    }
}

impl App for Ratings {
    async fn answer(&self, request: AppRequest) -> AppResponse {
        match (request.segments().as_slice(), &request.method) {
            (["health"], &Method::GET) => self.health(),
            (["health"], _) => method_not_allowed("GET"),
            (["ratings", rest @ ..], method @ (&Method::GET | &Method::POST)) => {
                let Some(product) = rest.last().and_then(|last| leading_number(last)) else {
                    let error = "please provide numeric product ID";
                    return json_error(StatusCode::BAD_REQUEST, error);
                };
                if method == Method::POST {
                    self.post(product, &request.body)
                } else {
                    self.get(product).await
                }
            }
            (["ratings", ..], _) => method_not_allowed("GET,POST"),
            _ => json_error(StatusCode::NOT_FOUND, "not found"),
        }
    }
}

/// The number a text begins with: `7abc` is 7, as in the original.
fn leading_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    text[..text.len() - digits.len() + length].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, number) in [("0", Some(0)), ("-3", Some(-3)), ("7abc", Some(7))] {
            assert_eq!(leading_number(text), number, "{text}");
        }
        for text in ["", "abc", "-", "٣", "é1", "99999999999999999999"] {
            assert_eq!(leading_number(text), None, "{text}");
        }
    }

    #[test]
    fn fates() {
        let (zero, minute) = (Duration::ZERO, Duration::from_secs(60));
        let table = [
            (Variant::Plain, zero, 0.1, Fate::Answer),
            (Variant::Faulty, zero, 0.1, Fate::Fail),
            (Variant::Faulty, zero, 0.9, Fate::Answer),
            (Variant::Delayed, zero, 0.1, Fate::AnswerAfter(Duration::from_secs(7))),
            (Variant::Delayed, zero, 0.9, Fate::Answer),
            (Variant::Unavailable, zero, 0.1, Fate::Answer),
            (Variant::Unavailable, minute, 0.1, Fate::Fail),
            (Variant::Unavailable, 2 * minute, 0.1, Fate::Answer),
            (Variant::Unhealthy, 14 * minute, 0.1, Fate::Answer),
            (Variant::Unhealthy, 15 * minute, 0.1, Fate::Fail),
            (Variant::Unhealthy, 30 * minute, 0.1, Fate::Answer),
        ];
        for (variant, age, coin, fate) in table {
            assert_eq!(variant.fate(age, coin), fate, "{variant:?} at {age:?}");
        }
        assert!(!Variant::Unhealthy.is_healthy(15 * minute));
        assert!(Variant::Unavailable.is_healthy(minute));
    }
}
