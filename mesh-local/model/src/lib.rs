//! What the local cluster decides, without doing any of it: schemas, defaults, validation,
//! patches, selectors and tables over plain JSON values. No clock, no network, no tasks.

pub mod field;
pub mod jsonpath;
pub mod kind;
pub mod name;
pub mod patch;
pub mod refusal;
pub mod selector;
pub mod table;
