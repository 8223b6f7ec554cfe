//! From an accepted socket to a chosen filter chain.

pub mod accept;
pub mod chains;
pub mod conn;
pub mod inspect;
pub mod manager;
pub mod orig_dst;
pub mod sniff;
pub mod stream;
