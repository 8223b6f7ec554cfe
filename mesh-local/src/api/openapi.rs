//! OpenAPI v3: the index and one document per group and version, made on demand and cached by
//! the definitions they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use local_model::crd::CompiledCrd;
use local_model::openapi;
use parking_lot::Mutex;

use super::body::{self, ResponseBody};
use super::error::{ApiError, Result};
use super::query::Query;
use super::registry::Rows;

/// How long a document asked for by its hash may be cached: for ever, more or less.
const CACHE: SignedDuration = SignedDuration::from_hours(365 * 24);

struct Document {
    content: Bytes,
    hash: String,
}

/// What a document was made from: a plural, and its definition unless it is builtin.
type Source = Vec<(String, Option<Arc<CompiledCrd>>)>;

/// The documents made so far, by path.
#[derive(Default)]
pub(crate) struct Documents {
    made: Mutex<BTreeMap<String, (Source, Arc<Document>)>>,
}

impl Documents {
    /// Answers `/openapi/v3` and what is below.
    pub(crate) fn serve(
        &self,
        rows: &Rows,
        rest: &[&str],
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response<ResponseBody>> {
        let (group, version) = match rest {
            [] => return Ok(body::json(StatusCode::OK, &self.index(rows))),
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return Err(ApiError::no_such_path()),
        };
        if rows.of(group, version).next().is_none() {
            return Err(ApiError::no_such_path());
        }
        let document = self.document(rows, group, version);
        Ok(answer(&document, &openapi::path(group, version), query, headers))
    }

    fn index(&self, rows: &Rows) -> serde_json::Value {
        let documents: Vec<(String, Arc<Document>)> = rows
            .groups
            .iter()
            .flat_map(|(group, versions)| versions.iter().map(move |version| (group, version)))
            .map(|(group, version)| {
                (openapi::path(group, version), self.document(rows, group, version))
            })
            .collect();
        openapi::root(documents.iter().map(|(path, doc)| (path.as_str(), doc.hash.as_str())))
    }

    fn document(&self, rows: &Rows, group: &str, version: &str) -> Arc<Document> {
        let resources: Vec<_> = rows.of(group, version).collect();
        let source: Source = resources
            .iter()
            .map(|r| (r.info.plural.clone(), r.definition().map(Arc::clone)))
            .collect();
        let path = openapi::path(group, version);
        if let Some((from, document)) = self.made.lock().get(&path)
            && same(from, &source)
        {
            return Arc::clone(document);
        }
        let served: Vec<_> = resources.iter().map(|resource| resource.served()).collect();
        let content = Bytes::from(openapi::document(group, version, &served).to_string());
        let hash = openapi::hash(&content);
        let document = Arc::new(Document { content, hash });
        self.made.lock().insert(path, (source, Arc::clone(&document)));
        document
    }
}

fn same(a: &Source, b: &Source) -> bool {
    let definitions = |a: &Option<Arc<CompiledCrd>>, b: &Option<Arc<CompiledCrd>>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && definitions(&a.1, &b.1))
}

fn answer(
    document: &Document,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Response<ResponseBody> {
    let etag = format!("\"{}\"", document.hash);
    let asked = query.get("hash");
    if asked.is_some_and(|hash| hash != document.hash) {
        let mut response = body::bytes(StatusCode::MOVED_PERMANENTLY, body::TEXT, "");
        let place = format!("/openapi/v3/{path}?hash={}", document.hash);
        if let Ok(place) = HeaderValue::from_str(&place) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        return response;
    }
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(etag.as_str()) {
        body::bytes(StatusCode::NOT_MODIFIED, body::JSON, "")
    } else {
        body::bytes(StatusCode::OK, body::JSON, document.content.clone())
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if asked.is_some() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = Timestamp::now().saturating_add(CACHE).unwrap_or(Timestamp::MAX);
        let expires = DateTimePrinter::new().timestamp_to_rfc9110_string(&expires);
        if let Some(expires) = expires.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::EXPIRES, expires);
        }
    }
    response
}
