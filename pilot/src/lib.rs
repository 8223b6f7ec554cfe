//! The discovery server: watches the Kubernetes API, serves ADS and the injection webhook.
//!
//! Read in this order: [`xds::subscription`] (what a client has and wants), [`xds::session`] (one
//! connection), [`xds::server`] (the service), [`debounce`] (when changes are published).

pub mod ca_relay;
pub mod debounce;
pub mod metrics;
pub mod webhook;
pub mod world;
pub mod xds;
