//! A sidecar holds what its application talks to, answers as if it held everything, and fails
//! closed when nobody can tell it more.

use std::fmt::Write;

use mesh_test::eventually;

use mesh_test::mesh::{Mesh, PATIENCE};

const SERVICES: usize = 500;

/// An application in the mesh to ask from.
const ASKER: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: asker, labels: {app: asker}}\nspec: \
    \n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: asker, image: lateen/host, \
    command: [sleep, infinity]}\n";

#[test]
fn a_sidecar_holds_only_what_it_talks_to() {
    let mesh = Mesh::with_bookinfo();
    mesh.kubectl.apply(&many());
    mesh.kubectl.apply(ASKER);
    mesh.kubectl.ok(&["wait", "--for=condition=Ready", "pod/asker", "--timeout=60s"]);
    let ask = |url: &str| {
        let curl = ["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", url];
        mesh.kubectl.run(&[&["exec", "asker", "-c", "asker", "--"], &curl[..]].concat())
    };
    eventually("service 7 answers", PATIENCE, || {
        let answer = ask("http://many-7:9080/details/0");
        if answer.stdout.ends_with("\n200") { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    let answer = ask("http://many-402:9080/details/0");
    assert!(answer.stdout.ends_with("\n200"), "{answer:#?}\n{}", mesh.state());

    let clusters = mesh.meshctl(&["proxy-config", "cluster", "asker.default"]).stdout;
    assert!(
        clusters.contains("many-7.default") && clusters.contains("many-402.default"),
        "{clusters}"
    );
    let held = clusters.lines().filter(|line| line.contains("many-")).count();
    assert_eq!(held, 2, "{clusters}");

    mesh.kubectl.ok(&["scale", "-n", "istio-system", "deploy/istiod", "--replicas=0"]);
    eventually("pilot is gone", PATIENCE, || {
        let left = mesh.kubectl.ok(&[
            "get",
            "pods",
            "-n",
            "istio-system",
            "-l",
            "app=istiod",
            "-o",
            "name",
        ]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let known = ask("http://many-402:9080/details/0");
    assert!(known.stdout.ends_with("\n200"), "what is held goes on: {known:#?}");
    let unknown = ask("http://many-100:9080/details/0");
    assert_ne!(unknown.code, 0, "what nobody can tell of is refused: {unknown:#?}");
    let address = ["get", "svc", "many-100", "-o", "jsonpath={.spec.clusterIP}"];
    let reason = format!("about LDS {}_9080", mesh.kubectl.ok(&address));
    let log = mesh.kubectl.ok(&["logs", "asker", "-c", "istio-proxy"]);
    assert!(log.contains(&reason), "{reason:?} in {log}");
}

/// Many Services, all of them the pods of details.
fn many() -> String {
    let mut manifests = String::new();
    for number in 0..SERVICES {
        writeln!(
            manifests,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many-{number}}}\nspec:\n  \
             selector: {{app: details}}\n  ports: [{{name: http, port: 9080}}]"
        )
        .unwrap();
    }
    manifests
}
