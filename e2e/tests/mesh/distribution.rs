//! Waiting until every proxy has a change, and until it is undone.

use mesh_test::mesh::{Mesh, sample};

const RULES: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}, weight: 100}]
    timeout: 7s
";

#[test]
fn a_change_is_acknowledged_by_every_proxy() {
    let mesh = Mesh::with_bookinfo();
    mesh.kubectl.apply(RULES);
    mesh.effective("virtualservice/reviews");
    // The same in Istio's words; six sidecars and the gateway are connected.
    let waited =
        mesh.meshctl(&["x", "wait", "--for=distribution", "virtualservice", "reviews.default"]);
    let words = "Resource VirtualService/default/reviews present on 7 out of 7 sidecars in ";
    assert!(waited.code == 0 && waited.stdout.starts_with(words), "{waited:#?}");
    mesh.kubectl.apply(&RULES.replace("7s", "8s"));
    mesh.effective("vs/reviews");
    // What changes nothing for a proxy counts as soon as pilot has seen it.
    mesh.kubectl.ok(&["annotate", "virtualservice", "reviews", "a=b"]);
    mesh.effective("vs/reviews");
    mesh.effective("gateway/bookinfo-gateway");

    let missing = mesh.meshctl(&["x", "wait", "vs/nobody"]);
    assert!(missing.code == 1 && missing.stderr.contains("does not exist"), "{missing:#?}");
    let future = ["x", "wait", "vs/reviews", "--generation", "99", "--timeout", "1s"];
    let late = mesh.meshctl(&future);
    let words = "timeout expired before resource VirtualService/default/reviews became effective";
    assert!(late.code == 1 && late.stderr.contains(words), "{late:#?}");

    mesh.kubectl.ok(&["delete", "virtualservice", "reviews"]);
    mesh.withdrawn("virtualservice/reviews");
    mesh.kubectl.ok(&["delete", "-f", &sample("networking/bookinfo-gateway.yaml")]);
    mesh.withdrawn("gateway/bookinfo-gateway");
}
