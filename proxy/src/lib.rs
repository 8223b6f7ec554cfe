//! The data plane: from an accepted socket to an upstream connection and back. A library, so that
//! tests run whole proxies in process; the program is `main.rs`.

pub mod admin;
pub mod app;
pub mod cli;
pub mod dns;
pub mod failure;
pub mod health;
pub mod http;
pub mod identity;
pub mod init;
pub mod l4;
pub mod listener;
pub mod observe;
pub mod request;
pub mod settings;
pub mod status;
pub mod tls;
pub mod upstream;
pub mod wait;
pub mod worker;
pub mod world;
pub mod xds;
