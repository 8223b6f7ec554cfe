//! Get and list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use local_model::refusal::{Reason, Refusal};
use local_model::selector::{Fields, Labels};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::ResponseBody;
use super::error::Result;
use super::query::ListOptions;
use super::render::{self, ListMeta};
use super::request::Request;
use super::server::Server;
use crate::store::{Listing, ObjectKey, Selection};

/// Which objects a list or watch is about.
#[derive(Clone)]
pub(crate) struct Filter {
    namespace: String,
    labels: Labels,
    fields: Fields,
}

impl Filter {
    pub(crate) fn new(request: &Request, options: &ListOptions) -> Result<Self> {
        let resource = &request.resource;
        let fields =
            Fields::parse(&resource.info.gvk, resource.selectable(), &options.field_selector)?;
        let labels = Labels::parse(&options.label_selector)?;
        // A name in the path selects it, as older clients watch single objects.
        let namespace =
            if resource.namespaced() { request.path.namespace.clone() } else { String::new() };
        Ok(Self { namespace, labels, fields })
    }

    /// Whether an object, in the form of the requested version, is meant.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace.as_str())
            && self.labels.matches_object(object)
            && self.fields.matches(object)
    }

    pub(crate) fn selective(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Reads what matches, in the form of the requested version, from the store.
    pub(crate) fn list(
        &self,
        server: &Server,
        request: &Request,
        after: Option<&ObjectKey>,
    ) -> Listing {
        let resource = &request.resource;
        let namespace = Some(self.namespace.as_str()).filter(|n| !n.is_empty());
        let listing =
            server.store.list(&resource.storage, &Selection { namespace, after, limit: 0 });
        let items = listing
            .items
            .iter()
            .map(|object| resource.present(object))
            .filter(|object| self.matches(object))
            .collect();
        Listing { items, ..listing }
    }
}

/// Answers one object.
pub(crate) fn get(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let object = server
        .store
        .get(&request.resource.storage, &request.key())
        .ok_or_else(|| request.not_found())?;
    check_version(server, request.query.get("resourceVersion"))?;
    Ok(render::object(request, StatusCode::OK, &request.resource.present(&object)))
}

/// Answers a list, or a page of one.
pub(crate) fn list(server: &Server, request: &Request) -> Result<Response<ResponseBody>> {
    let options = ListOptions::from_query(&request.query, false)?;
    let filter = Filter::new(request, &options)?;
    let token = options.continue_token.as_deref().map(Continue::decode).transpose()?;
    check_version(server, options.resource_version.as_deref())?;
    let after = token.as_ref().map(|token| ObjectKey::new(&token.namespace, &token.name));
    let Listing { mut items, revision, .. } = filter.list(server, request, after.as_ref());
    if options.version_match.as_deref() == Some("Exact") {
        check_exact(server, request, options.resource_version.as_deref())?;
    }
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    if let Some(token) = token {
        // Later pages keep the first page's revision: a watch from there repeats what changed
        // between the pages and misses nothing, as long as those changes are still kept.
        let mut watcher = server.store.watch(&request.resource.storage, token.revision);
        if watcher.poll().is_err() {
            return Err(Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter.",
            )
            .into());
        }
        meta.revision = token.revision;
    }
    if options.limit > 0 && items.len() > options.limit {
        let left = items.len() - options.limit;
        items.truncate(options.limit);
        meta.remaining = (!filter.selective()).then_some(left);
        meta.continue_token = items.last().map(|last| Continue::after(last, meta.revision));
    }
    Ok(render::list(request, &items, &meta))
}

/// Every object that a list with the request's selectors means.
pub(crate) fn matching(server: &Server, request: &Request) -> Result<Vec<Arc<Value>>> {
    let options = ListOptions::from_query(&request.query, false)?;
    Ok(Filter::new(request, &options)?.list(server, request, None).items)
}

/// Refuses a revision from the future, which no wait of ours can reach.
pub(crate) fn check_version(server: &Server, wanted: Option<&str>) -> Result<()> {
    let wanted = parse_version(wanted)?;
    let current = server.store.revision();
    if wanted > current {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let refusal = Refusal::new(Reason::Timeout, message);
        return Err(super::error::ApiError::with_cause(
            &refusal,
            "ResourceVersionTooLarge",
            "Too large resource version",
            "",
        ));
    }
    Ok(())
}

/// Reads a `resourceVersion` option; absent and `0` are 0.
pub(crate) fn parse_version(text: Option<&str>) -> Result<u64> {
    text.map_or(Ok(0), |text| {
        text.parse().map_err(|_| {
            Refusal::bad_request(format!(
                "Invalid value: {text:?}: resourceVersion must be a number"
            ))
            .into()
        })
    })
}

fn check_exact(server: &Server, request: &Request, wanted: Option<&str>) -> Result<()> {
    let wanted = parse_version(wanted)?;
    let last = server.store.resource_revision(&request.resource.storage);
    if last > wanted {
        let message = "The resourceVersion for the provided list is too old.";
        return Err(Refusal::expired(message).into());
    }
    Ok(())
}

/// Where the next page of a list starts.
#[derive(Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: u64,
    #[serde(rename = "ns")]
    namespace: String,
    #[serde(rename = "n")]
    name: String,
}

impl Continue {
    fn after(object: &Value, revision: u64) -> String {
        let part = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let token = Self { revision, namespace: part("namespace"), name: part("name") };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str) -> std::result::Result<Self, Refusal> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| {
                Refusal::bad_request(
                    "continue key is not valid: it was not given out by this server",
                )
            })
    }
}
