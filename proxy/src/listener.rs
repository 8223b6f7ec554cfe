//! From an accepted socket to a chosen filter chain.

pub(crate) mod accept;
pub(crate) mod conn;
pub(crate) mod inspect;
pub(crate) mod manager;
pub(crate) mod orig_dst;
pub(crate) mod stream;
