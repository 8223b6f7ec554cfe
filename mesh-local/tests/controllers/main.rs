//! The controllers against the real API server, with a kubelet that only says its pods run.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

mod deletion;
mod kubelet;
mod rollout;
mod services;
mod workloads;
mod world;
