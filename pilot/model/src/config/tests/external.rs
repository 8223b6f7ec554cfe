//! Services that ServiceEntries define, as proxies see them.

use super::*;

fn service_entry_in(namespace: &str, name: &str, spec: &Value) -> Object {
    Object::ServiceEntry(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })))
}

fn service_entry(name: &str, spec: &Value) -> Object {
    service_entry_in("default", name, spec)
}

fn port(number: u16, protocol: &str) -> Value {
    json!([{ "number": number, "name": protocol.to_lowercase(), "protocol": protocol }])
}

fn entry(host: &str, resolution: &str, ports: &Value) -> Object {
    let spec = json!({ "hosts": [host], "resolution": resolution, "ports": ports });
    service_entry(&host.replace('*', "any"), &spec)
}

fn class(snapshot: &Snapshot) -> Class {
    // Without a DNS server of its own.
    let id = "sidecar~10.1.0.1~productpage-v1.default~default.svc.cluster.local";
    let metadata = json!({ "LABELS": { "app": "productpage" } });
    let metadata = NodeMetadata::from_json(metadata.as_object().unwrap().clone()).unwrap();
    let features = ["lateen.config_report".to_owned()];
    Class::of(snapshot, &Proxy::new(NodeId::parse(id).unwrap(), metadata, &features, &[]))
}

fn cluster(snapshot: &Snapshot, name: &str) -> Value {
    documents(snapshot, &class(snapshot), &TypeUrl::Cluster)[name].clone()
}

fn listener(snapshot: &Snapshot, name: &str) -> Value {
    documents(snapshot, &class(snapshot), &TypeUrl::Listener)[name].clone()
}

/// The conditions of a listener's chains and where each leads; the default chain last.
fn chains(listener: &Value) -> Vec<(Value, String)> {
    let to = |chain: &Value| {
        let config = &chain["filters"][0]["typed_config"];
        let route = &config["rds"]["route_config_name"];
        let to = route.as_str().map(|route| format!("route {route}"));
        to.unwrap_or_else(|| config["cluster"].as_str().unwrap_or_default().to_owned())
    };
    let all = listener["filter_chains"].as_array().unwrap();
    let mut found: Vec<(Value, String)> =
        all.iter().map(|chain| (chain["filter_chain_match"].clone(), to(chain))).collect();
    if !listener["default_filter_chain"].is_null() {
        found.push((json!("default"), to(&listener["default_filter_chain"])));
    }
    found
}

fn complaints(snapshot: &Snapshot) -> Vec<String> {
    let generator = Generator::new();
    let class = generator.class(snapshot, &sidecar(&["lateen.config_report"]));
    let all = TYPES.map(|kind| generator.diagnostics(snapshot, &class, &kind));
    let own = all.iter().flatten().filter(|one| one.object.kind != Kind::MeshConfig);
    let mut told: Vec<String> =
        own.map(|one| format!("{} {} {}", one.object, one.field, one.reason)).collect();
    told.sort();
    told.dedup();
    told
}

#[test]
fn every_resolution_is_a_kind_of_cluster() {
    let http = port(80, "HTTP");
    let mut objects = Vec::new();
    for (host, resolution) in [
        ("none.example", "NONE"),
        ("static.example", "STATIC"),
        ("dns.example", "DNS"),
        ("one.example", "DNS_ROUND_ROBIN"),
    ] {
        objects.push(entry(host, resolution, &http));
    }
    let snapshot = world(objects);
    let of = |host: &str| cluster(&snapshot, &format!("outbound|80||{host}"));
    for (host, kind) in [
        ("none.example", "ORIGINAL_DST"),
        ("static.example", "EDS"),
        ("dns.example", "STRICT_DNS"),
        ("one.example", "LOGICAL_DNS"),
    ] {
        let cluster = of(host);
        assert_eq!(cluster["type"], kind);
        // Nobody outside knows the mesh's protocols.
        assert!(cluster.get("transport_socket_matches").is_none(), "{cluster}");
        assert!(cluster.get("transport_socket").is_none(), "{cluster}");
        let istio = &cluster["metadata"]["filter_metadata"]["istio"];
        assert_eq!(istio["external"], true);
        let named = json!([{ "host": host, "name": host, "namespace": "default" }]);
        assert_eq!(istio["services"], named);
    }
    let dns = of("dns.example");
    let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    assert_eq!(dns.pointer(address), Some(&json!({ "address": "dns.example", "port_value": 80 })));
    assert_eq!((&dns["dns_refresh_rate"], &dns["respect_dns_ttl"]), (&json!("60s"), &json!(true)));
}

#[test]
fn http_hosts_share_the_port_and_its_routes() {
    let timeout = Object::VirtualService(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "httpbin-ext", "namespace": "default" },
        "spec": { "hosts": ["httpbin.org"], "http": [{
            "timeout": "3s",
            "route": [{ "destination": { "host": "httpbin.org" }, "weight": 100 }],
        }] },
    })));
    let with_address = json!({
        "hosts": ["vip.example"], "addresses": ["203.0.113.5"], "resolution": "STATIC",
        "ports": port(80, "HTTP"),
    });
    let snapshot = world(vec![
        entry("httpbin.org", "DNS", &port(80, "HTTP")),
        entry("*.wild.example", "NONE", &port(80, "HTTP")),
        service_entry("vip", &with_address),
        timeout,
    ]);
    let found = chains(&listener(&snapshot, "0.0.0.0_80"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].1.as_str(), found[1].1.as_str()), ("route 80", "PassthroughCluster"));
    let class = class(&snapshot);
    let routes = documents(&snapshot, &class, &TypeUrl::Route);
    let hosts = routes["80"]["virtual_hosts"].as_array().unwrap();
    let of = |name: &str| hosts.iter().find(|host| host["name"] == name).unwrap();
    assert_eq!(of("httpbin.org:80")["domains"], json!(["httpbin.org"]));
    assert_eq!(of("httpbin.org:80")["routes"][0]["route"]["timeout"], "3s");
    assert_eq!(of("*.wild.example:80")["domains"], json!(["*.wild.example"]));
    assert_eq!(of("vip.example:80")["domains"], json!(["vip.example", "203.0.113.5"]));
    assert_eq!(of("allow_any")["domains"], json!(["*"]));
    assert_eq!(complaints(&snapshot), Vec::<String>::new());
}

#[test]
fn names_in_tls_tell_hosts_of_a_port_apart() {
    let mesh = Object::MeshConfig("outboundTrafficPolicy: { mode: REGISTRY_ONLY }".to_owned());
    let snapshot = world(vec![
        mesh,
        entry("a.example", "DNS", &port(443, "HTTPS")),
        entry("*.b.example", "NONE", &port(443, "TLS")),
        entry("*-web.example", "NONE", &port(443, "TLS")),
    ]);
    let tls = |name: &str| json!({ "transport_protocol": "tls", "server_names": [name] });
    assert_eq!(
        chains(&listener(&snapshot, "0.0.0.0_443")),
        [
            (tls("*.b.example"), "outbound|443||*.b.example".to_owned()),
            (tls("a.example"), "outbound|443||a.example".to_owned()),
            (json!("default"), "BlackHoleCluster".to_owned()),
        ]
    );
    let told = complaints(&snapshot);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("*-web.example at 0.0.0.0_443"), "{told:?}");
}

#[test]
fn bytes_go_by_address_network_or_port() {
    let tcp = port(6000, "TCP");
    let of = |host: &str, addresses: &Value| json!({ "hosts": [host], "addresses": addresses, "resolution": "NONE", "ports": tcp });
    let snapshot = world(vec![
        service_entry("vip", &of("vip.example", &json!(["203.0.113.5", "203.0.113.6"]))),
        service_entry("net", &of("net.example", &json!(["198.51.100.0/24"]))),
        service_entry("x-first", &of("first.example", &json!([]))),
        service_entry("y-second", &of("second.example", &json!([]))),
    ]);
    for name in ["203.0.113.5_6000", "203.0.113.6_6000"] {
        let all = chains(&listener(&snapshot, name));
        assert_eq!(all, [(Value::Null, "outbound|6000||vip.example".to_owned())]);
    }
    let range = json!({ "address_prefix": "198.51.100.0", "prefix_len": 24 });
    assert_eq!(
        chains(&listener(&snapshot, "0.0.0.0_6000")),
        [
            (json!({ "prefix_ranges": [range] }), "outbound|6000||net.example".to_owned()),
            (json!("default"), "outbound|6000||first.example".to_owned()),
        ]
    );
    let told = complaints(&snapshot);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("connections to second.example at 0.0.0.0_6000 go to"), "{told:?}");
}

#[test]
fn names_are_answered_whether_they_are_inside_or_outside() {
    let vip = json!({
        "hosts": ["db.example"], "addresses": ["203.0.113.5"], "resolution": "STATIC",
        "ports": port(6000, "TCP"),
    });
    let objects = || {
        vec![
            entry("httpbin.org", "DNS", &port(80, "HTTP")),
            entry("*.wild.example", "NONE", &port(80, "HTTP")),
            entry("a.example", "DNS", &port(443, "HTTPS")),
            service_entry("db", &vip),
        ]
    };
    let (before, after) = (world(Vec::new()), world(objects()));
    let proxy = sidecar(&[ON_DEMAND_FEATURE]);
    let ask = |snapshot: &Snapshot, kind: &TypeUrl, name: &str| {
        let generator = Generator::new();
        let class = generator.class(snapshot, &proxy);
        match generator.named(snapshot, &class, kind, name) {
            Answer::Resource(resource) => format!("= {}", resource.name),
            Answer::Alias { of } => format!("-> {}", of.name),
            Answer::Absent => "absent".to_owned(),
        }
    };
    let (listener, host, name) = (TypeUrl::Listener, TypeUrl::VirtualHost, TypeUrl::NameTable);
    for (kind, asked, then, now) in [
        (&listener, "192.0.2.1_80", "absent", "-> 0.0.0.0_80"),
        (&listener, "192.0.2.1_8080", "absent", "absent"),
        (&listener, "203.0.113.5_6000", "absent", "= 203.0.113.5_6000"),
        (&host, "80/httpbin.org", "-> 80/allow_any", "-> 80/httpbin.org:80"),
        (&host, "80/x.wild.example:80", "-> 80/allow_any", "-> 80/*.wild.example:80"),
        (&host, "80/other.example", "-> 80/allow_any", "-> 80/allow_any"),
        (&name, "db.example", "absent", "= db.example"),
        (&name, "a.example", "absent", "= a.example"),
        (&name, "x.wild.example", "absent", "absent"),
    ] {
        assert_eq!(ask(&before, kind, asked), then, "{asked} before");
        assert_eq!(ask(&after, kind, asked), now, "{asked} after");
    }
}

#[test]
fn a_name_of_several_namespaces_is_the_clients_own_then_kubernetes_then_the_oldest() {
    let of = |ip: &str| {
        json!({
            "hosts": ["shared.example"], "addresses": [ip], "resolution": "STATIC",
            "ports": port(6000, "TCP"),
        })
    };
    let squatter = json!({
        "hosts": ["reviews.default.svc.cluster.local"], "addresses": ["203.0.113.9"],
        "resolution": "STATIC", "ports": port(9080, "HTTP"),
    });
    let snapshot = world(vec![
        service_entry_in("a", "x", &of("203.0.113.1")),
        service_entry_in("b", "x", &of("203.0.113.2")),
        service_entry_in("b", "reviews", &squatter),
    ]);
    let host = Hostname::parse("shared.example").unwrap();
    let seen_from = |namespace: &str| snapshot.service(namespace, &host).unwrap().vips.clone();
    let ip = |text: &str| vec![text.parse::<std::net::IpAddr>().unwrap()];
    assert_eq!(seen_from("a"), ip("203.0.113.1"));
    assert_eq!(seen_from("b"), ip("203.0.113.2"));
    assert_eq!(seen_from("elsewhere"), ip("203.0.113.1"));
    let reviews = Hostname::parse("reviews.default.svc.cluster.local").unwrap();
    assert!(!snapshot.service("elsewhere", &reviews).unwrap().is_entry());
    assert!(snapshot.service("b", &reviews).unwrap().is_entry());
    let listeners = documents(&snapshot, &class(&snapshot), &TypeUrl::Listener);
    assert!(listeners.get("203.0.113.1_6000").is_some());
    assert!(listeners.get("203.0.113.2_6000").is_none());
}

fn workload_entry(name: &str, spec: &Value) -> Object {
    Object::WorkloadEntry(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": { "name": name, "namespace": "default" }, "spec": spec,
    })))
}

/// Pods and machines behind one service, and a machine behind a service of Kubernetes.
fn machines() -> Vec<Object> {
    let ready = |name: &str, ip: &str, status: &str| {
        Object::Pod(read(json!({
            "metadata": { "name": name, "namespace": "default", "labels": { "app": "vm" } },
            "spec": { "containers": [] },
            "status": {
                "podIP": ip, "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": status }],
            },
        })))
    };
    let spec = json!({
        "hosts": ["vm.internal"], "location": "MESH_INTERNAL", "resolution": "STATIC",
        "ports": [{ "number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080 }],
        "workloadSelector": { "labels": { "app": "vm" } },
        "subjectAltNames": ["spiffe://elsewhere/x"],
    });
    let one = json!({ "address": "10.2.0.1", "labels": { "app": "vm" }, "serviceAccount": "vm" });
    let two = json!({
        "address": "10.2.0.2", "labels": { "app": "vm" }, "ports": { "http": 9090 }, "weight": 5,
        "locality": "us/east/a",
    });
    let reviews = json!({
        "address": "10.2.0.3", "labels": { "app": "reviews", "version": "v1" },
        "serviceAccount": "vm-reviews",
    });
    vec![
        service_entry("vm", &spec),
        workload_entry("one", &one),
        workload_entry("two", &two),
        workload_entry("reviews", &reviews),
        ready("pod-1", "10.1.5.1", "True"),
        ready("pod-2", "10.1.5.2", "False"),
    ]
}

fn addresses(assignment: &Value) -> Vec<String> {
    let groups = assignment["endpoints"].as_array().unwrap().iter();
    let all = groups.flat_map(|group| group["lb_endpoints"].as_array().unwrap());
    let of = |endpoint: &Value| {
        let address = &endpoint["endpoint"]["address"]["socket_address"];
        let mode = &endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"];
        let mode = mode["tlsMode"].as_str().map(|mode| format!(" {mode}")).unwrap_or_default();
        let (ip, port) = (address["address"].as_str().unwrap(), &address["port_value"]);
        format!("{ip}:{port} x{}{mode}", endpoint["load_balancing_weight"])
    };
    all.map(of).collect()
}

#[test]
fn machines_and_pods_are_behind_what_selects_them() {
    let snapshot = world(machines());
    let class = class(&snapshot);
    let endpoints = documents(&snapshot, &class, &TypeUrl::Endpoint);
    assert_eq!(
        addresses(&endpoints["outbound|80||vm.internal"]),
        ["10.1.5.1:8080 x1", "10.2.0.1:8080 x1 istio", "10.2.0.2:9090 x5"]
    );
    let v1 = "outbound|9080|v1|reviews.default.svc.cluster.local";
    assert_eq!(addresses(&endpoints[v1]), ["10.1.0.2:9080 x1 istio", "10.2.0.3:9080 x1 istio"]);
    // The mesh's own are spoken to by mutual TLS, and who they are is known.
    let matches = &cluster(&snapshot, "outbound|80||vm.internal")["transport_socket_matches"];
    let text = matches[0].to_string();
    for name in ["spiffe://cluster.local/ns/default/sa/vm\"", "spiffe://elsewhere/x\""] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(complaints(&snapshot), Vec::<String>::new());
}

#[test]
fn impact_of_entries_is_never_narrower_than_what_differs() {
    let mut all = machines();
    all.push(entry("httpbin.org", "DNS", &port(80, "HTTP")));
    all.push(entry("a.example", "DNS", &port(443, "HTTPS")));
    let by_name = json!({
        "hosts": ["named.example"], "resolution": "DNS", "ports": port(6000, "TCP"),
        "workloadSelector": { "labels": { "app": "named" } },
    });
    all.push(service_entry("named", &by_name));
    all.push(workload_entry(
        "named",
        &json!({ "address": "x.example", "labels": { "app": "named" } }),
    ));
    impact_with(&all);
}

#[test]
fn the_meshs_dns_gives_addresses_to_hosts_that_have_none() {
    let opted_out = Object::ServiceEntry(read(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {
            "name": "out", "namespace": "default",
            "labels": { "networking.istio.io/enable-autoallocate-ip": "false" },
        },
        "spec": { "hosts": ["out.example"], "resolution": "DNS", "ports": port(443, "HTTPS") },
    })));
    let snapshot = world(vec![
        entry("a.example", "DNS", &port(443, "HTTPS")),
        entry("*.wild.example", "NONE", &port(443, "TLS")),
        opted_out,
    ]);
    let capturing = Class::of(&snapshot, &sidecar(&["lateen.config_report"]));
    let table = documents(&snapshot, &capturing, &TypeUrl::NameTable);
    let entry = &table[""]["table"]["a.example"];
    let ip = entry["ips"][0].as_str().unwrap();
    assert!(ip.starts_with("240.240."), "{entry}");
    assert_eq!(entry["registry"], "External");
    assert!(table[""]["table"].get("*.wild.example").is_none());
    assert!(table[""]["table"].get("out.example").is_none());
    let listeners = documents(&snapshot, &capturing, &TypeUrl::Listener);
    let own = chains(&listeners[format!("{ip}_443")]);
    assert_eq!(own, [(Value::Null, "outbound|443||a.example".to_owned())]);
    let shared = listeners["0.0.0.0_443"].to_string();
    assert!(!shared.contains("||a.example") && shared.contains("||out.example"), "{shared}");
    // A client that asks another server is told apart by the name in TLS.
    let shared = listener(&snapshot, "0.0.0.0_443").to_string();
    assert!(shared.contains("||a.example"), "{shared}");
}

#[test]
fn entries_of_one_host_are_one_service() {
    let other = json!({ "hosts": ["a.example"], "resolution": "NONE", "ports": port(7000, "TCP") });
    let snapshot = world(vec![
        entry("a.example", "DNS", &port(80, "HTTP")),
        service_entry(
            "b",
            &json!({ "hosts": ["a.example"], "resolution": "DNS", "ports": port(443, "HTTPS") }),
        ),
        service_entry("c", &other),
    ]);
    let clusters = documents(&snapshot, &class(&snapshot), &TypeUrl::Cluster);
    for number in [80, 443] {
        let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        let cluster = &clusters[format!("outbound|{number}||a.example")];
        assert_eq!(
            cluster.pointer(address).unwrap()["socket_address"],
            json!({ "address": "a.example", "port_value": number })
        );
    }
    assert!(clusters.get("outbound|7000||a.example").is_none());
    let told = complaints(&snapshot);
    let expected = "ServiceEntry/default/c spec.hosts a.example has no effect: \
                    ServiceEntry/default/a.example defines it with another resolution or location";
    assert_eq!(told, [expected]);
}

#[test]
fn tls_is_originated_towards_hosts_outside() {
    let ports = json!([{ "number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443 }]);
    let rule = |host: &str| {
        Object::DestinationRule(read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": host.replace('*', "any"), "namespace": "default" },
            "spec": { "host": host, "trafficPolicy": { "tls": { "mode": "SIMPLE" } } },
        })))
    };
    let proven = json!({
        "hosts": ["proven.example"], "resolution": "DNS", "ports": ports,
        "subjectAltNames": ["other.example"],
    });
    let snapshot = world(vec![
        entry("a.example", "DNS", &ports),
        entry("*.wild.example", "NONE", &ports),
        service_entry("proven", &proven),
        rule("a.example"),
        rule("*.wild.example"),
        rule("proven.example"),
    ]);
    let tls = |host: &str| {
        let cluster = cluster(&snapshot, &format!("outbound|80||{host}"));
        let config = cluster["transport_socket"]["typed_config"].clone();
        let names = "/common_tls_context/combined_validation_context/\
                     default_validation_context/match_typed_subject_alt_names/0/matcher/exact";
        let name = config.pointer(names).cloned().unwrap_or_default();
        (config["sni"].clone(), name, config["auto_host_sni"].clone())
    };
    assert_eq!(tls("a.example"), (json!("a.example"), json!("a.example"), Value::Null));
    assert_eq!(
        tls("proven.example"),
        (json!("proven.example"), json!("other.example"), Value::Null)
    );
    assert_eq!(tls("*.wild.example"), (Value::Null, Value::Null, json!(true)));
}

#[test]
fn who_may_use_an_entry_is_said_by_it() {
    let spec = json!({
        "hosts": ["a.example"], "resolution": "DNS", "ports": port(80, "HTTP"), "exportTo": ["."],
    });
    let snapshot = world(vec![service_entry_in("elsewhere", "a", &spec)]);
    let host = Hostname::parse("a.example").unwrap();
    assert!(snapshot.service("elsewhere", &host).is_some());
    assert!(snapshot.service("default", &host).is_none());
    assert_eq!(cluster(&snapshot, "outbound|80||a.example"), Value::Null);
    assert_eq!(listener(&snapshot, "0.0.0.0_80"), Value::Null);
}
