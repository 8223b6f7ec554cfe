//! Structural schemas: OpenAPI v3 compiled once, then walked to prune, default and validate values.

mod compile;
mod defaults;
mod format;
mod lists;
mod logic;
mod node;
mod nulls;
mod prune;
mod strict;
mod trail;
mod validate;

#[cfg(test)]
mod tests;

pub use compile::SchemaError;
pub use defaults::apply_defaults;
pub use node::{ListType, Schema};
pub use nulls::{drop_nulls, drop_optional_nulls};
pub use prune::prune;
pub use strict::strict_message;
pub use validate::{validate, validate_update};

pub(crate) use compile::Library;
pub(crate) use trail::Trail;
