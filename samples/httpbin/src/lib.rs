//! The httpbin sample: a server that answers with what it was asked, and as it was asked to.
//!
//! Paths and JSON follow go-httpbin's; [`routes`] lists them.

pub mod access_log;
pub mod request;
pub mod routes;
pub mod server;

mod answers;
mod auth;
mod echo;
mod form;
mod pages;
