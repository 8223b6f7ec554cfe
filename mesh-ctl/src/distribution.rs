//! How far an object has come, put together from what each pod of the control plane knows.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use kube::core::{ApiResource, GroupVersionKind};
use mesh_api::admin::{ConfigDistribution, ObjectState, ProxyDistribution};
use mesh_api::crd;
use serde::Serialize;

use crate::error::Error;
use crate::pod::query_value;

/// Proxies that are named when a wait fails.
const NAMED: usize = 5;

/// An object that a user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its kind.
    pub resource: ApiResource,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Named {
    /// Reads `<type>/<name>[.<namespace>]`, or the type and the rest apart. The type is a kind, its
    /// plural or short name; dashes and case do not matter.
    ///
    /// # Errors
    /// When there is no such type, or no name.
    pub fn parse(what: &str, name: Option<&str>, default_namespace: &str) -> Result<Self, Error> {
        let (kind, name) = match (what.split_once('/'), name) {
            (Some((kind, name)), None) => (kind, name),
            (None, Some(name)) => (what, name),
            _ => return Err(Error::Usage(usage())),
        };
        let (name, namespace) = name.split_once('.').unwrap_or((name, default_namespace));
        if name.is_empty() || namespace.is_empty() {
            return Err(Error::Usage(usage()));
        }
        let resource = resource(kind)
            .ok_or_else(|| Error::Usage(format!("type {kind} is not recognized; {}", usage())))?;
        Ok(Self { resource, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The page of the control plane that tells of this version of it.
    #[must_use]
    pub fn page(&self, resource_version: Option<&str>, generation: Option<i64>) -> String {
        let mut page =
            format!("/debug/config_distribution?resource={}", query_value(&self.to_string()));
        if let Some(version) = resource_version {
            page.push_str(&format!("&resource_version={}", query_value(version)));
        }
        if let Some(generation) = generation {
            page.push_str(&format!("&generation={generation}"));
        }
        page
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.resource.kind, self.namespace, self.name)
    }
}

fn usage() -> String {
    "write <type>/<name>[.<namespace>] or <type> <name>[.<namespace>], such as \
     virtualservice/reviews.default"
        .to_owned()
}

fn resource(typed: &str) -> Option<ApiResource> {
    let typed = typed.replace('-', "").to_ascii_lowercase();
    if matches!(typed.as_str(), "service" | "services" | "svc") {
        return Some(ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&()));
    }
    crd::all().into_iter().find_map(|definition| {
        let (spec, names) = (&definition.spec, &definition.spec.names);
        let short = names.short_names.iter().flatten();
        let mut known = short.chain([&names.plural]).chain(names.singular.as_ref());
        if !known.any(|name| *name == typed) && !names.kind.eq_ignore_ascii_case(&typed) {
            return None;
        }
        let version = spec.versions.first().map(|version| version.name.as_str())?;
        let kind = GroupVersionKind::gvk(&spec.group, version, &names.kind);
        Some(ApiResource::from_gvk_with_plural(&kind, &names.plural))
    })
}

/// How far an object is with all connected proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The object: `<kind>/<namespace>/<name>`.
    pub resource: String,
    /// Whether every pod of the control plane has the wanted version; of a deletion, whether none
    /// has the object.
    pub seen: bool,
    /// Proxies that have acknowledged it.
    pub present: usize,
    /// Proxies that are connected.
    pub total: usize,
    /// Milliseconds from the control plane's watch to the last acknowledgement, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distributed_in_ms: Option<u64>,
    /// Why the control plane does not use the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
    /// Proxies that have not acknowledged it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<ProxyDistribution>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Condition {
    /// Every proxy has acknowledged the object.
    #[value(alias = "delivery")]
    Distribution,
    /// The object is deleted, and every proxy has acknowledged that.
    Delete,
}

impl Progress {
    /// Puts the answers of the control plane's pods together.
    ///
    /// # Errors
    /// When one is not the JSON of the page.
    pub fn read(condition: Condition, answers: &BTreeMap<String, Bytes>) -> Result<Self, Error> {
        let mut all = Self { seen: true, distributed_in_ms: Some(0), ..Self::default() };
        for (istiod, answer) in answers {
            let one: ConfigDistribution = serde_json::from_slice(answer).map_err(|error| {
                let page = "/debug/config_distribution";
                Error::Failed(format!("the answer of {istiod} is not that of {page}: {error}"))
            })?;
            all.add(condition, one);
        }
        Ok(all)
    }

    fn add(&mut self, condition: Condition, one: ConfigDistribution) {
        let seen = match condition {
            Condition::Distribution => one.reached,
            Condition::Delete => one.state != ObjectState::Current,
        };
        self.seen &= seen;
        self.resource = one.resource;
        self.total += one.proxies.len();
        if seen {
            self.set_aside = self.set_aside.take().or(one.set_aside);
        }
        // Nobody timed what the control plane knows nothing of.
        let took = match one.state {
            ObjectState::Unknown => Some(0),
            _ => one.distributed_in_ms,
        };
        self.distributed_in_ms = match (self.distributed_in_ms, took) {
            (Some(longest), Some(took)) if seen => Some(longest.max(took)),
            _ => None,
        };
        for mut proxy in one.proxies {
            if seen && proxy.acknowledged {
                self.present += 1;
                continue;
            }
            if !seen {
                proxy.acknowledged = false;
                proxy.reasons = vec!["the control plane has not seen the change".to_owned()];
            }
            self.behind.push(proxy);
        }
    }

    /// Whether that part of the proxies has it.
    #[must_use]
    pub fn is_reached(&self, threshold: f64) -> bool {
        self.seen && self.present as f64 >= threshold * self.total as f64
    }

    /// The result in Istio's words, with the time if it is known.
    #[must_use]
    pub fn words(&self, condition: Condition) -> String {
        let place = match condition {
            Condition::Distribution => "present on",
            Condition::Delete => "gone from",
        };
        let (resource, present, total) = (&self.resource, self.present, self.total);
        let mut words = format!("Resource {resource} {place} {present} out of {total} sidecars");
        if let Some(took) = self.distributed_in_ms {
            words.push_str(&format!(" in {took} ms"));
        }
        words
    }

    /// Who is behind, and why.
    #[must_use]
    pub fn complaint(&self) -> String {
        let named = self.behind.iter().take(NAMED);
        let mut named: Vec<String> =
            named.map(|one| format!("{}: {}", one.proxy, one.reasons.join(", "))).collect();
        if self.behind.len() > NAMED {
            named.push(format!("and {} more", self.behind.len() - NAMED));
        }
        if named.is_empty() {
            named.push("the control plane has not seen the change".to_owned());
        }
        named.join("; ")
    }
}

#[cfg(test)]
mod tests;
