//! Fixtures for end-to-end tests: a local cluster of one's own, kubectl, HTTP, processes.
//!
//! Everything here fails loudly: a missing program is an error with its install line, and a
//! fixture that cannot clean up says so.

pub mod browser;
pub mod ca;
pub mod ca_server;
pub mod cluster;
pub mod dashboard;
pub mod eventually;
pub mod forward;
pub mod http;
pub mod kubectl;
pub mod mesh;
pub mod metrics;
pub mod netns;
pub mod outside;
pub mod processes;
pub mod settings;
pub mod user;
pub mod webhook;

pub use browser::Browser;
pub use cluster::{Cluster, ClusterOptions};
pub use dashboard::Dashboard;
pub use eventually::eventually;
pub use forward::Forward;
pub use kubectl::{Kubectl, Output};
pub use mesh::Mesh;
pub use outside::Outside;
