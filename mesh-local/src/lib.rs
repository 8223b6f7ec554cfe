//! A single-machine, Kubernetes-API-compatible cluster: API server, controllers, pods as processes.

pub mod api;
pub mod cluster;
pub mod controllers;
pub mod dns;
pub mod egress;
pub mod host;
pub mod instance;
pub mod kubelet;
pub mod net;
pub mod node_api;
pub mod sandbox;
pub mod service_proxy;
pub mod store;
pub mod stream;
