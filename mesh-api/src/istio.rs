//! Istio's own protobuf messages, written anew and wire-compatible.

#![allow(missing_docs, clippy::all, clippy::wildcard_imports)] // Generated code.

/// The certificate authority: `istio.v1.auth.IstioCertificateService`.
pub mod ca {
    include!(concat!(env!("OUT_DIR"), "/istio.v1.auth.rs"));
}

/// The name table of NDS.
pub mod nds {
    include!(concat!(env!("OUT_DIR"), "/istio.networking.nds.v1.rs"));
}

/// Workloads and services of WDS.
pub mod workload {
    include!(concat!(env!("OUT_DIR"), "/istio.workload.rs"));
}

/// Connection-level policies of WADS.
pub mod security {
    include!(concat!(env!("OUT_DIR"), "/istio.security.rs"));
}

/// The pushed part of ProxyConfig (PCDS).
pub mod mesh {
    include!(concat!(env!("OUT_DIR"), "/istio.mesh.v1alpha1.rs"));
}

/// Istio's own filters.
pub mod filter {
    /// `istio.stats`: Istio's metrics.
    pub mod stats {
        include!(concat!(env!("OUT_DIR"), "/stats.rs"));
    }

    /// `istio.alpn`: ALPN towards the upstream.
    pub mod alpn {
        include!(concat!(env!("OUT_DIR"), "/istio.envoy.config.filter.http.alpn.v2alpha1.rs"));
    }

    /// Peer metadata over HTTP.
    pub mod peer_metadata {
        include!(concat!(env!("OUT_DIR"), "/io.istio.http.peer_metadata.rs"));
    }

    /// Peer metadata over TCP.
    pub mod metadata_exchange {
        include!(concat!(env!("OUT_DIR"), "/envoy.tcp.metadataexchange.config.rs"));
    }
}

/// A message as a `Struct` with its type named.
pub mod typed_struct {
    include!(concat!(env!("OUT_DIR"), "/xds.r#type.v3.rs"));

    /// The older name of the same message.
    pub mod udpa {
        include!(concat!(env!("OUT_DIR"), "/udpa.r#type.v1.rs"));
    }
}
