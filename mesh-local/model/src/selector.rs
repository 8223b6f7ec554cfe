//! Label and field selectors, as query parameters and as objects carry them.

mod fields;
mod labels;

pub use fields::Fields;
pub use labels::{Labels, Requirement};
