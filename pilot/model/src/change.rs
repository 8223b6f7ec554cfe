//! What has changed since the last snapshot. Merging is associative, commutative and idempotent,
//! so changes may wait together in any order.

use std::collections::BTreeSet;

use crate::key::{Kind, ResourceKey};

/// A set of changed objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    keys: BTreeSet<ResourceKey>,
    everything: bool,
}

impl ChangeSet {
    /// No change.
    pub fn none() -> Self {
        Self::default()
    }

    /// One object has changed.
    pub fn one(key: ResourceKey) -> Self {
        Self { keys: BTreeSet::from([key]), everything: false }
    }

    /// Anything may have changed: the mesh's own settings, or a registry that was read anew.
    pub fn everything() -> Self {
        Self { keys: BTreeSet::new(), everything: true }
    }

    /// Both changes. Once anything may have changed, single objects no longer matter.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        if self.everything || other.everything {
            return Self::everything();
        }
        self.keys.extend(other.keys);
        self
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.keys.is_empty()
    }

    /// Whether anything may have changed.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether this object may have changed.
    pub fn touches(&self, key: &ResourceKey) -> bool {
        self.everything || self.keys.contains(key)
    }

    /// Whether an object of this kind may have changed.
    pub fn touches_kind(&self, kind: Kind) -> bool {
        self.everything || self.keys.iter().any(|key| key.kind == kind)
    }

    /// Whether nothing but objects of this kind has changed.
    pub fn is_only(&self, kind: Kind) -> bool {
        !self.everything && self.keys.iter().all(|key| key.kind == kind)
    }

    /// The changed objects in order; empty when anything may have changed.
    pub fn keys(&self) -> impl Iterator<Item = &ResourceKey> {
        self.keys.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn change() -> impl Strategy<Value = ChangeSet> {
        let kind = prop_oneof![Just(Kind::Service), Just(Kind::EndpointSlice), Just(Kind::Gateway)];
        let key = (kind, "[ab]", "[xyz]")
            .prop_map(|(kind, ns, name)| ChangeSet::one(ResourceKey::new(kind, &ns, &name)));
        let few = proptest::collection::vec(key, 0..4)
            .prop_map(|all| all.into_iter().fold(ChangeSet::none(), ChangeSet::merge));
        prop_oneof![9 => few, 1 => Just(ChangeSet::everything())]
    }

    proptest! {
        #[test]
        fn merging_is_a_semilattice(a in change(), b in change(), c in change()) {
            let merge = |x: &ChangeSet, y: &ChangeSet| x.clone().merge(y.clone());
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(merge(&a, &ChangeSet::none()), a);
        }

        #[test]
        fn a_merged_change_is_never_narrower(a in change(), b in change()) {
            let both = a.clone().merge(b.clone());
            for key in a.keys().chain(b.keys()) {
                prop_assert!(both.touches(key));
                prop_assert!(both.touches_kind(key.kind));
            }
            prop_assert_eq!(both.is_empty(), a.is_empty() && b.is_empty());
        }
    }

    #[test]
    fn endpoints_alone_are_told_apart() {
        let endpoints = ChangeSet::one(ResourceKey::new(Kind::EndpointSlice, "a", "x"));
        assert!(endpoints.is_only(Kind::EndpointSlice));
        let more = endpoints.merge(ChangeSet::one(ResourceKey::new(Kind::Service, "a", "x")));
        assert!(!more.is_only(Kind::EndpointSlice));
        assert!(!ChangeSet::everything().is_only(Kind::EndpointSlice));
    }
}
