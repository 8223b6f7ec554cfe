//! Envoy's order of matching, against a search that tries every chain.

use proptest::prelude::*;

use super::*;

fn chain(name: &str, matching: ChainMatch) -> Arc<FilterChain> {
    Arc::new(FilterChain {
        name: name.into(),
        matching,
        transport: DownstreamTransport::Raw,
        filters: Vec::new(),
        terminal: Terminal::Refuse { reason: "test".into() },
        transport_hash: 0,
        transport_socket_connect_timeout: None,
    })
}

fn texts(values: &[&str]) -> Vec<Arc<str>> {
    values.iter().map(|value| Arc::from(*value)).collect()
}

fn facts(destination: &str, sni: &str, tls: bool, alpn: &[&str]) -> ConnFacts {
    ConnFacts {
        transport: if tls { DetectedTransport::Tls } else { DetectedTransport::Raw },
        server_name: (!sni.is_empty()).then(|| sni.into()),
        application_protocols: texts(alpn),
        ..ConnFacts::plain(destination.parse().unwrap(), "10.9.9.9:5000".parse().unwrap())
    }
}

/// The chains of a port in PERMISSIVE mode that speaks an unknown protocol.
#[test]
fn the_inbound_matrix_is_told_apart() {
    let port = |transport, alpn: &[&str]| ChainMatch {
        destination_port: Some(9080),
        transport,
        application_protocols: texts(alpn),
        ..ChainMatch::default()
    };
    let (raw, tls) = (Some(DetectedTransport::Raw), Some(DetectedTransport::Tls));
    let chains = FilterChains::new(vec![
        chain("mtls-http", port(tls, &["istio-http/1.0", "istio-http/1.1", "istio-h2"])),
        chain("http", port(raw, &["http/1.1", "h2c"])),
        chain("mtls-tcp", port(tls, &["istio-peer-exchange", "istio"])),
        chain("tcp", port(raw, &[])),
        chain("tls", port(tls, &[])),
        chain("blackhole", ChainMatch { destination_port: Some(15006), ..ChainMatch::default() }),
        chain("other", ChainMatch::default()),
    ])
    .unwrap();
    for (destination, tls, alpn, expected) in [
        ("10.0.0.1:9080", true, &["istio-h2", "istio"][..], "mtls-http"),
        ("10.0.0.1:9080", true, &["istio-peer-exchange", "istio"], "mtls-tcp"),
        ("10.0.0.1:9080", true, &["h2"], "tls"),
        ("10.0.0.1:9080", false, &["http/1.1"], "http"),
        ("10.0.0.1:9080", false, &[], "tcp"),
        ("10.0.0.1:15006", false, &[], "blackhole"),
        ("10.0.0.1:1234", true, &[], "other"),
    ] {
        let found = chains.find(&facts(destination, "", tls, alpn)).map(|chain| &*chain.name);
        assert_eq!(found, Some(expected), "{destination} {alpn:?}");
    }
}

#[test]
fn a_more_specific_criterion_leaves_no_way_back() {
    let ranges = |ranges: &[&str]| ranges.iter().map(|r| r.parse().unwrap()).collect();
    let chains = FilterChains::new(vec![
        chain("wide", ChainMatch { prefix_ranges: ranges(&["10.0.0.0/8"]), ..Default::default() }),
        chain(
            "narrow",
            ChainMatch {
                prefix_ranges: ranges(&["10.1.0.0/16"]),
                server_names: texts(&["a.example.com"]),
                ..Default::default()
            },
        ),
        chain("sni", ChainMatch { server_names: texts(&["*.example.com"]), ..Default::default() }),
        chain(
            "deep",
            ChainMatch { server_names: texts(&["*.b.example.com"]), ..Default::default() },
        ),
    ])
    .unwrap();
    for (destination, sni, expected) in [
        ("10.2.0.1:80", "", Some("wide")),
        ("10.1.0.1:80", "a.example.com", Some("narrow")),
        ("10.1.0.1:80", "", None),
        ("11.0.0.1:80", "x.example.com", Some("sni")),
        ("11.0.0.1:80", "x.b.example.com", Some("deep")),
        ("11.0.0.1:80", "example.com", None),
    ] {
        let found = chains.find(&facts(destination, sni, true, &[])).map(|chain| &*chain.name);
        assert_eq!(found, expected, "{destination} {sni}");
    }
}

#[test]
fn sources_are_told_apart() {
    let chains = FilterChains::new(vec![
        chain("any", ChainMatch::default()),
        chain(
            "local",
            ChainMatch { source_type: SourceType::SameIpOrLoopback, ..Default::default() },
        ),
        chain("port", ChainMatch { source_ports: vec![5000], ..Default::default() }),
    ])
    .unwrap();
    let mut facts = facts("10.0.0.1:80", "", false, &[]);
    assert_eq!(&*chains.find(&facts).unwrap().name, "port");
    facts.peer.set_port(1);
    assert_eq!(&*chains.find(&facts).unwrap().name, "any");
    facts.peer.set_ip("10.0.0.1".parse().unwrap());
    assert_eq!(&*chains.find(&facts).unwrap().name, "local");
}

#[test]
fn chains_that_match_the_same_are_refused() {
    let one = ChainMatch { server_names: texts(&["a", "b"]), ..Default::default() };
    let two = ChainMatch { server_names: texts(&["b"]), ..Default::default() };
    let error = FilterChains::new(vec![chain("one", one), chain("two", two)]).unwrap_err();
    assert_eq!((&*error.first, &*error.second), ("one", "two"));
}

/// Envoy's rule, written down once more: narrow the set criterion by criterion.
fn naive<'a>(chains: &'a [Arc<FilterChain>], facts: &ConnFacts) -> Option<&'a str> {
    let mut left: Vec<&Arc<FilterChain>> = chains.iter().collect();
    let port = left.iter().any(|c| c.matching.destination_port == Some(facts.destination.port()));
    left.retain(|c| c.matching.destination_port == port.then_some(facts.destination.port()));
    let bits = |c: &Arc<FilterChain>| {
        if c.matching.prefix_ranges.is_empty() {
            return Some(0);
        }
        let held = c.matching.prefix_ranges.iter().filter(|r| r.contains(&facts.destination.ip()));
        held.map(|r| u32::from(r.prefix_len())).max()
    };
    let best = left.iter().filter_map(|c| bits(c)).max()?;
    left.retain(|c| bits(c) == Some(best));
    let name = facts.server_name.as_deref().unwrap_or_default();
    let fit = |c: &Arc<FilterChain>| {
        if c.matching.server_names.is_empty() {
            return Some(0);
        }
        let fits = c.matching.server_names.iter().filter_map(|want| match want.strip_prefix('*') {
            Some(suffix) => {
                (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len())
            }
            None => (&**want == name).then_some(usize::MAX),
        });
        fits.max()
    };
    let best = left.iter().filter_map(|c| fit(c)).max()?;
    left.retain(|c| fit(c) == Some(best));
    let exact = left.iter().any(|c| c.matching.transport == Some(facts.transport));
    left.retain(|c| c.matching.transport == exact.then_some(facts.transport));
    let protocol = facts
        .application_protocols
        .iter()
        .find(|p| left.iter().any(|c| c.matching.application_protocols.contains(p)));
    left.retain(|c| match protocol {
        Some(protocol) => c.matching.application_protocols.contains(protocol),
        None => c.matching.application_protocols.is_empty(),
    });
    left.first().map(|c| &*c.name)
}

fn matching() -> impl Strategy<Value = ChainMatch> {
    let ranges = prop::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32"], 0..2);
    let names = prop::sample::subsequence(vec!["a.b.c", "*.b.c", "*.c"], 0..2);
    let alpn = prop::sample::subsequence(vec!["h2", "http/1.1", "istio"], 0..2);
    let port = prop::option::of(prop::sample::select(vec![80_u16, 443]));
    let transport = prop::option::of(prop::sample::select(vec![
        DetectedTransport::Raw,
        DetectedTransport::Tls,
    ]));
    (ranges, names, alpn, port, transport).prop_map(|(ranges, names, alpn, port, transport)| {
        ChainMatch {
            destination_port: port,
            prefix_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            server_names: texts(&names),
            application_protocols: texts(&alpn),
            transport,
            ..ChainMatch::default()
        }
    })
}

proptest! {
    #[test]
    fn find_is_envoys_rule(
        matches in prop::collection::vec(matching(), 1..8),
        destination in prop::sample::select(vec!["10.1.1.1:80", "10.1.2.3:443", "10.2.0.1:80", "11.0.0.1:90"]),
        sni in prop::sample::select(vec!["", "a.b.c", "x.b.c", "y.c", "z"]),
        tls in any::<bool>(),
        alpn in prop::sample::subsequence(vec!["h2", "http/1.1", "istio", "x"], 0..3),
    ) {
        let chains: Vec<_> =
            matches.into_iter().enumerate().map(|(n, m)| chain(&n.to_string(), m)).collect();
        let facts = facts(destination, sni, tls, &alpn);
        if let Ok(index) = FilterChains::new(chains.clone()) {
            prop_assert_eq!(index.find(&facts).map(|c| &*c.name), naive(&chains, &facts));
        }
    }
}
