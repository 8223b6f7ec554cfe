//! Connections that are carried as bytes.

pub mod abort;
pub mod copy;
pub mod tcp_proxy;
