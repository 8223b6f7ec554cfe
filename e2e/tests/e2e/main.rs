//! End-to-end tests on a local cluster: what a user types, and what they must see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod bookinfo;
mod crash;
mod crds;
mod demo;
mod everyday;
mod exec;
mod kube_client;
mod ordinary_user;
mod pods;
mod port_forward;
mod webhooks;
