//! HTTP: from a connection's bytes to routed requests and back.

pub mod codec;
pub mod path;
pub mod replay;
pub mod reply;
pub mod xfcc;
