//! From an accepted socket to a chosen filter chain.

pub(crate) mod accept;
pub(crate) mod inspect;
pub(crate) mod orig_dst;
pub(crate) mod stream;
