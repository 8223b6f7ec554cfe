//! What is known of an annotation or label key: on which kinds it means something, and how settled
//! it is.

/// How settled a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It may change or go.
    Alpha,
    /// It is unlikely to change.
    Beta,
    /// It stays.
    Stable,
}

/// An annotation or label key that Istio defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaKey {
    /// The key.
    pub name: &'static str,
    /// Kinds of objects on which it means something; empty for any.
    pub kinds: &'static [&'static str],
    /// How settled it is.
    pub stage: Stage,
    /// Whether something else should be used.
    pub deprecated: bool,
}

impl MetaKey {
    /// Whether the key means something on objects of that kind.
    pub fn applies_to(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Declares a constant per key and `ALL`, the table of what is known of them.
macro_rules! keys {
    (@deprecated current) => { false };
    (@deprecated deprecated) => { true };
    ($($(#[$doc:meta])* $name:ident = $key:literal, $kinds:expr, $stage:ident, $state:ident;)*) => {
        $($(#[$doc])* pub const $name: &str = $key;)*

        /// Every key that Istio documents.
        pub const ALL: &[$crate::meta_key::MetaKey] = &[$($crate::meta_key::MetaKey {
            name: $key,
            kinds: $kinds,
            stage: $crate::meta_key::Stage::$stage,
            deprecated: $crate::meta_key::keys!(@deprecated $state),
        }),*];

        /// What is known of a key, if Istio documents it.
        pub fn find(name: &str) -> Option<&'static $crate::meta_key::MetaKey> {
            ALL.iter().find(|key| key.name == name)
        }
    };
}

pub(crate) use keys;
