//! HTTP: what a connection manager does, and where requests go.

pub mod action;
pub mod filter;
pub mod hash_policy;
pub mod header;
pub mod manager;
pub mod mutation;
pub mod path;
pub mod query;
pub mod redirect;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod table;
pub mod virtual_host;
