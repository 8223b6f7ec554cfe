//! What the proxy tells about its traffic: metrics and access logs.

pub(crate) mod buckets;
pub(crate) mod labels;
pub(crate) mod peer;
pub(crate) mod record;
pub(crate) mod series;
pub(crate) mod standard;
