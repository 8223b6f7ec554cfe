//! What a lookup answers before, during and after an on-demand request.

use super::*;
use crate::filter_chain::FilterChains;
use crate::listener::{Inspection, OriginalDst, TrafficDirection};

fn listener(name: &str, bind: bool) -> (Arc<str>, Arc<Listener>) {
    let listener = Listener {
        name: name.into(),
        version: Arc::default(),
        address: "0.0.0.0:0".parse().unwrap(),
        additional_addresses: Vec::new(),
        bind,
        use_original_dst: false,
        original_dst: OriginalDst::Local,
        direction: TrafficDirection::Outbound,
        inspect: Inspection::default(),
        chains: FilterChains::default(),
        default_chain: None,
        access_logs: Vec::new(),
        proxy_protocol: None,
        per_connection_buffer_limit: None,
        connection_limit: None,
        tcp_backlog: None,
        reuse_port: false,
        transparent: false,
        freebind: false,
        tcp_keepalive: None,
        stat_prefix: None,
        config: None,
        socket_hash: 0,
    };
    (name.into(), Arc::new(listener))
}

fn mesh(policy: OutboundTrafficPolicy) -> MeshFacts {
    MeshFacts {
        on_demand: Some(OnDemand {
            cidrs: CidrSet::new(["10.0.0.0/8".parse().unwrap()]),
            outbound_traffic_policy: policy,
        }),
    }
}

#[test]
fn a_destination_has_its_own_listener_or_the_ports() {
    let mut snapshot = Snapshot::default();
    snapshot.listeners.held.extend([
        listener("10.0.0.1_80", false),
        listener("0.0.0.0_80", false),
        listener("virtualOutbound", true),
    ]);
    let name = |snapshot: &Snapshot, destination: &str| {
        snapshot.listener_for(destination.parse().unwrap()).map(|found| found.name.to_string())
    };
    for (destination, expected) in [
        ("10.0.0.1:80", Lookup::Found("10.0.0.1_80".to_owned())),
        ("[::ffff:10.0.0.1]:80", Lookup::Found("10.0.0.1_80".to_owned())),
        ("10.0.0.2:80", Lookup::Found("0.0.0.0_80".to_owned())),
        ("10.0.0.2:81", Lookup::Absent),
    ] {
        assert_eq!(name(&snapshot, destination), expected, "{destination}");
    }
    assert_eq!(snapshot.bound_listeners().count(), 1);

    snapshot.mesh = mesh(OutboundTrafficPolicy::AllowAny);
    let unknown = ResourceName::new(TypeUrl::Listener, "10.0.0.2_80");
    assert_eq!(name(&snapshot, "10.0.0.2:80"), Lookup::Unknown(unknown));
    snapshot.listeners.absent.insert("10.0.0.2_80".into());
    assert_eq!(name(&snapshot, "10.0.0.2:80"), Lookup::Found("0.0.0.0_80".to_owned()));
}

#[test]
fn silence_fails_closed_inside_the_mesh() {
    let conn = |destination: &str| {
        ConnFacts::plain(destination.parse().unwrap(), "10.9.9.9:1".parse().unwrap())
    };
    let mut snapshot = Snapshot::default();
    assert_eq!(snapshot.unanswered(&conn("10.0.0.1:80")), Unanswered::PassThrough);
    snapshot.mesh = mesh(OutboundTrafficPolicy::AllowAny);
    assert_eq!(snapshot.unanswered(&conn("10.0.0.1:80")), Unanswered::Refuse);
    assert_eq!(snapshot.unanswered(&conn("8.8.8.8:80")), Unanswered::PassThrough);
    snapshot.mesh = mesh(OutboundTrafficPolicy::RegistryOnly);
    assert_eq!(snapshot.unanswered(&conn("8.8.8.8:80")), Unanswered::Refuse);
}

#[test]
fn a_virtual_host_is_asked_for_before_the_tables_wildcard_counts() {
    let mut snapshot = Snapshot::default();
    let table = RouteTable { name: "80".into(), on_demand: true, ..RouteTable::default() };
    let unknown = ResourceName::new(TypeUrl::VirtualHost, "80/a:80");
    assert!(matches!(
        snapshot.virtual_host(&table, "A:80"),
        Lookup::Unknown(name) if name == unknown
    ));
    snapshot.virtual_hosts.absent.insert("80/a:80".into());
    assert!(matches!(snapshot.virtual_host(&table, "a:80"), Lookup::Absent));
}
