//! The discovery server: watches the Kubernetes API, serves ADS and the injection webhook.
//!
//! Read in this order: [`app`] (the parts), [`ingest`] (from watches to published worlds),
//! [`xds::subscription`] (what a client has and wants), [`xds::session`] (one
//! connection), [`xds::server`] (the service), [`debounce`] (when changes are published).

pub mod app;
pub mod ca_relay;
pub mod debounce;
pub mod debug;
pub mod distribution;
#[cfg(test)]
mod fake_kube;
pub mod ingest;
pub mod kube;
pub mod metrics;
pub mod services;
pub mod settings;
pub mod webhook;
pub mod world;
pub mod xds;
