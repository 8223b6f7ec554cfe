//! Pilot and citadel die under load: nobody who is being served notices, and both come back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mesh_test::{eventually, http};

use mesh_test::mesh::{Mesh, PATIENCE};
use mesh_test::metrics::sum;

/// Sends the path of the product page elsewhere.
const MOVED: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    bookinfo}\nspec:\n  hosts: ['*']\n  gateways: [bookinfo-gateway]\n  http:\n  - match: [{uri: \
    {exact: /elsewhere}}]\n    rewrite: {uri: /productpage}\n    route: [{destination: {host: \
    productpage, port: {number: 9080}}}]\n  - match: [{uri: {exact: /productpage}}]\n    route: \
    [{destination: {host: productpage, port: {number: 9080}}}]\n";

#[test]
fn traffic_goes_on_without_a_control_plane() {
    let mesh = Mesh::with_bookinfo();
    let outsider = mesh.outsider();
    let port = mesh.ingress_port().unwrap();
    let stop = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                sent.fetch_add(1, Ordering::Relaxed);
                match http::get(port, "/productpage") {
                    Ok(page) if page.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            failed
        };
        let users = [scope.spawn(load), scope.spawn(load)];
        let enough = |more: usize| {
            let goal = sent.load(Ordering::Relaxed) + more;
            eventually("load goes on", PATIENCE, || {
                let now = sent.load(Ordering::Relaxed);
                if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
            });
        };
        enough(50);
        kill(&mesh);
        enough(150);
        restart(&mesh);
        mesh.kubectl.apply(MOVED);
        eventually("configuration flows again", PATIENCE, || {
            let moved = http::get(port, "/elsewhere")?;
            if moved.status == 200 { Ok(()) } else { Err(format!("{moved:?}")) }
        });
        enough(50);
        stop.store(true, Ordering::Relaxed);
        users.into_iter().flat_map(|user| user.join().unwrap()).collect()
    });
    let sent = sent.into_inner();
    assert!(failed.is_empty(), "{} of {sent}: {:?}\n{}", failed.len(), failed.last(), mesh.state());

    let pilot = mesh.kubectl.ok(&[
        "get",
        "pods",
        "-n",
        "istio-system",
        "-l",
        "app=istiod",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ]);
    let url = format!("http://{pilot}:15014/metrics");
    let metrics = eventually("all proxies are back", PATIENCE, || {
        let metrics = mesh_test::metrics::parse(&outsider.ok(&["curl", "-sS", &url]));
        let connected = sum(&metrics, "pilot_xds", &[]);
        if connected >= 7.0 { Ok(metrics) } else { Err(format!("{connected} of 7")) }
    });
    let sent = |ty: &str| sum(&metrics, "pilot_xds_resources_sent", &[("type", ty)]);
    assert!(sent("rds") >= 1.0, "the gateway's changed routes: {metrics:?}");
    assert_eq!(sent("cds") + sent("lds"), 0.0, "nothing unchanged is sent again: {metrics:?}");
}

/// Ends pilot and citadel at once and keeps them away.
fn kill(mesh: &Mesh) {
    let pods = mesh.kubectl.ok(&[
        "get",
        "pods",
        "-n",
        "istio-system",
        "-l",
        "app in (istiod, istio-ca)",
        "-o",
        "name",
    ]);
    let scale = ["scale", "-n", "istio-system", "deploy/istiod", "deploy/istio-ca"];
    mesh.kubectl.ok(&[&scale[..], &["--replicas=0"]].concat());
    let pods: Vec<_> = pods.lines().collect();
    assert_eq!(pods.len(), 2, "{pods:?}");
    let delete = ["delete", "-n", "istio-system", "--grace-period=0", "--force"];
    mesh.kubectl.run(&[&delete[..], &pods].concat());
    eventually("they are gone", PATIENCE, || {
        let left = mesh.kubectl.ok(&[
            "get",
            "pods",
            "-n",
            "istio-system",
            "-l",
            "app in (istiod, istio-ca)",
            "-o",
            "name",
        ]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

fn restart(mesh: &Mesh) {
    let scale = ["scale", "-n", "istio-system", "deploy/istiod", "deploy/istio-ca"];
    mesh.kubectl.ok(&[&scale[..], &["--replicas=1"]].concat());
    mesh.ready("istio-system");
}
