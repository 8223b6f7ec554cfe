//! What the proxy tells about its traffic: metrics and access logs.

pub mod buckets;
pub mod labels;
pub mod log_context;
pub mod peer;
pub mod record;
pub mod series;
pub mod standard;
