//! HTTP: from a connection's bytes to routed requests and back.

pub mod codec;
pub mod context;
pub mod filters;
pub mod grpc;
pub mod handler;
mod mirror;
pub mod path;
pub mod replay;
pub mod reply;
pub mod request;
pub mod router;
#[cfg(test)]
pub(crate) mod tests;
pub mod upgrade;
pub mod xfcc;

pub use codec::{ConnEnd, serve};
