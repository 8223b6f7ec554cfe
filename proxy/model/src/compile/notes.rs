//! Where in a resource something is wrong, and what.

use std::fmt;

use mesh_api::envoy::protobuf::Any;
use mesh_api::{any, pool, struct_json};
use prost::{Message, Name};

use crate::problem::{Refusal, Warning};

/// A field's path, from the resource downwards. Written out only when something is wrong.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    field: &'a str,
    index: Option<usize>,
}

impl<'a> Path<'a> {
    /// The resource itself.
    pub const ROOT: Path<'static> = Path { parent: None, field: "", index: None };

    /// A field of what this path names.
    pub fn field(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), field, index: None }
    }

    /// An item of a repeated field.
    pub fn item(&'a self, field: &'a str, index: usize) -> Path<'a> {
        Path { parent: Some(self), field, index: Some(index) }
    }

    /// A flaw at this path.
    pub fn flaw(&self, reason: impl fmt::Display) -> Flaw {
        Flaw { path: self.to_string(), reason: reason.to_string() }
    }
}

/// `filter_chains[2].filters[0].typed_config`
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if parent.parent.is_some() {
                f.write_str(".")?;
            }
        }
        f.write_str(self.field)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

/// Why a resource means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Flaw {
    /// Which field.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What was found while a resource was compiled.
#[derive(Debug, Default)]
pub struct Notes {
    /// What is not honoured.
    pub warnings: Vec<Warning>,
}

/// Warnings of one resource at most; a resource that is wrong everywhere needs no longer list.
const MAX_WARNINGS: usize = 100;

impl Notes {
    /// Notes something that is not honoured.
    pub fn warn(&mut self, path: &Path<'_>, reason: impl fmt::Display) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(Warning { path: path.to_string(), reason: reason.to_string() });
        }
    }

    /// Notes a field that is set and has no effect.
    pub fn ignored(&mut self, path: &Path<'_>, field: &str, set: bool) {
        if set {
            self.warn(&path.field(field), "has no effect in this proxy");
        }
    }

    /// Notes something whose traffic is refused.
    pub fn refuse(&mut self, path: &Path<'_>, name: &str, reason: impl fmt::Display) -> Refusal {
        let reason = format!("{path}: {reason}");
        self.warn(path, format_args!("{reason}; its traffic is refused"));
        Refusal { name: name.into(), reason: reason.into() }
    }
}

/// Unpacks a message, also from a `TypedStruct`.
pub(super) fn unpack<M: Message + Name + Default>(any: &Any, path: &Path<'_>) -> Result<M, Flaw> {
    any::unpack(any).map_err(|error| path.flaw(error))
}

/// The message inside a `TypedStruct`, or what was given.
pub(super) fn untyped(any: &Any, path: &Path<'_>) -> Result<Any, Flaw> {
    use mesh_api::istio::typed_struct::{TypedStruct, udpa};
    let (type_url, value) = if any::holds::<TypedStruct>(any) {
        let inner: TypedStruct = unpack(any, path)?;
        (inner.type_url, inner.value)
    } else if any::holds::<udpa::TypedStruct>(any) {
        let inner: udpa::TypedStruct = unpack(any, path)?;
        (inner.type_url, inner.value)
    } else {
        return Ok(any.clone());
    };
    let mut object = value.as_ref().map(struct_json::from_struct).unwrap_or_default();
    object.insert("@type".to_owned(), type_url.into());
    pool::from_json(&object.into()).map_err(|error| path.flaw(error))
}
