//! One request about a resource, authenticated and resolved: what every handler works on.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use local_model::refusal::{Refusal, Subject};
use parking_lot::Mutex;

use super::identity::User;
use super::negotiate::{Encoding, Form};
use super::query::Query;
use super::registry::Resource;
use super::route::{ResourcePath, Verb};
use crate::store::ObjectKey;

/// A request about a resource.
pub(crate) struct Request {
    pub(crate) user: User,
    pub(crate) verb: Verb,
    pub(crate) path: ResourcePath,
    pub(crate) resource: Arc<Resource>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) form: Form,
    pub(crate) encoding: Encoding,
    /// The connection, for a request that asks to use it for something else.
    pub(crate) upgrade: Mutex<Option<OnUpgrade>>,
    /// Texts for `Warning` headers.
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl Request {
    /// Namespace and name in the path.
    pub(crate) fn key(&self) -> ObjectKey {
        self.resource.key(&self.path.namespace, &self.path.name)
    }

    /// The object in the path, as refusals name it.
    pub(crate) fn subject(&self) -> Subject {
        self.resource.subject(&self.path.name)
    }

    pub(crate) fn not_found(&self) -> Refusal {
        Refusal::not_found(self.subject())
    }

    /// Adds a `Warning` header to the response, once.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The media type of the body.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.headers.get(http::header::CONTENT_TYPE);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}
