//! The mesh's shared vocabulary: names, keys, identities, Envoy's and Istio's messages, and the
//! documents that one binary writes and another reads. Data only: nothing here does I/O.
//!
//! Read in this order: [`name`] and [`key`] (what things are called), [`address`], [`port`],
//! [`transport`] (where they are and what they speak), [`spiffe`] (who they are); then
//! [`type_url`], [`any`] and [`pool`] (the messages of [`envoy`] and [`istio`] on the wire and as
//! JSON); then [`crd`] (Istio's custom resources).

pub mod address;
pub mod any;
pub mod crd;
pub mod envoy;
pub mod istio;
pub mod key;
pub mod name;
pub mod pool;
pub mod port;
pub mod spiffe;
mod text;
pub mod transport;
pub mod trust_domain;
pub mod type_url;
