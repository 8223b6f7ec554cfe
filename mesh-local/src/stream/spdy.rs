//! The server's side of SPDY/3.1, as far as `kubectl` uses it: streams opened by the client, data
//! both ways, half-close, reset and ping. Flow-control windows are neither kept nor given, because
//! clients do neither; a stream that is not read makes its connection wait.
//!
//! Specification: the public draft "SPDY Protocol - Draft 3.1".

mod frame;
mod headers;
mod session;

pub(crate) use self::session::{Acceptor, Opened, session};
