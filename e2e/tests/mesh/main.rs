//! End-to-end tests of the mesh on a local cluster: what a user types, and what they must see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod analyze;
mod bad_input;
mod bookinfo;
mod browser;
mod control_plane_loss;
mod dashboard;
mod distribution;
mod egress;
mod mtls;
mod on_demand;
mod prometheus;
mod sidecar_scope;
mod tcp_gateway;
mod traffic_shifting;
mod uninstall;
mod validation;
