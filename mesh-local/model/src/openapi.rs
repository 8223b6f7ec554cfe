//! OpenAPI v3 documents: one per group and version, and the index of them.

mod operation;
mod schema;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::builtin::{self, Builtin};
use crate::kind::{KindInfo, Scope};

use self::operation::Target;

/// One kind that a document describes.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The row of the resource table.
    pub info: &'a KindInfo,
    /// Where its schema is.
    pub definition: Definition<'a>,
}

/// The schema of a kind.
#[derive(Clone, Copy, Debug)]
pub enum Definition<'a> {
    /// A builtin kind.
    Builtin(&'a Builtin),
    /// The `openAPIV3Schema` of a custom resource.
    Custom(&'a Value),
}

/// The key of a group and version in the index, which is also the URL below `/openapi/v3/`.
///
/// ```
/// assert_eq!(local_model::openapi::path("", "v1"), "api/v1");
/// assert_eq!(local_model::openapi::path("apps", "v1"), "apis/apps/v1");
/// ```
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The content hash of a serialized document: equal content, equal hash, so that clients may
/// cache by it for ever. It is also a good `ETag`.
pub fn hash(document: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(document) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// The index at `/openapi/v3`: for each document its [`path`] and its [`hash`].
///
/// ```
/// let root = local_model::openapi::root([("api/v1", "ABC")]);
/// assert_eq!(root["paths"]["api/v1"]["serverRelativeURL"], "/openapi/v3/api/v1?hash=ABC");
/// ```
pub fn root<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// The document of one group and version. `kinds` are those served at it; the bodies of builtin
/// subresources (`pods/eviction`, …) are added by themselves.
pub fn document(group: &str, version: &str, kinds: &[Served<'_>]) -> Value {
    let base = format!("/{}", path(group, version));
    let mut paths = Map::new();
    let mut schemas = schema::Schemas::default();
    for served in kinds {
        let name = schemas.add(served);
        add_paths(&base, served.info, &name, &mut paths);
        add_subresources(&base, served.info, &mut paths, &mut schemas);
    }
    // Kinds of this group that are bodies of another group's subresources.
    for body in builtin::subresource_kinds() {
        if body.info.gvk.group == group && body.info.gvk.version == version {
            schemas.builtin(body.definition);
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}

fn add_paths(base: &str, info: &KindInfo, name: &str, paths: &mut Map<String, Value>) {
    let target = Target { gvk: &info.gvk, schema: name };
    let mut add = |path: String, verbs: &[&str]| {
        let verbs: Vec<_> = verbs.iter().copied().filter(|v| info.verbs.contains(v)).collect();
        if !verbs.is_empty() {
            let item = target.item(&path, &verbs);
            paths.insert(path, item);
        }
    };
    let collection = collection_path(base, info);
    if namespaced(info) {
        add(format!("{base}/{}", info.plural), &["list"]);
    }
    add(collection.clone(), &["list", "create", "deletecollection"]);
    add(format!("{collection}/{{name}}"), &["get", "update", "patch", "delete"]);
    if info.status {
        add(format!("{collection}/{{name}}/status"), &["get", "update", "patch"]);
    }
}

fn add_subresources(
    base: &str,
    info: &KindInfo,
    paths: &mut Map<String, Value>,
    schemas: &mut schema::Schemas,
) {
    let collection = collection_path(base, info);
    for body in builtin::subresource_kinds() {
        let subresource = body.subresource.unwrap_or_default();
        let (plural, last) = subresource.split_once('/').unwrap_or_default();
        let scale = last == "scale" && info.scale.is_some();
        let core = info.gvk.group.is_empty() && plural == info.plural;
        if !scale && !core {
            continue;
        }
        let name = schemas.builtin(body.definition);
        let path = format!("{collection}/{{name}}/{last}");
        let item = Target { gvk: &body.info.gvk, schema: &name }.item(&path, &body.info.verbs);
        paths.insert(path, item);
    }
}

fn collection_path(base: &str, info: &KindInfo) -> String {
    let plural = &info.plural;
    if namespaced(info) {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    }
}

fn namespaced(info: &KindInfo) -> bool {
    info.scope == Scope::Namespaced
}
