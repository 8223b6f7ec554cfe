//! A Sidecar resource limits what its proxies know: what is outside is unknown traffic to them, and
//! comes back with the resource's deletion.

use mesh_test::eventually;
use mesh_test::mesh::{Mesh, PATIENCE, sample};

/// An application in the mesh to ask from.
const ASKER: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: asker, labels: {app: asker}}\nspec: \
    \n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: asker, image: lateen/host, \
    command: [sleep, infinity]}\n";
const CLUSTER: &str = "details.elsewhere.svc.cluster.local";

fn scope(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: scope, namespace: \
         default}}\nspec:\n  egress:\n  - hosts: [./*, istio-system/*]\n  \
         outboundTrafficPolicy: {{mode: {policy}}}\n"
    )
}

#[test]
fn a_sidecar_resource_limits_what_proxies_know() {
    let mesh = Mesh::with_bookinfo();
    mesh.kubectl.ok(&["create", "namespace", "elsewhere"]);
    mesh.kubectl.ok(&["label", "namespace", "elsewhere", "istio-injection=enabled"]);
    let bookinfo = sample("platform/kube/bookinfo.yaml");
    for label in ["account=details", "app=details"] {
        mesh.kubectl.ok(&["apply", "-n", "elsewhere", "-f", &bookinfo, "-l", label]);
    }
    mesh.kubectl.apply(ASKER);
    mesh.kubectl.ok(&["wait", "--for=condition=Ready", "pod/asker", "--timeout=60s"]);
    mesh.ready("elsewhere");

    // The code of an answer from the other namespace, and whether the sidecar knows its cluster.
    let ask = || {
        let url = "http://details.elsewhere:9080/details/0";
        let curl = ["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url];
        let args = [&["exec", "asker", "-c", "asker", "--"], &curl[..]].concat();
        let code = mesh.kubectl.run(&args).stdout;
        let clusters = mesh.meshctl(&["proxy-config", "clusters", "asker.default"]).stdout;
        (code, clusters.contains(CLUSTER))
    };
    let becomes = |what: &str, code: &str, known: bool| {
        eventually(what, PATIENCE, || match ask() {
            found if found == (code.to_owned(), known) => Ok(()),
            found => Err(format!("{found:?}")),
        });
        let page = mesh.page().unwrap();
        assert_eq!(page.status, 200, "{what}: {page:?}\n{}", mesh.state());
    };

    becomes("a service of another namespace is known", "200", true);
    mesh.kubectl.apply(&scope("ALLOW_ANY"));
    mesh.effective("sidecar/scope");
    becomes("outside the scope it is unknown traffic, let through", "200", false);
    let log = mesh.kubectl.ok(&["logs", "asker", "-c", "istio-proxy", "--tail=5"]);
    assert!(log.contains("PassthroughCluster"), "{log}");

    mesh.kubectl.apply(&scope("REGISTRY_ONLY"));
    mesh.effective("sidecar/scope");
    becomes("unknown traffic is refused", "502", false);

    mesh.kubectl.ok(&["delete", "sidecar", "scope"]);
    mesh.withdrawn("sidecar/scope");
    becomes("without the scope it is known again", "200", true);
}
