//! Pilot's configuration and those who must understand it: our proxy and Envoy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accepted;
mod apps;
mod compiled;
mod control;
mod dialects;
mod envoy;
mod external;
mod ours;
mod rules;
mod together;
mod world;
