//! `istio.alpn`: which ALPN a request's upstream connection offers, by what the client speaks, so
//! that the other proxy knows HTTP from the handshake.

use std::sync::Arc;

use http::Version;
use proxy_model::cluster::Cluster;
use proxy_model::http::filter::Alpn;

/// The ALPN protocols, most preferred first; `None` keeps the cluster's.
pub fn choose(
    settings: &Alpn,
    cluster: Option<&Arc<Cluster>>,
    version: Version,
) -> Option<Arc<[Arc<str>]>> {
    if !cluster?.metadata.alpn_override {
        return None;
    }
    let list = match version {
        Version::HTTP_10 => &settings.http10,
        Version::HTTP_2 => &settings.http2,
        _ => &settings.http11,
    };
    (!list.is_empty()).then(|| list.as_slice().into())
}
