//! The controllers against the real API server, with a kubelet that only says its pods run.

mod deletion;
mod kubelet;
mod rollout;
mod services;
mod workloads;
mod world;
