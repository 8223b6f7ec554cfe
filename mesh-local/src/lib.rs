//! A single-machine, Kubernetes-API-compatible cluster: API server, controllers, pods as processes.

pub mod api;
pub mod node_api;
pub mod sandbox;
pub mod store;
