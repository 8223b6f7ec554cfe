//! Pages of the cluster on a port of this machine: by meshctl and by kubectl.

use mesh_test::{Forward, Mesh};

#[test]
fn proxies_and_pilot_show_their_pages() {
    let mesh = Mesh::install(&[]);
    let proxy = mesh.dashboard(&["proxy", "deployment/istio-ingressgateway.istio-system"]);
    assert!(proxy.url().starts_with("http://localhost:"), "{}", proxy.url());
    let index = proxy.get("/").unwrap();
    assert!(index.body.contains("<a href=\"/config_dump\">"), "{index:?}");
    let info = proxy.get("/server_info").unwrap();
    assert!(info.status == 200 && info.body.contains("LIVE"), "{info:?}");
    let (code, complaint) = proxy.interrupt();
    assert_eq!((code, complaint.as_str()), (0, ""));

    let pilot = mesh.dashboard(&["istiod-debug", "--address", "127.0.0.1"]);
    assert!(pilot.url().starts_with("http://127.0.0.1:"), "{}", pilot.url());
    assert!(pilot.url().ends_with("/debug"), "{}", pilot.url());
    let index = pilot.get("/debug").unwrap();
    assert!(index.body.contains("<a href=\"/debug/syncz\">"), "{index:?}");
    // A page is asked of its own connection, and several at once.
    for _ in 0..3 {
        let syncz = pilot.get("/debug/syncz").unwrap();
        assert!(syncz.body.contains("istio-ingressgateway"), "{syncz:?}");
    }

    let namespace = ["-n", "istio-system"];
    for (target, port, path) in [
        ("svc/istiod", ":15014", "/debug/syncz"),
        ("deployment/istio-ingressgateway", ":15000", "/clusters"),
    ] {
        let args = [&namespace[..], &[target, port]].concat();
        let answer = Forward::start(&mesh.kubectl, &args).get(path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
    }

    for (addon, words) in [
        (
            "grafana",
            "no Grafana pods found with selector app.kubernetes.io/name=grafana in namespace istio-system; install Grafana",
        ),
        ("prometheus", "kubectl apply -f samples/addons/prometheus.yaml"),
    ] {
        let missing = mesh.meshctl(&["dash", addon, "--browser=false"]);
        assert!(missing.code == 1 && missing.stderr.contains(words), "{missing:#?}");
    }
}
