//! `istio.alpn`: which ALPN a request's upstream connection offers, by what is spoken upstream, so
//! that the other proxy knows HTTP from the handshake.

use std::sync::Arc;

use http::Version;
use proxy_model::cluster::{Cluster, UpstreamProtocol};
use proxy_model::http::filter::Alpn;

/// The ALPN protocols for a request of this version, most preferred first; `None` keeps the
/// cluster's.
pub fn choose(
    settings: &Alpn,
    cluster: Option<&Arc<Cluster>>,
    downstream: Version,
) -> Option<Arc<[Arc<str>]>> {
    let cluster = cluster.filter(|cluster| cluster.metadata.alpn_override)?;
    let downstream = match downstream {
        Version::HTTP_10 => &settings.http10,
        Version::HTTP_2 => &settings.http2,
        _ => &settings.http11,
    };
    let list: Vec<Arc<str>> = match &cluster.protocol {
        UpstreamProtocol::Http1(_) => settings.http11.clone(),
        UpstreamProtocol::Http2(_) => settings.http2.clone(),
        UpstreamProtocol::UseDownstream { .. } => downstream.clone(),
        UpstreamProtocol::AutoAlpn { .. } => {
            settings.http2.iter().chain(&settings.http11).cloned().collect()
        }
    };
    (!list.is_empty()).then(|| list.into())
}

#[cfg(test)]
mod tests {
    use proxy_model::cluster::{Http1Options, Http2Options};

    use super::*;
    use crate::http::tests::harness;

    #[test]
    fn the_protocol_upstream_decides() {
        let list = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let settings = Alpn {
            http10: list(&["istio-http/1.0"]),
            http11: list(&["istio-http/1.1"]),
            http2: list(&["istio-h2"]),
        };
        let (http1, http2) = (Http1Options::default(), Http2Options::default());
        let (old, one, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (protocol, downstream, expected) in [
            (UpstreamProtocol::Http1(http1), two, "istio-http/1.1"),
            (UpstreamProtocol::Http2(http2), one, "istio-h2"),
            (UpstreamProtocol::UseDownstream { http1, http2 }, old, "istio-http/1.0"),
            (UpstreamProtocol::UseDownstream { http1, http2 }, one, "istio-http/1.1"),
            (UpstreamProtocol::UseDownstream { http1, http2 }, two, "istio-h2"),
            (UpstreamProtocol::AutoAlpn { http1, http2 }, one, "istio-h2,istio-http/1.1"),
        ] {
            let mut cluster = Cluster { protocol, ..harness::cluster("a", &[]) };
            let shown = format!("{:?} {downstream:?}", cluster.protocol);
            assert_eq!(choose(&settings, Some(&Arc::new(cluster.clone())), downstream), None);
            cluster.metadata.alpn_override = true;
            let chosen = choose(&settings, Some(&Arc::new(cluster)), downstream).unwrap();
            assert_eq!(chosen.join(","), expected, "{shown}");
        }
    }
}
