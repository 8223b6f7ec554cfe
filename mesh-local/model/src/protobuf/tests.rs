//! Bodies recorded from a real kubectl, hand-made ones, and arbitrary bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::{any, prop, proptest};
use serde_json::{Value, json};

use super::{DecodeError, MAX_DEPTH, decode};
use crate::builtin;
use crate::kind::Gvk;

fn recorded() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    include_str!("kubectl.txt").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, body) = line.split_once(' ').unwrap();
        (name, STANDARD.decode(body).unwrap())
    })
}

#[test]
fn what_kubectl_sends() {
    let objects: serde_json::Map<String, Value> =
        recorded().map(|(name, body)| (name.to_owned(), decode(&body).unwrap())).collect();
    insta::assert_json_snapshot!(objects);
}

#[test]
fn what_kubectl_sends_has_only_known_fields() {
    for (name, body) in recorded() {
        let mut object = decode(&body).unwrap();
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let gvk = Gvk::from_api_version(&text("apiVersion"), &text("kind"));
        // Quotas and cron jobs decode, but are not served.
        let Some(builtin) = builtin::find(&gvk) else {
            assert!(matches!(gvk.kind.as_str(), "ResourceQuota" | "CronJob"), "{gvk}");
            continue;
        };
        assert_eq!(builtin.decode(&mut object).unwrap(), [], "{name}");
    }
}

/// Wraps a message in a length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128 && number < 16);
    let mut out = vec![number << 3 | 2, bytes.len() as u8];
    out.extend(bytes);
    out
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let mut out = b"k8s\0".to_vec();
    out.extend(field(1, &type_meta));
    out.extend(field(2, raw));
    out
}

#[test]
fn maps_times_and_unknown_fields() {
    let metadata = [
        field(1, b"x"),
        field(8, &[8, 0x80, 0x94, 0xeb, 0xdc, 3]),
        field(11, &[field(1, b"app"), field(2, b"")].concat()),
        field(15, b"a field of the future"),
    ]
    .concat();
    let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let raw = [field(1, &metadata), data].concat();
    assert_eq!(
        decode(&envelope("v1", "ConfigMap", &raw)).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "x", "labels": {"app": ""}, "creationTimestamp": "2001-09-09T01:46:40Z",
            },
            "data": {"k": "v"},
        })
    );
}

#[test]
fn refusals() {
    let cases = [
        (b"{}".to_vec(), "the body does not start with the Kubernetes protobuf prefix"),
        (
            envelope("example.com/v1", "Widget", b""),
            "protobuf is not accepted for example.com/v1 \"Widget\": send application/json",
        ),
        (
            envelope("v1", "ConfigMap", b"\x0a\x05x"),
            "malformed protobuf in core.v1.ConfigMap: a field is longer than its message",
        ),
        (
            envelope("v1", "ConfigMap", &field(1, &field(1, b"\xff"))),
            "malformed protobuf in meta.v1.ObjectMeta: a string is not UTF-8",
        ),
        (
            envelope("v1", "ConfigMap", b"\x08\x01"),
            "malformed protobuf in core.v1.ConfigMap: a field has the wrong wire type",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(decode(&body).unwrap_err().to_string(), expected);
    }
    let encoded = [b"k8s\0".to_vec(), field(3, b"gzip")].concat();
    assert_eq!(decode(&encoded), Err(DecodeError::Encoded("gzip".to_owned())));
}

#[test]
fn no_message_of_the_table_nests_beyond_the_limit() {
    // The table has no recursive message, so the depth limit is a second line of defence.
    let body = envelope("v1", "Pod", &[]);
    assert!(decode(&body).is_ok());
    const { assert!(MAX_DEPTH >= 32) };
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        raw in prop::collection::vec(any::<u8>(), 0..120),
        kind in prop::sample::select(vec!["Pod", "Service", "ConfigMap", "Event"]),
    ) {
        let _ = decode(&raw);
        let _ = decode(&envelope("v1", kind, &raw));
    }

    #[test]
    fn damaged_bodies_never_panic(
        which in 0_usize..20, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = recorded().nth(which).unwrap().1;
        let index = at.index(body.len());
        body[index] = byte;
        let _ = decode(&body);
        body.truncate(index);
        let _ = decode(&body);
    }
}
