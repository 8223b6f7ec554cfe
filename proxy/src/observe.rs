//! What the proxy tells about its traffic: metrics and access logs.

pub mod buckets;
pub mod ends;
pub mod labels;
pub mod log_context;
pub mod log_writer;
pub mod peer;
pub mod record;
pub mod recorder;
pub mod series;
pub mod standard;
pub mod traffic;
