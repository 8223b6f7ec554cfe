//! What a proxy runs with, as `istioctl` prints it: from Envoy's `/config_dump` and `/clusters`.

pub mod clusters;
pub mod dump;
pub mod endpoints;
pub mod filter_chain;
pub mod filters;
pub mod listeners;
pub mod log_levels;
pub mod routes;
pub mod secrets;
pub mod table;
