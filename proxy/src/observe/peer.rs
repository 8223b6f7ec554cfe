//! What another workload says of itself: Istio's peer metadata, a base64 `google.protobuf.Struct`
//! in a header. Decoded once per distinct value.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;

/// Encoded metadata that is accepted, in bytes.
const MAX_ENCODED: usize = 16 * 1024;
/// Distinct values that are remembered per worker.
const MAX_REMEMBERED: usize = 4096;

/// A workload, as metrics name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerMetadata {
    /// The pod.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its workload.
    pub workload: Arc<str>,
    /// Its cluster.
    pub cluster: Arc<str>,
    /// The object that owns it.
    pub owner: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// The canonical service.
    pub canonical_name: Arc<str>,
    /// Its revision.
    pub canonical_revision: Arc<str>,
}

impl PeerMetadata {
    /// The header's value for this workload.
    pub fn encode(&self) -> String {
        let text =
            |value: &str| wire::Value { string_value: Some(value.to_owned()), struct_value: None };
        let mut labels = wire::Struct::default();
        for (key, value) in [
            ("app", &self.app),
            ("version", &self.version),
            ("service.istio.io/canonical-name", &self.canonical_name),
            ("service.istio.io/canonical-revision", &self.canonical_revision),
        ] {
            if !value.is_empty() {
                labels.fields.insert(key.to_owned(), text(value));
            }
        }
        let mut all = wire::Struct::default();
        for (key, value) in [
            ("NAME", &self.name),
            ("NAMESPACE", &self.namespace),
            ("WORKLOAD_NAME", &self.workload),
            ("CLUSTER_ID", &self.cluster),
            ("OWNER", &self.owner),
        ] {
            if !value.is_empty() {
                all.fields.insert(key.to_owned(), text(value));
            }
        }
        all.fields.insert(
            "LABELS".to_owned(),
            wire::Value { string_value: None, struct_value: Some(labels) },
        );
        BASE64_STANDARD.encode(all.encode_to_vec())
    }

    /// Reads a header's value; `None` when it is not one, or too long.
    pub fn decode(header: &str) -> Option<Self> {
        if header.len() > MAX_ENCODED {
            return None;
        }
        let bytes = BASE64_STANDARD.decode(header).ok()?;
        let fields = wire::Struct::decode(&*bytes).ok()?.fields;
        let text = |name: &str| -> Arc<str> {
            let value = fields.get(name).and_then(|value| value.string_value.as_deref());
            value.unwrap_or_default().into()
        };
        let labels = fields.get("LABELS").and_then(|value| value.struct_value.as_ref());
        let label = |name: &str| -> Arc<str> {
            let value = labels.and_then(|labels| labels.fields.get(name));
            value.and_then(|value| value.string_value.as_deref()).unwrap_or_default().into()
        };
        Some(Self {
            name: text("NAME"),
            namespace: text("NAMESPACE"),
            workload: text("WORKLOAD_NAME"),
            cluster: text("CLUSTER_ID"),
            owner: text("OWNER"),
            app: label("app"),
            version: label("version"),
            canonical_name: label("service.istio.io/canonical-name"),
            canonical_revision: label("service.istio.io/canonical-revision"),
        })
    }
}

/// Headers, and what they say; nothing where they do not decode.
type Decoded = HashMap<Box<[u8]>, Option<Arc<PeerMetadata>>>;

/// The values a worker has decoded.
#[derive(Debug, Default)]
pub struct PeerCache(RefCell<Decoded>);

impl PeerCache {
    /// What `header` says; remembered for the next request of the same workload.
    pub fn get(&self, header: &[u8]) -> Option<Arc<PeerMetadata>> {
        let mut held = self.0.borrow_mut();
        if let Some(known) = held.get(header) {
            return known.clone();
        }
        if held.len() >= MAX_REMEMBERED {
            held.clear();
        }
        let text = std::str::from_utf8(header).ok();
        let decoded = text.and_then(PeerMetadata::decode).map(Arc::new);
        if header.len() <= MAX_ENCODED {
            held.insert(header.into(), decoded.clone());
        }
        decoded
    }
}

/// The two messages of `google/protobuf/struct.proto` that are used, with ordered fields so that
/// the same workload always encodes alike.
mod wire {
    use std::collections::BTreeMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Struct {
        #[prost(btree_map = "string, message", tag = "1")]
        pub fields: BTreeMap<String, Value>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Value {
        #[prost(string, optional, tag = "3")]
        pub string_value: Option<String>,
        #[prost(message, optional, tag = "5")]
        pub struct_value: Option<Struct>,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{PeerCache, PeerMetadata};

    #[test]
    fn metadata_survives_the_header() {
        let workload = PeerMetadata {
            name: "reviews-v1-abc".into(),
            namespace: "default".into(),
            workload: "reviews-v1".into(),
            cluster: "Kubernetes".into(),
            owner: "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1".into(),
            app: "reviews".into(),
            version: "v1".into(),
            canonical_name: "reviews".into(),
            canonical_revision: "v1".into(),
        };
        let header = workload.encode();
        assert_eq!(header, workload.encode(), "the encoding is stable");
        let cache = PeerCache::default();
        let first = cache.get(header.as_bytes()).unwrap();
        assert_eq!(*first, workload);
        assert!(Arc::ptr_eq(&first, &cache.get(header.as_bytes()).unwrap()));
        assert_eq!(cache.get(b"not base64!"), None);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(text in "\\PC{0,64}") {
            let _ = PeerMetadata::decode(&text);
        }
    }
}
