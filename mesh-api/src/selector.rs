//! Label selectors, as Kubernetes objects hold them, and their matching.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A selector of objects by their labels: all requirements must hold. The empty selector selects
/// everything.
///
/// ```
/// use mesh_api::selector::{LabelSelector, Labels};
///
/// let selector: LabelSelector = serde_json::from_str(
///     r#"{
///         "matchLabels": { "app": "reviews" },
///         "matchExpressions": [{ "key": "version", "operator": "In", "values": ["v1", "v2"] }]
///     }"#,
/// )
/// .expect("JSON");
/// let labels = |pairs: &[(&str, &str)]| -> Labels {
///     pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
/// };
/// assert!(selector.matches(&labels(&[("app", "reviews"), ("version", "v1")])));
/// assert!(!selector.matches(&labels(&[("app", "reviews"), ("version", "v3")])));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels the object must carry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
    /// Further requirements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// Values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What must hold of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// It is there, with one of the values.
    In,
    /// It is not there, or with another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// A selector of objects that carry these labels.
    pub fn of(labels: Labels) -> Self {
        Self { match_labels: labels, match_expressions: Vec::new() }
    }

    /// Whether this selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        is_subset(&self.match_labels, labels)
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Whether the requirement holds of an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether `all` carries each of `some` with the same value: how a Service selects pods and a
/// policy selects workloads.
pub fn is_subset(some: &Labels, all: &Labels) -> bool {
    some.iter().all(|(key, value)| all.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn requirements_hold_or_not() {
        let table = [
            (Operator::In, "v1 v2", "version=v1", true),
            (Operator::In, "v1 v2", "version=v3", false),
            (Operator::In, "v1 v2", "app=a", false),
            (Operator::NotIn, "v1 v2", "version=v1", false),
            (Operator::NotIn, "v1 v2", "version=v3", true),
            (Operator::NotIn, "v1 v2", "app=a", true),
            (Operator::Exists, "", "version=", true),
            (Operator::Exists, "", "app=a", false),
            (Operator::DoesNotExist, "", "version=v1", false),
            (Operator::DoesNotExist, "", "app=a", true),
        ];
        for (operator, values, object, want) in table {
            let values = values.split_whitespace().map(str::to_owned).collect();
            let requirement = Requirement { key: "version".to_owned(), operator, values };
            assert_eq!(requirement.matches(&labels(object)), want, "{requirement:?} of {object}");
        }
    }

    #[test]
    fn the_empty_selector_selects_everything() {
        assert!(LabelSelector::default().matches(&labels("")));
        assert!(LabelSelector::default().matches(&labels("a=b")));
        assert!(!LabelSelector::of(labels("a=b")).matches(&labels("a=c")));
    }
}
