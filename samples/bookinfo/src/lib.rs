//! Bookinfo, the sample every Istio user knows: productpage asks details and reviews, and some
//! versions of reviews ask ratings. Same routes, JSON, variables and ports as Istio's.

pub mod client;
pub mod details;
pub mod headers;
pub mod productpage;
pub mod ratings;
pub mod reviews;
pub mod server;
pub mod settings;
