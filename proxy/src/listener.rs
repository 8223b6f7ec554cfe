//! From an accepted socket to a chosen filter chain.

pub(crate) mod inspect;
