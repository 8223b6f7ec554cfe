//! Connections that are carried as bytes.

pub(crate) mod copy;
