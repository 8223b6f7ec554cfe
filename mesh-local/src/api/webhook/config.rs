//! Webhook configurations, and whether a webhook is meant by a write.

use std::time::Duration;

use kube_cel::{
    AdmissionRequest, GroupVersionKind, GroupVersionResource, VapEvaluator, VapExpression,
};
use local_model::refusal::Refusal;
use local_model::selector::Labels;
use serde_json::{Value, json};

use crate::api::admission::{Operation, Review};
use crate::api::error::Result;
use crate::api::metadata::strings;
use crate::api::registry::Resource;
use crate::api::server::Server;
use crate::store::{ObjectKey, ResourceKey, Selection};

const GROUP: &str = "admissionregistration.k8s.io";
const DEFAULT_TIMEOUT: u64 = 10;
const LONGEST_TIMEOUT: u64 = 30;

/// One webhook of a configuration.
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) mutating: bool,
    pub(super) reinvoke: bool,
    pub(super) dry_run_safe: bool,
    pub(super) timeout: Duration,
    pub(super) client: Value,
    fail: bool,
    equivalent: bool,
    rules: Vec<Rule>,
    namespaces: Option<Labels>,
    objects: Option<Labels>,
    conditions: Vec<(String, String)>,
}

struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// The version in which a webhook is shown the object.
pub(super) struct Target {
    pub(super) version: String,
    pub(super) api_version: String,
}

impl Target {
    /// The object in the webhook's version.
    pub(super) fn show(&self, object: &Value) -> Value {
        let mut shown = object.clone();
        if shown["apiVersion"] != self.api_version.as_str() {
            shown["apiVersion"] = json!(self.api_version);
        }
        shown
    }

    /// Puts a patched object back into the version of the request; its identity stays.
    pub(super) fn restore(
        &self,
        patched: &mut Value,
        original: &Value,
    ) -> std::result::Result<(), String> {
        if !patched["metadata"].is_object() {
            return Err("the patch does not leave an object with metadata".to_owned());
        }
        for key in ["apiVersion", "kind"] {
            patched[key] = original[key].clone();
        }
        for key in ["name", "namespace", "uid", "creationTimestamp", "generateName"] {
            match original["metadata"].get(key) {
                Some(value) => patched["metadata"][key] = value.clone(),
                None => {
                    if let Some(metadata) = patched["metadata"].as_object_mut() {
                        metadata.remove(key);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The mutating webhooks in order, if the write is open to them at all.
pub(super) fn mutating(server: &Server, review: &Review<'_>, _: Option<&Value>) -> Vec<Hook> {
    load(server, review, "mutatingwebhookconfigurations", true)
}

/// The validating webhooks in order, if the write is open to them at all.
pub(super) fn validating(server: &Server, review: &Review<'_>, _: Option<&Value>) -> Vec<Hook> {
    load(server, review, "validatingwebhookconfigurations", false)
}

fn load(server: &Server, review: &Review<'_>, plural: &str, mutating: bool) -> Vec<Hook> {
    // No webhook may lock itself in.
    if review.request.resource.info.gvk.group == GROUP {
        return Vec::new();
    }
    let key = ResourceKey::new(GROUP, plural);
    let configurations = server.store.list(&key, &Selection::default()).items;
    configurations
        .iter()
        .flat_map(|configuration| configuration["webhooks"].as_array().into_iter().flatten())
        .map(|webhook| Hook::read(webhook, mutating))
        .collect()
}

impl Hook {
    fn read(webhook: &Value, mutating: bool) -> Self {
        let text = |key: &str| webhook[key].as_str().unwrap_or_default();
        let list = |value: &Value| -> Vec<String> {
            strings(value).into_iter().map(str::to_owned).collect()
        };
        let rules = webhook["rules"].as_array().into_iter().flatten().map(|rule| Rule {
            operations: list(&rule["operations"]),
            groups: list(&rule["apiGroups"]),
            versions: list(&rule["apiVersions"]),
            resources: list(&rule["resources"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        });
        let conditions = webhook["matchConditions"].as_array().into_iter().flatten().map(|c| {
            let part = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
            (part("name"), part("expression"))
        });
        let timeout = webhook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT);
        Self {
            name: text("name").to_owned(),
            mutating,
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
            dry_run_safe: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(timeout.clamp(1, LONGEST_TIMEOUT)),
            client: webhook["clientConfig"].clone(),
            fail: text("failurePolicy") != "Ignore",
            equivalent: text("matchPolicy") != "Exact",
            rules: rules.collect(),
            namespaces: Labels::from_selector(&webhook["namespaceSelector"]).ok(),
            objects: Labels::from_selector(&webhook["objectSelector"]).ok(),
            conditions: conditions.collect(),
        }
    }

    /// A call that failed: an error where the webhook's policy is to fail.
    pub(super) fn failed(&self, why: &str) -> Result<()> {
        if self.fail {
            let message = format!("failed calling webhook {:?}: {why}", self.name);
            return Err(Refusal::internal(message).into());
        }
        tracing::warn!(webhook = %self.name, %why, "a webhook failed and is ignored");
        Ok(())
    }

    /// Whether the write is for this webhook, and in which version it is shown.
    pub(super) fn target(
        &self,
        server: &Server,
        review: &Review<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Target>> {
        let resource = &review.request.resource;
        let Some(version) = self.version(server, review) else { return Ok(None) };
        if !self.namespace_matches(server, review, object) || !self.object_matches(review, object) {
            return Ok(None);
        }
        if !self.conditions_match(review, object)? {
            return Ok(None);
        }
        let group = &resource.info.gvk.group;
        let api_version =
            if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        Ok(Some(Target { version, api_version }))
    }

    /// The version a rule names: the request's own, or else another that is served.
    fn version(&self, server: &Server, review: &Review<'_>) -> Option<String> {
        let resource = &review.request.resource;
        let matches =
            |version: &str| self.rules.iter().any(|rule| rule.matches(review, resource, version));
        let own = &resource.info.gvk.version;
        if matches(own) {
            return Some(own.clone());
        }
        if !self.equivalent {
            return None;
        }
        let rows = server.registry.rows();
        let (_, versions) = rows.groups.iter().find(|(g, _)| *g == resource.info.gvk.group)?;
        versions
            .iter()
            .filter(|version| {
                rows.find(&resource.info.gvk.group, version, &resource.info.plural).is_some()
            })
            .find(|version| matches(version))
            .cloned()
    }

    fn namespace_matches(
        &self,
        server: &Server,
        review: &Review<'_>,
        object: Option<&Value>,
    ) -> bool {
        let Some(selector) = &self.namespaces else { return false };
        let resource = &review.request.resource;
        if selector.is_empty() {
            return true;
        }
        if resource.storage.group.is_empty() && &*resource.storage.resource == "namespaces" {
            let namespace = object.or(review.old.map(|old| &**old));
            return namespace.is_none_or(|namespace| selector.matches_object(namespace));
        }
        if !resource.namespaced() {
            return true;
        }
        let key = ObjectKey::new("", &review.request.path.namespace);
        let namespace = server.store.get(&ResourceKey::new("", "namespaces"), &key);
        namespace.is_some_and(|namespace| selector.matches_object(&namespace))
    }

    fn object_matches(&self, review: &Review<'_>, object: Option<&Value>) -> bool {
        let Some(selector) = &self.objects else { return false };
        selector.is_empty()
            || [object, review.old.map(|old| &**old)]
                .into_iter()
                .flatten()
                .any(|object| selector.matches_object(object))
    }

    fn conditions_match(&self, review: &Review<'_>, object: Option<&Value>) -> Result<bool> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let evaluator = evaluator(review, object);
        for (name, expression) in &self.conditions {
            // A condition and its opposite: when neither holds, the condition cannot be judged.
            let ask = |expression: String| {
                let expression =
                    VapExpression { expression, message: None, message_expression: None };
                let results = evaluator.evaluate(std::slice::from_ref(&expression));
                results.first().is_some_and(|result| result.passed)
            };
            if ask(expression.clone()) {
                continue;
            }
            if !ask(format!("!({expression})")) {
                self.failed(&format!("the match condition {name:?} cannot be evaluated"))?;
            }
            return Ok(false);
        }
        Ok(true)
    }
}

fn evaluator(review: &Review<'_>, object: Option<&Value>) -> VapEvaluator {
    let request = review.request;
    let gvk = &request.resource.info.gvk;
    let facts = AdmissionRequest {
        operation: review.operation.as_str().to_owned(),
        username: request.user.name.clone(),
        uid: request.user.uid.clone(),
        groups: request.user.groups.clone(),
        name: request.path.name.clone(),
        namespace: request.path.namespace.clone(),
        dry_run: review.dry_run,
        kind: GroupVersionKind {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            kind: gvk.kind.clone(),
        },
        resource: GroupVersionResource {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            resource: request.resource.info.plural.clone(),
        },
    };
    let mut builder = VapEvaluator::builder().request(facts);
    if let Some(object) = object.filter(|_| review.operation != Operation::Delete) {
        builder = builder.object(object.clone());
    }
    if let Some(old) = review.old {
        builder = builder.old_object((**old).clone());
    }
    builder.build()
}

impl Rule {
    fn matches(&self, review: &Review<'_>, resource: &Resource, version: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|v| v == "*" || v == wanted);
        let scope = match self.scope.as_str() {
            "Namespaced" => resource.namespaced(),
            "Cluster" => !resource.namespaced(),
            _ => true,
        };
        let (plural, sub) = (resource.info.plural.as_str(), review.subresource);
        let named = self.resources.iter().any(|pattern| match pattern.split_once('/') {
            None => sub.is_empty() && (pattern == "*" || pattern == plural),
            Some((r, s)) => (r == "*" || r == plural) && (s == "*" || s == sub),
        });
        scope
            && named
            && has(&self.operations, review.operation.as_str())
            && has(&self.groups, &resource.info.gvk.group)
            && has(&self.versions, version)
    }
}
