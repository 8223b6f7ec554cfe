//! The first thing a user does: install, label, apply, look.

use std::collections::BTreeSet;

use mesh_test::eventually;

use mesh_test::mesh::{Mesh, PATIENCE};

#[test]
fn bookinfo_gets_sidecars_and_answers_at_the_gateway() {
    let mesh = Mesh::with_bookinfo();
    let pods = mesh.kubectl.ok(&["get", "pods", "--no-headers"]);
    assert_eq!(pods.lines().count(), 6, "{pods}");
    for pod in pods.lines() {
        assert_eq!(pod.split_whitespace().nth(1), Some("2/2"), "{pods}");
    }
    let mut seen = BTreeSet::new();
    eventually("all three review versions answer", PATIENCE, || {
        let page = mesh.page()?;
        if page.status != 200 || !page.body.contains("Book Reviews") {
            return Err(format!("{page:?}"));
        }
        let version = ["v1", "v2", "v3"]
            .into_iter()
            .find(|version| page.body.contains(&format!("reviews-{version}-")))
            .ok_or_else(|| format!("no reviews pod named in {}", page.body))?;
        seen.insert(version);
        if seen.len() == 3 { Ok(()) } else { Err(format!("only {seen:?}")) }
    });

    services(&mesh);
    let status = mesh.meshctl(&["proxy-status"]);
    assert_eq!(status.code, 0, "{status:#?}");
    assert_eq!(status.stdout.lines().count(), 8, "a heading, six sidecars, a gateway: {status:#?}");
    let (productpage, _) = mesh.pod("productpage", "");
    let compared = mesh.meshctl(&["proxy-status", &productpage]);
    assert_eq!(compared.code, 0, "{compared:#?}");
    for kind in ["Clusters Match", "Listeners Match", "Routes Match"] {
        assert!(compared.stdout.contains(kind), "{kind}: {compared:#?}");
    }
    let asked = ["--to", "reviews:9080", "--path", "/reviews/0"];
    let explained = mesh.meshctl(&[&["explain", "deployment/productpage-v1"], &asked[..]].concat());
    let cluster = "forwarded to outbound|9080||reviews.default.svc.cluster.local";
    assert!(explained.stdout.contains(cluster), "{explained:#?}");
    let clusters = mesh.meshctl(&["proxy-config", "cluster", "deployment/productpage-v1.default"]);
    assert_eq!(clusters.code, 0, "{clusters:#?}");
    assert!(clusters.stdout.contains("reviews.default.svc.cluster.local"), "{clusters:#?}");
    let again = mesh.meshctl(&["install", "-y", "--set", "meshConfig.accessLogFile=/dev/stdout"]);
    assert!(again.stdout.contains("0 created, 0 configured"), "{again:#?}");
}

/// What `kubectl get svc -n istio-system` shows is what a user of Istio's expects.
#[track_caller]
fn services(mesh: &Mesh) {
    let listed = mesh.kubectl.ok(&["get", "svc", "-n", "istio-system"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]);
    let row = |name: &str| {
        let row = rows.iter().find(|row| row[0] == name);
        row.unwrap_or_else(|| panic!("no {name} in {listed}")).as_slice()
    };
    let istiod = row("istiod");
    assert_eq!(istiod[1], "ClusterIP", "{listed}");
    assert_eq!(istiod[4], "15010/TCP,15012/TCP,443/TCP,15014/TCP", "{listed}");
    let ingress = row("istio-ingressgateway");
    assert_eq!((ingress[1], ingress[3]), ("LoadBalancer", "127.0.0.1"), "{listed}");
    let ports: Vec<&str> =
        ingress[4].split(',').filter_map(|port| port.split(':').next()).collect();
    assert_eq!(ports, ["15021", "80", "443", "31400"], "{listed}");
}
