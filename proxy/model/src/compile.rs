//! From Envoy's and Istio's messages to the model: one file per message. Only these files see
//! protobuf. What means nothing is a [`Flaw`](notes::Flaw), and the resource is rejected; what is
//! understood but cannot be honoured is a warning, and the traffic it names is refused.

#![allow(deprecated, reason = "older control planes send fields that newer ones replace")]

pub mod access_log;
pub mod cluster;
pub mod endpoint;
pub mod filter_chain;
pub mod header;
pub mod http_filter;
pub mod listener;
pub mod manager;
pub mod name_table;
pub mod notes;
pub mod retry;
pub mod route;
pub mod route_action;
pub mod secret;
pub mod tls;
mod units;

#[cfg(test)]
mod tests;
