//! Whether a failed request is tried again, and when.

use std::time::Duration;

use crate::facts::RequestHead;
use crate::http::header::HeaderMatcher;

/// When a request is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// On which failures.
    pub on: RetryOn,
    /// Retries at most.
    pub num_retries: u32,
    /// How long one try may take; `None` is the route's time-out.
    pub per_try_timeout: Option<Duration>,
    /// How long one try may go without activity.
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses of `retriable-status-codes`.
    pub status_codes: Vec<u16>,
    /// Requests that are retried; empty for all.
    pub request_headers: Vec<HeaderMatcher>,
    /// Time before the first retry, doubled for each further one.
    pub base_interval: Duration,
    /// Time before a retry at most.
    pub max_interval: Duration,
    /// Choices of an endpoint before one is taken that the policy does not want.
    pub host_selection_attempts: u32,
    /// Whether endpoints that were tried are avoided.
    pub avoid_previous_hosts: bool,
    /// Whether priorities that were tried are avoided, after so many tries.
    pub avoid_previous_priorities: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            request_headers: Vec::new(),
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
            host_selection_attempts: 1,
            avoid_previous_hosts: false,
            avoid_previous_priorities: None,
        }
    }
}

/// A set of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

/// Name, bit.
const CONDITIONS: [(&str, u32); 14] = [
    ("5xx", RetryOn::SERVER_ERROR),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::STATUS_CODES),
    ("envoy-ratelimited", RetryOn::RATE_LIMITED),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

impl RetryOn {
    const SERVER_ERROR: u32 = 1;
    const GATEWAY_ERROR: u32 = 1 << 1;
    const RESET: u32 = 1 << 2;
    const RESET_BEFORE_REQUEST: u32 = 1 << 3;
    const CONNECT_FAILURE: u32 = 1 << 4;
    const RETRIABLE_4XX: u32 = 1 << 5;
    const REFUSED_STREAM: u32 = 1 << 6;
    const STATUS_CODES: u32 = 1 << 7;
    const RATE_LIMITED: u32 = 1 << 8;
    const CANCELLED: u32 = 1 << 9;
    const DEADLINE_EXCEEDED: u32 = 1 << 10;
    const INTERNAL: u32 = 1 << 11;
    const RESOURCE_EXHAUSTED: u32 = 1 << 12;
    const UNAVAILABLE: u32 = 1 << 13;

    /// Reads conditions joined by commas, and returns those it does not know.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut set = 0;
        let mut unknown = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match CONDITIONS.iter().find(|(known, _)| *known == name) {
                Some((_, bit)) => set |= bit,
                None => unknown.push(name),
            }
        }
        (Self(set), unknown)
    }

    /// Both sets.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has no condition.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// How one try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Response {
        /// Its status.
        status: u16,
        /// gRPC's status, if its headers have one.
        grpc_status: Option<u32>,
        /// Whether `x-envoy-ratelimited` is there.
        rate_limited: bool,
    },
    /// Without an answer.
    Reset(Reset),
    /// One try took too long.
    PerTryTimeout,
}

/// How a try ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The connection could not be made.
    ConnectFailure {
        /// Whether because of the connect time-out.
        timeout: bool,
    },
    /// The upstream refused the stream.
    RefusedStream,
    /// The upstream closed the connection or reset the stream.
    Remote {
        /// Whether bytes of the request were sent.
        request_sent: bool,
    },
    /// The upstream broke its protocol.
    Protocol,
    /// A circuit breaker is open.
    Overflow,
}

impl RetryPolicy {
    /// Whether requests with this head are retried at all.
    pub fn applies_to(&self, head: &RequestHead<'_>) -> bool {
        self.request_headers.is_empty()
            || self.request_headers.iter().any(|matcher| matcher.matches(head))
    }

    /// Whether a try that ended so is worth another one.
    pub fn retriable(&self, outcome: Outcome) -> bool {
        let on = self.on;
        match outcome {
            Outcome::Response { status, grpc_status, rate_limited } => {
                if rate_limited && !on.has(RetryOn::RATE_LIMITED) {
                    return false;
                }
                (rate_limited && on.has(RetryOn::RATE_LIMITED))
                    || (on.has(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
                    || (on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
                    || (on.has(RetryOn::RETRIABLE_4XX) && status == 409)
                    || (on.has(RetryOn::STATUS_CODES) && self.status_codes.contains(&status))
                    || grpc_status.is_some_and(|code| grpc_retriable(on, code))
            }
            // Envoy retries a reset for 5xx and gateway-error too: no answer is like a 503.
            Outcome::Reset(Reset::Overflow) => false,
            Outcome::Reset(reset) => {
                on.has(RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET)
                    || match reset {
                        Reset::ConnectFailure { .. } => {
                            on.has(RetryOn::CONNECT_FAILURE | RetryOn::RESET_BEFORE_REQUEST)
                        }
                        Reset::RefusedStream => on.has(RetryOn::REFUSED_STREAM),
                        Reset::Remote { request_sent } => {
                            !request_sent && on.has(RetryOn::RESET_BEFORE_REQUEST)
                        }
                        Reset::Protocol | Reset::Overflow => false,
                    }
            }
            Outcome::PerTryTimeout => {
                on.has(RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET)
            }
        }
    }

    /// How long to wait before the retry of this number, the first being 1: full jitter over an
    /// exponentially growing interval.
    pub fn backoff(&self, retry: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(retry.min(31)).unwrap_or(u32::MAX).saturating_sub(1);
        let most = self.base_interval.saturating_mul(factor.max(1)).min(self.max_interval);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(random % most)
    }
}

fn grpc_retriable(on: RetryOn, code: u32) -> bool {
    let bit = match code {
        1 => RetryOn::CANCELLED,
        4 => RetryOn::DEADLINE_EXCEEDED,
        8 => RetryOn::RESOURCE_EXHAUSTED,
        13 => RetryOn::INTERNAL,
        14 => RetryOn::UNAVAILABLE,
        _ => return false,
    };
    on.has(bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &str) -> RetryPolicy {
        let (on, unknown) = RetryOn::parse(on);
        assert!(unknown.is_empty(), "{unknown:?}");
        RetryPolicy { on, status_codes: vec![503], ..RetryPolicy::default() }
    }

    #[test]
    fn each_condition_has_its_failures() {
        let answer = |status| Outcome::Response { status, grpc_status: None, rate_limited: false };
        let grpc =
            |code| Outcome::Response { status: 200, grpc_status: Some(code), rate_limited: false };
        let closed = |request_sent| Outcome::Reset(Reset::Remote { request_sent });
        let connect = Outcome::Reset(Reset::ConnectFailure { timeout: false });
        let table = [
            ("5xx", answer(500), true),
            ("5xx", answer(499), false),
            ("5xx", closed(true), true),
            ("5xx", Outcome::PerTryTimeout, true),
            ("5xx", Outcome::Reset(Reset::Overflow), false),
            ("gateway-error", answer(500), false),
            ("gateway-error", answer(502), true),
            ("reset", closed(true), true),
            ("reset-before-request", closed(true), false),
            ("reset-before-request", closed(false), true),
            ("connect-failure", connect, true),
            ("connect-failure", closed(false), false),
            ("refused-stream", Outcome::Reset(Reset::RefusedStream), true),
            ("retriable-4xx", answer(409), true),
            ("retriable-status-codes", answer(503), true),
            ("retriable-status-codes", answer(502), false),
            ("unavailable,cancelled", grpc(14), true),
            ("unavailable", grpc(13), false),
            (
                "envoy-ratelimited",
                Outcome::Response { status: 429, grpc_status: None, rate_limited: true },
                true,
            ),
            (
                "5xx",
                Outcome::Response { status: 503, grpc_status: None, rate_limited: true },
                false,
            ),
        ];
        for (on, outcome, expected) in table {
            assert_eq!(policy(on).retriable(outcome), expected, "{on} {outcome:?}");
        }
        assert_eq!(RetryOn::parse("5xx, x").1, ["x"]);
    }

    #[test]
    fn the_wait_grows_and_is_bounded() {
        let policy = policy("5xx");
        assert_eq!(policy.backoff(1, 24_999), Duration::from_micros(24_999));
        assert_eq!(policy.backoff(1, 25_000), Duration::ZERO);
        assert_eq!(policy.backoff(2, 74_999), Duration::from_micros(74_999));
        assert_eq!(policy.backoff(40, 249_999), Duration::from_micros(249_999));
        assert_eq!(policy.backoff(40, 250_000), Duration::ZERO);
    }
}
