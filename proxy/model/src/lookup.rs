//! The three answers of a lookup: found, known to be absent, and not known yet.

use std::fmt;
use std::sync::Arc;

use mesh_api::type_url::TypeUrl;

/// What a lookup answers. Configuration may be held on demand, so not holding something and
/// knowing that there is none are different answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is held.
    Found(T),
    /// There is none.
    Absent,
    /// Nobody asked pilot for this resource yet, or pilot has not answered.
    Unknown(ResourceName),
}

impl<T> Lookup<T> {
    /// What was found.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// The same answer about another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Self::Found(value) => Lookup::Found(f(value)),
            Self::Absent => Lookup::Absent,
            Self::Unknown(name) => Lookup::Unknown(name),
        }
    }

    /// `Found`, or `Absent` for `None`.
    pub fn from_known(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Found)
    }
}

impl<T> Lookup<&T>
where
    T: Clone,
{
    /// The same answer about a copy (usually of an `Arc`).
    pub fn cloned(self) -> Lookup<T> {
        self.map(Clone::clone)
    }
}

/// A resource by type and name, as one asks pilot for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceName {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: Arc<str>,
}

impl ResourceName {
    /// The resource of this type and name.
    pub fn new(type_url: TypeUrl, name: impl Into<Arc<str>>) -> Self {
        Self { type_url, name: name.into() }
    }
}

/// The type's short name and the resource's name: `LDS 10.0.0.1_80`.
impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_url.short(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_name_reads_as_istioctl_prints_it() {
        let name = ResourceName::new(TypeUrl::Listener, "10.0.0.1_80");
        assert_eq!(name.to_string(), "LDS 10.0.0.1_80");
        assert_eq!(Lookup::<u8>::Unknown(name.clone()).map(|_| ()), Lookup::Unknown(name));
        assert_eq!(Lookup::from_known(None::<u8>), Lookup::Absent);
    }
}
