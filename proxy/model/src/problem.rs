//! What is wrong with a resource: nothing of it can be used, or some of it cannot be honoured.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::lookup::ResourceName;

/// A resource that means nothing. The last good version stays in force, and the response that
/// carried it is NACKed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{resource}: {path}: {reason}")]
pub struct Rejected {
    /// Which resource.
    pub resource: ResourceName,
    /// Which field, from the resource downwards: `filter_chains[2].filters[0].typed_config`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A part of an accepted resource that cannot be honoured; the traffic it names gets a defined
/// error, or the part has no effect on traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Which field, from the resource downwards.
    pub path: String,
    /// What is not honoured, and what happens instead.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// How well a resource is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Grade {
    /// All of it is honoured.
    Accepted,
    /// Some of it cannot be honoured.
    Warning,
    /// It means nothing; the last good version is in force.
    Rejected,
}

/// Why traffic that a filter or a transport was configured for is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The name of the filter, transport or other part that cannot be honoured.
    pub name: Arc<str>,
    /// Why, with the field's path.
    pub reason: Arc<str>,
}
