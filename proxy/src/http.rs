//! HTTP: from a connection's bytes to routed requests and back.

pub(crate) mod codec;
pub(crate) mod path;
pub(crate) mod replay;
pub(crate) mod reply;
pub(crate) mod xfcc;
