//! A request that ends in a `metav1.Status`: a refusal of ours, or a status from elsewhere.

use http::{HeaderValue, Response, StatusCode, header};
use local_model::refusal::{Reason, Refusal};
use serde_json::{Value, json};

use super::body::{self, ResponseBody};

/// The result of handling a request.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

/// Why a request was not served.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// A refusal.
    Refused(Box<Refusal>),
    /// A status with a code of its own, such as a webhook's.
    Status {
        /// HTTP code.
        code: u16,
        /// The `metav1.Status`.
        status: Box<Value>,
    },
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl ApiError {
    /// A refusal with one more cause that is not a field error.
    pub(crate) fn with_cause(refusal: &Refusal, reason: &str, message: &str, field: &str) -> Self {
        let mut status = refusal.to_status();
        let mut cause = json!({"reason": reason, "message": message});
        if !field.is_empty() {
            cause["field"] = json!(field);
        }
        match &mut status["details"]["causes"] {
            Value::Array(causes) => causes.push(cause),
            other => *other = json!([cause]),
        }
        Self::Status { code: refusal.code(), status: Box::new(status) }
    }

    /// The path leads nowhere.
    pub(crate) fn no_such_path() -> Self {
        Self::from(Refusal::new(
            Reason::NotFound,
            "the server could not find the requested resource",
        ))
    }

    /// The verb is not served here.
    pub(crate) fn method_not_allowed() -> Self {
        Self::from(Refusal::new(
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        ))
    }

    /// The reason, where it is one of ours.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason),
            Self::Status { .. } => None,
        }
    }

    /// The message for the user.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.message,
            Self::Status { status, .. } => status["message"].as_str().unwrap_or_default(),
        }
    }

    /// The response that the client sees.
    pub(crate) fn response(&self) -> Response<ResponseBody> {
        let (code, mut status) = match self {
            Self::Refused(refusal) => (refusal.code(), refusal.to_status()),
            Self::Status { code, status } => (*code, (**status).clone()),
        };
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = match code {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::GATEWAY_TIMEOUT => {
                status["details"]["retryAfterSeconds"] = json!(1);
                true
            }
            _ => false,
        };
        let mut response = body::json(code, &status);
        if retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
