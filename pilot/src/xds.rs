//! The discovery service: messages, protocol, sessions, who is connected.

pub mod auth;
pub mod messages;
pub mod push_queue;
pub mod server;
pub mod session;
pub mod source;
pub mod status;
pub mod subscription;
pub mod wire;
