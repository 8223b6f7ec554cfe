//! What the validator decides, without doing any of it: validation of one object and analysis of
//! many. The webhook, `meshctl validate` and `meshctl analyze` share it.

pub mod admission;
pub mod analyze;
pub mod report;
pub mod validate;
