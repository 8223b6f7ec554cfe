//! The process kit of every binary: what each of them would otherwise write again, differently.
//!
//! [`process::run`] is the frame of a `main`. Inside it, [`settings`] reads the environment once,
//! [`tasks`] is the only place that spawns, [`drain`] and [`readiness`] say when the process may
//! stop and when it may be used, [`admin`] shows it, [`crypto`] is the one TLS provider,
//! [`grpc`] and [`http_server`] are the bounded servers over it, and [`identity`] keeps the
//! certificate they prove themselves with.

pub mod admin;
pub mod aside;
pub mod backoff;
pub mod build_info;
pub mod crypto;
pub mod drain;
pub mod files;
pub mod grpc;
pub mod http_server;
pub mod identity;
pub mod metrics;
mod names;
pub mod net;
pub mod otel;
pub mod process;
pub mod readiness;
pub mod runtime;
pub mod settings;
pub mod signal;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod tls_stream;
