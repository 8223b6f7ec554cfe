//! First bytes of connections, and the protocol found in them.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;

const BOTH: Want = Want { tls: true, http: true };

/// A ClientHello as rustls writes it.
fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let mut config = rustls::ClientConfig::builder_with_provider(mesh_rt::crypto::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same hello cut into records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let content = &hello[RECORD_HEADER..];
    let mut bytes = Vec::new();
    for part in content.chunks(size) {
        bytes.extend([HANDSHAKE_RECORD, 3, 1]);
        bytes.extend((part.len() as u16).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

fn once(bytes: &[u8], want: Want) -> Verdict {
    Inspector::new(want).look(bytes)
}

/// Feeds byte by byte, as often as more is asked for.
fn trickled(bytes: &[u8], want: Want) -> Verdict {
    let mut inspector = Inspector::new(want);
    for end in 0..=bytes.len() {
        match inspector.look(&bytes[..end]) {
            Verdict::NeedMore(_) => {}
            verdict => return verdict,
        }
    }
    Verdict::NeedMore(bytes.len() + 1)
}

#[test]
fn tls_names_are_found() {
    let bytes = hello("Outbound.Example.com", &["istio-http/1.1", "h2"]);
    let expected = Verdict::Decided(Seen {
        tls: true,
        server_name: Some("outbound.example.com".into()),
        application_protocols: vec!["istio-http/1.1".into(), "h2".into()],
    });
    assert_eq!(once(&bytes, BOTH), expected);
    assert_eq!(trickled(&bytes, BOTH), expected);
    for size in [1, 3, 100] {
        assert_eq!(trickled(&in_records(&bytes, size), BOTH), expected, "records of {size}");
    }
    // Without the TLS inspector it is just bytes.
    assert_eq!(once(&bytes, Want { tls: false, http: true }), Verdict::Decided(Seen::default()));
}

#[test]
fn http_prefaces_are_told_apart() {
    for (text, protocol) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n", Some("http/1.1")),
        ("GET / HTTP/1.0\r\n", Some("http/1.0")),
        ("OPTIONS * HTTP/1.1\n", Some("http/1.1")),
        ("PURGE-x http://a/b?c HTTP/1.1\r\n", Some("http/1.1")),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some("h2c")),
        ("GET / HTTP/1.2\r\n", None),
        ("GET / HTTP/2.0\r\n", None),
        ("GET key\r\n", None),
        ("GET  HTTP/1.1\r\n", None),
        (" GET / HTTP/1.1\r\n", None),
        ("*1\r\n$4\r\nPING\r\n", None),
        ("SSH-2.0-OpenSSH_9\r\n", None),
        ("\0\0\0\u{1}", None),
    ] {
        let verdict = Verdict::Decided(protocol.map_or_else(Seen::default, http));
        assert_eq!(once(text.as_bytes(), BOTH), verdict, "{text:?}");
        assert_eq!(trickled(text.as_bytes(), BOTH), verdict, "{text:?} trickled");
    }
}

#[test]
fn what_cannot_be_decided_yet_asks_for_more() {
    for text in ["", "G", "GET /x", "GET /x HTTP/1", "PRI * HTTP/2.0\r\n\r\nS"] {
        assert!(matches!(once(text.as_bytes(), BOTH), Verdict::NeedMore(_)), "{text:?}");
    }
    assert_eq!(once(b"", Want { tls: false, http: false }), Verdict::Decided(Seen::default()));
}

#[test]
fn lengths_are_bounded() {
    let long_method = vec![b'A'; MAX_METHOD + 1];
    assert_eq!(once(&long_method, BOTH), Verdict::Decided(Seen::default()));
    let mut long_line = b"GET /".to_vec();
    long_line.resize(MAX_REQUEST_LINE + 1, b'a');
    assert_eq!(once(&long_line, BOTH), Verdict::Decided(Seen::default()));
    let huge_record = [22, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff];
    assert!(matches!(once(&huge_record, BOTH), Verdict::Refused(_)));
    let huge_message = [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    assert!(matches!(once(&huge_message, BOTH), Verdict::Refused(_)));
}

#[test]
fn truncated_hellos_are_refused_not_guessed() {
    let bytes = hello("a.example", &["h2"]);
    // The handshake says it is shorter than its fields need.
    let mut cut = bytes[..60].to_vec();
    let content = (cut.len() - RECORD_HEADER) as u16;
    cut[3..5].copy_from_slice(&content.to_be_bytes());
    let body = u32::from(content) - HANDSHAKE_HEADER as u32;
    cut[6..9].copy_from_slice(&body.to_be_bytes()[1..]);
    assert_eq!(once(&cut, BOTH), Verdict::Refused("malformed ClientHello"));
}

proptest! {
    #[test]
    fn never_panics_and_is_the_same_however_it_arrives(
        kind in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut input = match kind {
            0 => Vec::new(),
            1 => vec![22, 3, 1, 0, 90, 1, 0, 0, 86, 3, 3],
            2 => b"GET /".to_vec(),
            _ => hello("a.example", &["h2"]),
        };
        input.extend(bytes);
        for want in [BOTH, Want { tls: true, http: false }, Want { tls: false, http: true }] {
            let (whole, slow) = (once(&input, want), trickled(&input, want));
            match (whole, slow) {
                (Verdict::NeedMore(_), slow) => {
                    prop_assert!(matches!(slow, Verdict::NeedMore(_)));
                }
                (whole, slow) => prop_assert_eq!(whole, slow),
            }
        }
    }
}
