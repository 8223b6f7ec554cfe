//! The curl sample: a client for HTTP with the options people type after `curl`, and for TCP with
//! those of `nc`. Messages and exit codes are curl's.
//!
//! [`run`] is the whole program over any console; [`http1`] is the client below it, which the
//! load sample uses as well. No progress meter is ever shown.

pub mod args;
pub mod connect;
pub mod console;
pub mod error;
pub mod http1;
pub mod nc;
pub mod run;
pub mod url;

mod cookies;
mod exchange;
mod http2;
mod payload;
mod request;
mod stats;
mod tls;
mod transfer;
mod write_out;
