//! What the local cluster decides, without doing any of it: schemas, defaults, validation,
//! patches, selectors and tables over plain JSON values. No clock, no network, no tasks.

pub mod builtin;
pub mod cel;
pub mod crd;
pub mod defaults;
pub mod field;
pub mod jsonpath;
pub mod kind;
pub mod name;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod refusal;
pub mod schema;
pub mod selector;
pub mod strict_json;
pub mod table;
pub mod validate;
pub mod yaml;
