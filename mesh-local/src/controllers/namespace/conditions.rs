//! Why a namespace is still there, as conditions. Pure.

use k8s_openapi::{
    api::core::v1::NamespaceCondition,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::Counts;

/// What is left in a namespace.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remaining {
    resources: Counts,
    finalizers: Counts,
}

impl Remaining {
    /// Counts objects of one kind.
    pub(super) fn count<'a>(
        &mut self,
        resource: &str,
        objects: impl Iterator<Item = &'a ObjectMeta>,
    ) {
        for meta in objects {
            *self.resources.entry(resource.to_owned()).or_default() += 1;
            for finalizer in meta.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// The conditions of a namespace being deleted; one that says the same keeps its time.
pub(super) fn conditions(
    remaining: &Remaining,
    old: Option<&Vec<NamespaceCondition>>,
    now: Time,
) -> Vec<NamespaceCondition> {
    let resources = list(&remaining.resources, "Some resources are remaining: ", |what, count| {
        format!("{what} has {count} resource instances")
    });
    let finalizers = list(
        &remaining.finalizers,
        "Some content in the namespace has finalizers remaining: ",
        |what, count| format!("{what} in {count} resource instances"),
    );
    let make = |kind: &str, (found, reason): (Option<String>, &str), none: (&str, &str)| {
        let (status, reason, message) = match found {
            Some(message) => ("True", reason, message),
            None => ("False", none.0, none.1.to_owned()),
        };
        let same = old.into_iter().flatten().find(|c| c.type_ == kind && c.status == status);
        let since = same.and_then(|c| c.last_transition_time.clone());
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or_else(|| Some(now.clone())),
        }
    };
    vec![
        make(
            "NamespaceDeletionDiscoveryFailure",
            (None, ""),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        make(
            "NamespaceDeletionContentFailure",
            (None, ""),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        make(
            "NamespaceContentRemaining",
            (resources, "SomeResourcesRemain"),
            ("ContentRemoved", "All content successfully removed"),
        ),
        make(
            "NamespaceFinalizersRemaining",
            (finalizers, "SomeFinalizersRemain"),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}

fn list(counts: &Counts, prefix: &str, show: impl Fn(&str, usize) -> String) -> Option<String> {
    if counts.is_empty() {
        return None;
    }
    let all: Vec<_> = counts.iter().map(|(what, count)| show(what, *count)).collect();
    Some(format!("{prefix}{}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn conditions_name_what_remains_and_keep_their_time() {
        let mut remaining = Remaining::default();
        let plain = ObjectMeta::default();
        let held =
            ObjectMeta { finalizers: Some(vec!["a.io/x".to_owned()]), ..ObjectMeta::default() };
        remaining.count("pods", [&plain, &held].into_iter());
        let first = conditions(&remaining, None, Time::from(Timestamp::UNIX_EPOCH));
        let messages: Vec<_> = first.iter().map(|c| c.message.as_deref().unwrap()).collect();
        assert_eq!(
            messages[2..],
            [
                "Some resources are remaining: pods has 2 resource instances",
                "Some content in the namespace has finalizers remaining: a.io/x in 1 resource \
                 instances"
            ]
        );
        let later = Time::from(Timestamp::from_second(60).unwrap());
        let again = conditions(&remaining, Some(&first), later);
        assert_eq!(again, first);
        assert!(!remaining.is_empty());
    }
}
