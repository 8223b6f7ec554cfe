//! The mesh's shared vocabulary: names, keys, identities, Envoy's and Istio's messages, and the
//! documents that one binary writes and another reads. Data only: nothing here does I/O.
//!
//! Read in this order: [`name`] and [`key`] (what things are called), [`address`], [`port`],
//! [`transport`] (where they are and what they speak), [`spiffe`] (who they are); then
//! [`type_url`], [`any`] and [`pool`] (the messages of [`envoy`] and [`istio`] on the wire and as
//! JSON); then [`crd`] and [`mesh_config`] (what users write), [`node`], [`node_metadata`] and
//! [`bootstrap`] (what a proxy is told and tells), [`admin`] (what processes tell of themselves).
//!
//! Invariants: parsers are total and do not panic; what a name prints, it parses; Google's
//! well-known protobuf types are one Rust type each, those of [`envoy::protobuf`].

pub mod address;
pub mod admin;
pub mod annotations;
pub mod any;
pub mod bootstrap;
pub mod crd;
pub mod envoy;
pub mod istio;
pub mod key;
pub mod labels;
pub mod lateen;
pub mod mesh_config;
pub mod meta_key;
pub mod name;
pub mod node;
pub mod node_metadata;
pub mod pool;
pub mod port;
pub mod selector;
pub mod spiffe;
pub mod struct_json;
mod text;
pub mod transport;
pub mod trust_domain;
pub mod type_url;
