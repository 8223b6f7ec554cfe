//! What is captured, and what is not.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::world::{
    Door, Outcome, PEER, PEER_V6, POD, POD_V6, Users, Who, World, at, init, ruleset,
};

type Scenario = fn(&World) -> Outcome;

pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("all_is_captured_by_nft", |world| captured(world, "nft")),
    ("all_is_captured_by_iptables_nft", |world| captured(world, "iptables-nft")),
    ("all_is_captured_by_iptables_legacy", |world| captured(world, "iptables-legacy")),
    ("ipv6_is_captured", ipv6),
    ("exclusions_are_left_alone", exclusions),
    ("only_listed_destinations_are_captured", listed),
    ("dns_goes_to_the_proxy", dns),
    ("twice_is_once_and_cleanup_leaves_nothing", twice),
    ("a_check_tells_whether_capture_works", validation),
    ("dry_run_changes_nothing", dry_run),
];

/// What the injected init container passes.
const INJECTED: [&str; 16] = [
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
];

fn set(more: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    init(&[&INJECTED, more].concat())
}

/// The ways in which the proxy can be told here.
fn proxy(world: &World) -> &'static [Who] {
    match world.users {
        Users::All => &[Who::Marked, Who::ProxyUser],
        Users::One => &[Who::Marked],
    }
}

fn captured(world: &World, backend: &str) -> Outcome {
    let said = set(&["--backend", backend])?;
    assert!(said.contains(&format!("by {backend}")), "{said}");
    let unmapped = said.contains("uid 1337, gid 1337 not mapped");
    assert_eq!(unmapped, world.users == Users::One, "{said}");

    let outbound = Door::open(Ipv4Addr::UNSPECIFIED, 15001)?;
    let inbound = Door::open(Ipv4Addr::UNSPECIFIED, 15006)?;
    let application = Door::open(Ipv4Addr::UNSPECIFIED, 8080)?;
    let foreign = world.in_peer(|| Door::open(PEER, 80))?;
    let outside = at(PEER, 80);

    let _kept = world.connect(Who::Application, outside)?;
    assert_eq!(outbound.next()?, outside, "the application's connection goes to the proxy");
    foreign.nobody()?;
    for who in proxy(world) {
        let _kept = world.connect(*who, outside)?;
        assert_eq!(foreign.next()?, outside, "{who:?} goes its own way");
        outbound.nobody()?;
    }

    let _kept = world.in_peer(|| std::net::TcpStream::connect(at(POD, 8080)))?;
    assert_eq!(inbound.next()?, at(POD, 8080), "a connection from outside goes to the proxy");
    application.nobody()?;

    // The application talks to itself.
    let _kept = world.connect(Who::Application, at(Ipv4Addr::LOCALHOST, 8080))?;
    assert_eq!(application.next()?, at(Ipv4Addr::LOCALHOST, 8080));
    let _kept = world.connect(Who::Application, at(POD, 8080))?;
    assert_eq!(application.next()?, at(POD, 8080));
    for who in proxy(world) {
        // The proxy talks to the application, and to its own pod as a service's endpoint.
        let _kept = world.connect(*who, at(Ipv4Addr::LOCALHOST, 8080))?;
        assert_eq!(application.next()?, at(Ipv4Addr::LOCALHOST, 8080), "{who:?}");
        let _kept = world.connect(*who, at(POD, 8080))?;
        assert_eq!(inbound.next()?, at(POD, 8080), "{who:?}");
    }
    outbound.nobody()?;
    inbound.nobody()
}

fn ipv6(world: &World) -> Outcome {
    set(&[])?;
    let outbound = Door::open(Ipv6Addr::UNSPECIFIED, 15001)?;
    let inbound = Door::open(Ipv6Addr::UNSPECIFIED, 15006)?;
    let foreign = world.in_peer(|| Door::open(Ipv6Addr::UNSPECIFIED, 80))?;
    let outside = at(PEER_V6, 80);
    let _kept = world.connect(Who::Application, outside)?;
    assert_eq!(outbound.next()?, outside);
    let _kept = world.connect(Who::Marked, outside)?;
    assert_eq!(foreign.next()?, outside);
    let _kept = world.in_peer(|| std::net::TcpStream::connect(at(POD_V6, 8080)))?;
    assert_eq!(inbound.next()?, at(POD_V6, 8080));
    outbound.nobody()
}

fn exclusions(world: &World) -> Outcome {
    let lists = ["-x", "10.88.0.0/16", "-o", "81", "-d", "15090,15021,15020,9090"];
    init(&[&INJECTED[..10], &lists, &["-b", "*"]].concat())?;
    let outbound = Door::open(Ipv4Addr::UNSPECIFIED, 15001)?;
    let inbound = Door::open(Ipv4Addr::UNSPECIFIED, 15006)?;
    for port in [9090, 15008, 15020] {
        let direct = Door::open(Ipv4Addr::UNSPECIFIED, port)?;
        let _kept = world.in_peer(|| std::net::TcpStream::connect(at(POD, port)))?;
        assert_eq!(direct.next()?, at(POD, port));
    }
    inbound.nobody()?;
    for target in [at("10.88.0.1", 80), at(PEER, 81)] {
        let foreign = world.in_peer(|| Door::open(target.ip(), target.port()))?;
        let _kept = world.connect(Who::Application, target)?;
        assert_eq!(foreign.next()?, target);
    }
    outbound.nobody()
}

fn listed(world: &World) -> Outcome {
    init(&["-i", "10.77.0.0/24", "-q", "443", "-b", "8080"])?;
    let outbound = Door::open(Ipv4Addr::UNSPECIFIED, 15001)?;
    let inbound = Door::open(Ipv4Addr::UNSPECIFIED, 15006)?;
    for target in [at(PEER, 80), at("10.88.0.1", 443)] {
        let _kept = world.connect(Who::Application, target)?;
        assert_eq!(outbound.next()?, target);
    }
    let other = at("10.88.0.1", 80);
    let foreign = world.in_peer(|| Door::open(other.ip(), other.port()))?;
    let _kept = world.connect(Who::Application, other)?;
    assert_eq!(foreign.next()?, other);
    let _kept = world.in_peer(|| std::net::TcpStream::connect(at(POD, 8080)))?;
    assert_eq!(inbound.next()?, at(POD, 8080));
    let direct = Door::open(Ipv4Addr::UNSPECIFIED, 8081)?;
    let _kept = world.in_peer(|| std::net::TcpStream::connect(at(POD, 8081)))?;
    assert_eq!(direct.next()?, at(POD, 8081));
    outbound.nobody()
}

fn dns(world: &World) -> Outcome {
    set(&["--redirect-dns", "--capture-all-dns"])?;
    let proxy = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 15053))?;
    proxy.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let over_tcp = Door::open(Ipv4Addr::LOCALHOST, 15053)?;
    let client = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    client.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    client.send_to(b"query", at(PEER, 53))?;
    let mut buffer = [0; 16];
    let (length, from) = proxy.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"query");
    proxy.send_to(b"answer", from)?;
    let (length, from) = client.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], from), (&b"answer"[..], at(PEER, 53)), "as from the server");
    let _kept = world.connect(Who::Application, at(PEER, 53))?;
    assert_eq!(over_tcp.next()?, at(PEER, 53));

    // The proxy's own queries reach the server, from whatever port.
    let server = world.in_peer(|| std::net::UdpSocket::bind((PEER, 53)))?;
    server.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let own = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    own.set_mark(1337)?;
    let own = std::net::UdpSocket::from(own);
    own.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    own.send_to(b"own", at(PEER, 53))?;
    let (length, from) = server.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"own");
    server.send_to(b"back", from)?;
    let (length, _) = own.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"back");
    Ok(())
}

fn twice(_world: &World) -> Outcome {
    for backend in ["nft", "iptables-nft", "iptables-legacy"] {
        let line = ["--backend", backend, "--redirect-dns", "--capture-all-dns"];
        set(&line)?;
        let once = ruleset()?;
        assert!(once.contains("15001"), "{once}");
        set(&line)?;
        assert_eq!(ruleset()?, once, "{backend}");
        // Other flags replace, they do not add.
        init(&["--backend", backend, "-m", "TPROXY", "--drop-invalid"])?;
        assert!(!ruleset()?.contains("15053"), "{backend}: rules of the earlier flags stay");
        init(&["--cleanup"])?;
        let left = ruleset()?;
        let ours = |line: &&str| line.contains("ISTIO_") || line.contains("istio-proxy");
        assert_eq!(left.lines().find(ours), None, "{backend}");
        // Cleaning what is clean is no error.
        init(&["--cleanup"])?;
    }
    Ok(())
}

fn validation(_world: &World) -> Outcome {
    let check = ["--run-validation", "--skip-rule-apply", "--probe-timeout", "1"];
    let error = set(&check).expect_err("nothing is captured yet").to_string();
    assert!(error.contains("connections are not captured"), "{error}");
    set(&[])?;
    let said = set(&check)?;
    assert!(said.contains("arrived with its original destination"), "{said}");
    Ok(())
}

fn dry_run(_world: &World) -> Outcome {
    let before = ruleset()?;
    init(&["--dry-run"])?;
    assert_eq!(ruleset()?, before);
    Ok(())
}
