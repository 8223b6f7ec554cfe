//! Exchange of peer metadata in headers: what the other workload is called goes into the record,
//! and never to the application.

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use proxy_model::http::filter::PeerMetadata as Settings;

use super::Found;
use crate::http::context::Stream;
use crate::observe::peer::PeerMetadata;

const METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
const METADATA_ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");

/// Reads the client's metadata and sets this workload's for the upstream.
pub fn on_request(
    settings: &Settings,
    stream: &Stream,
    found: &Found<'_>,
    headers: &mut HeaderMap,
) {
    let deps = &stream.connection.deps;
    let external = found.cluster.is_some_and(|cluster| cluster.metadata.external);
    let taken = take(headers);
    if settings.downstream_discovery
        && let Some(peer) = taken.and_then(|value| deps.peers.get(value.as_bytes()))
    {
        stream.log.with(|record| record.downstream_metadata = Some(peer));
    }
    if settings.upstream_propagation && !(settings.skip_external_clusters && external) {
        headers.insert(METADATA, deps.own_metadata.clone());
        headers.insert(METADATA_ID, deps.node_id.clone());
    }
}

/// Reads the upstream's metadata and sets this workload's for the client.
pub fn on_response(settings: &Settings, stream: &Stream, headers: &mut HeaderMap) {
    let deps = &stream.connection.deps;
    let taken = take(headers);
    if settings.upstream_discovery {
        let peer: Option<Arc<PeerMetadata>> =
            taken.and_then(|value| deps.peers.get(value.as_bytes()));
        if peer.is_some() {
            stream.log.with(|record| record.upstream_metadata = peer);
        }
    }
    // Only a client that sent its own metadata understands ours.
    let asked = stream.log.with(|record| record.downstream_metadata.is_some());
    if settings.downstream_propagation && asked {
        headers.insert(METADATA, deps.own_metadata.clone());
        headers.insert(METADATA_ID, deps.node_id.clone());
    }
}

fn take(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(METADATA_ID);
    headers.remove(METADATA)
}
