//! Path items: the operations of one URL, as kubectl looks them up by kind and action.

use serde_json::{Map, Value, json};

use crate::builtin;
use crate::kind::Gvk;

/// What the operations of a path item act on.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) gvk: &'a Gvk,
    /// Name of the schema of request and response.
    pub(super) schema: &'a str,
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

impl Target<'_> {
    /// The path item of `path`, with an operation for each Kubernetes verb.
    pub(super) fn item(&self, path: &str, verbs: &[&str]) -> Value {
        let mut item = Map::new();
        for verb in verbs {
            let (method, action, parameters) = match *verb {
                "list" => ("get", "list", LIST),
                "create" => ("post", "post", WRITE),
                "deletecollection" => ("delete", "deletecollection", LIST),
                "get" => ("get", "get", &[][..]),
                "update" => ("put", "put", WRITE),
                "patch" => ("patch", "patch", PATCH),
                "delete" => ("delete", "delete", DELETE),
                _ => continue,
            };
            item.insert(method.to_owned(), self.operation(action, parameters));
        }
        let parameters = ["name", "namespace"]
            .iter()
            .filter(|name| path.contains(&format!("{{{name}}}")))
            .map(|name| {
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        item.insert("parameters".to_owned(), Value::Array(parameters));
        Value::Object(item)
    }

    /// kubectl picks its patch by this list; custom resources take no strategic ones.
    fn patch_types(&self) -> impl Iterator<Item = &'static str> {
        let strategic = builtin::find(self.gvk).map(|_| STRATEGIC_PATCH);
        [JSON_PATCH, MERGE_PATCH].into_iter().chain(strategic)
    }

    fn operation(&self, action: &str, parameters: &[(&str, &str, &str)]) -> Value {
        let Gvk { group, version, kind } = self.gvk;
        let reference = json!({"$ref": format!("#/components/schemas/{}", self.schema)});
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, kind, description)| {
                json!({
                    "name": name, "in": "query", "description": description,
                    "schema": {"type": kind, "uniqueItems": true},
                })
            })
            .collect();
        let mut operation = json!({
            "parameters": parameters,
            "responses": {"200": {
                "description": "OK",
                "content": {"application/json": {"schema": reference}},
            }},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        let body: Option<Map<String, Value>> = match action {
            "post" | "put" => {
                Some(Map::from_iter([("*/*".to_owned(), json!({"schema": reference}))]))
            }
            "patch" => Some(
                self.patch_types()
                    .map(|t| (t.to_owned(), json!({"schema": {"type": "object"}})))
                    .collect(),
            ),
            _ => None,
        };
        if let Some(content) = body {
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        operation
    }
}

type Parameter = (&'static str, &'static str, &'static str);

const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: Ignore drops them, Warn also sends a warning, \
     Strict refuses the request.",
);
const DRY_RUN: Parameter =
    ("dryRun", "string", "Do everything but persist the change. The only value is All.");
const FIELD_MANAGER: Parameter =
    ("fieldManager", "string", "A name for the actor that makes this change.");
const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = WRITE;
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds before the object is deleted."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background, Foreground."),
];
const LIST: &[Parameter] = &[
    ("labelSelector", "string", "Restricts the list by labels. Defaults to everything."),
    ("fieldSelector", "string", "Restricts the list by fields. Defaults to everything."),
    ("limit", "integer", "Most objects in one response."),
    ("continue", "string", "Where the previous response of a long list ended."),
    ("resourceVersion", "string", "The version that the answer must be at least as new as."),
    ("timeoutSeconds", "integer", "How long a list or watch may take."),
    ("watch", "boolean", "Answer with a stream of changes."),
];
