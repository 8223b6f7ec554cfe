//! A refused request: one type that becomes a `metav1.Status`, worded as the Kubernetes API does.

use serde_json::{Value, json};

use crate::field::FieldError;

/// `reason` of a `metav1.Status`, with its HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are Kubernetes' own.
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
}

impl Reason {
    /// The HTTP status code that goes with this reason.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// Which object a refusal is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind (for validation) or plural resource (for all else), as Kubernetes fills it.
    pub kind: String,
    /// Object name; may be empty.
    pub name: String,
}

impl Subject {
    /// A subject by group, kind or resource, and name.
    pub fn new(group: &str, kind: &str, name: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// `deployments.apps`, `pods`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }
}

/// A refused request. The caller sees it as a `metav1.Status`; retry only on
/// [`Reason::Conflict`] (after reading again), [`Reason::TooManyRequests`] and 5xx.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Machine-readable reason; decides the HTTP code.
    pub reason: Reason,
    /// What the user reads.
    pub message: String,
    /// The object meant, where there is one.
    pub subject: Option<Box<Subject>>,
    /// Field errors, each a cause of the status.
    pub causes: Vec<FieldError>,
}

impl Refusal {
    /// A refusal with a message of its own.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), subject: None, causes: Vec::new() }
    }

    /// Adds the object meant.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(Box::new(subject));
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 404 for one object; `subject.kind` is the plural resource.
    pub fn not_found(subject: Subject) -> Self {
        let message = format!("{} {:?} not found", subject.qualified(), subject.name);
        Self::new(Reason::NotFound, message).about(subject)
    }

    /// 409 for a name that is taken.
    pub fn already_exists(subject: Subject) -> Self {
        let message = format!("{} {:?} already exists", subject.qualified(), subject.name);
        Self::new(Reason::AlreadyExists, message).about(subject)
    }

    /// 409 for a stale resource version or a failed precondition.
    pub fn conflict(subject: Subject, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: {why}",
            subject.qualified(),
            subject.name
        );
        Self::new(Reason::Conflict, message).about(subject)
    }

    /// 403.
    pub fn forbidden(subject: Subject, why: &str) -> Self {
        let message = if subject.name.is_empty() {
            format!("{} is forbidden: {why}", subject.qualified())
        } else {
            format!("{} {:?} is forbidden: {why}", subject.qualified(), subject.name)
        };
        Self::new(Reason::Forbidden, message).about(subject)
    }

    /// 422 with every field that is wrong; `subject.kind` is the kind.
    pub fn invalid(subject: Subject, causes: Vec<FieldError>) -> Self {
        let list = match causes.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.to_string(),
            many => {
                let all: Vec<_> = many.iter().map(ToString::to_string).collect();
                format!("[{}]", all.join(", "))
            }
        };
        let message = format!("{} {:?} is invalid: {list}", subject.qualified(), subject.name);
        Self { causes, ..Self::new(Reason::Invalid, message).about(subject) }
    }

    /// 410 for a resource version that is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.reason.code()
    }

    /// The `metav1.Status` that the caller receives.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": format!("{:?}", self.reason),
            "code": self.code(),
        });
        let mut details = serde_json::Map::new();
        if let Some(subject) = &self.subject {
            for (key, text) in
                [("name", &subject.name), ("group", &subject.group), ("kind", &subject.kind)]
            {
                if !text.is_empty() {
                    details.insert(key.to_owned(), json!(text));
                }
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                json!({
                    "reason": cause.kind.reason(),
                    "message": cause.body(),
                    "field": cause.field.to_string(),
                })
            });
            details.insert("causes".to_owned(), causes.collect());
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}
