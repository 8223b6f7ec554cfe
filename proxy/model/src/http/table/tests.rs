//! Virtual hosts and routes: which one takes a request.

use super::*;
use crate::http::virtual_host::RequireTls;

fn host(name: &str, domains: &[&str]) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: name.into(),
        version: Arc::default(),
        domains: domains.iter().map(|domain| Arc::from(*domain)).collect(),
        routes: Vec::new(),
        require_tls: RequireTls::None,
        retry: None,
        include_request_attempt_count: false,
        include_attempt_count_in_response: false,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: FilterOverrides::default(),
        config: None,
    })
}

fn table(hosts: Vec<Arc<VirtualHost>>) -> RouteTable {
    RouteTable {
        name: "9080".into(),
        hosts: HostIndex::new(hosts).unwrap(),
        ..RouteTable::default()
    }
}

#[test]
fn the_most_specific_domain_wins() {
    let table = table(vec![
        host("any", &["*"]),
        host("exact", &["www.example.com", "reviews:9080"]),
        host("suffix", &["*.example.com"]),
        host("longer", &["*.b.example.com"]),
        host("dash", &["*-bar.foo.com"]),
        host("prefix", &["www.*", "www.e*"]),
    ]);
    for (authority, expected) in [
        ("www.example.com", "exact"),
        ("WWW.Example.COM", "exact"),
        ("reviews:9080", "exact"),
        ("reviews:80", "any"),
        ("a.example.com", "suffix"),
        ("a.b.example.com", "longer"),
        (".example.com", "any"),
        ("baz-bar.foo.com", "dash"),
        ("-bar.foo.com", "any"),
        ("www.f.org", "prefix"),
        ("", "any"),
    ] {
        let found = table.find_host(authority).found().map(|host| &*host.name);
        assert_eq!(found, Some(expected), "{authority}");
    }
}

#[test]
fn a_port_may_be_ignored() {
    let mut table = table(vec![host("a", &["a"]), host("v6", &["[::1]"])]);
    assert_eq!(table.find_host("a:80").found().map(|_| ()), None);
    table.ignore_port = true;
    for authority in ["a:80", "a", "[::1]:80", "[::1]"] {
        assert!(table.find_host(authority).found().is_some(), "{authority}");
    }
}

#[test]
fn a_table_on_demand_does_not_know_what_it_does_not_hold() {
    let mut table = table(vec![host("a", &["a"])]);
    assert!(matches!(table.find_host("b"), Lookup::Absent));
    table.on_demand = true;
    match table.find_host("B:80") {
        Lookup::Unknown(name) => assert_eq!(name.to_string(), "VHDS 9080/b:80"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn domains_are_distinct() {
    let error = HostIndex::new(vec![host("a", &["x"]), host("b", &["X"])]).unwrap_err();
    assert!(matches!(error, DomainError::Duplicate { .. }), "{error}");
    let error = HostIndex::new(vec![host("a", &["x*y"])]).unwrap_err();
    assert_eq!(error, DomainError::Wildcard("x*y".into()));
}
