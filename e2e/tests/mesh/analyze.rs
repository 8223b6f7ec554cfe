//! `meshctl analyze` against a running cluster: silent where all is well, one line for each thing
//! that is not.

use mesh_test::Output;
use mesh_test::mesh::Mesh;

/// Exit code for findings, istioctl's.
const FOUND: i32 = 79;

/// A manifest, and what is said of it in namespace `default`.
const FINDINGS: [(&str, &[&str]); 9] = [
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: lost}\nspec:\n  \
         hosts: [lost.example.org]\n  gateways: [no-such-gateway]\n  http:\n  - route:\n    - \
         {weight: 1, destination: {host: nobody}}\n    - {weight: 1, destination: {host: reviews, \
         subset: v9}}\n    - {weight: 1, destination: {host: ratings, port: {number: 1234}}}\n",
        &[
            "Error [IST0101] (VirtualService default/lost) Referenced host not found: \"nobody\"",
            "Error [IST0101] (VirtualService default/lost) Referenced host:port not found: \
             \"ratings:1234\"",
            "Error [IST0101] (VirtualService default/lost) Referenced host+subset in \
             destinationrule not found: \"reviews+v9\"",
            "Error [IST0101] (VirtualService default/lost) Referenced gateway not found: \
             \"no-such-gateway\"",
            "Warning [IST0132] (VirtualService default/lost)",
        ],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: one}\nspec:\n  \
         hosts: [reviews]\n  http: [{route: [{destination: {host: reviews}}]}]\n---\napiVersion: \
         networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: two}\nspec:\n  hosts: \
         [reviews.default.svc.cluster.local]\n  http: [{route: [{destination: {host: reviews}}]}]\n",
        &[
            "Error [IST0109] (VirtualService default/one)",
            "Error [IST0109] (VirtualService default/two)",
        ],
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: nameless}\nspec: {selector: {app: none}, \
         ports: [{port: 7777, name: foo}]}\n",
        &["Info [IST0118] (Service default/nameless) Port name foo (port: 7777, targetPort: 7777)"],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: alone, labels: {sidecar.istio.io/inject: \
         \"false\"}}\nspec:\n  containers: [{name: a, image: lateen/host, command: [sleep, \
         infinity]}]\n",
        &[],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: \
         reviews}\nspec:\n  host: reviews\n  subsets: [{name: v1, labels: {version: v1}}, {name: v7, \
         labels: {version: v7}}]\n",
        &["Error [IST0173] (DestinationRule default/reviews)"],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: \
         nobody}\nspec: {host: nobody.example.org}\n",
        &["Warning [IST0174] (DestinationRule default/nobody)"],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: closed}\nspec:\n  \
         selector: {istio: ingressgateway}\n  servers:\n  - port: {number: 4444, name: http, \
         protocol: HTTP}\n    hosts: [a.example.org]\n  - port: {number: 443, name: https, protocol: \
         HTTPS}\n    hosts: [b.example.org]\n    tls: {mode: SIMPLE, credentialName: no-secret}\n",
        &[
            "Error [IST0101] (Gateway default/closed) Referenced credentialName not found: \
             \"no-secret\"",
            "Warning [IST0162] (Gateway default/closed)",
        ],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: again}\nspec:\n  \
         selector: {istio: ingressgateway}\n  servers:\n  - port: {number: 8080, name: http, \
         protocol: HTTP}\n    hosts: ['*']\n",
        &[
            "Error [IST0145] (Gateway default/again)",
            "Error [IST0145] (Gateway default/bookinfo-gateway)",
        ],
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
         shadowed}\nspec:\n  hosts: [details]\n  http:\n  - route: [{destination: {host: \
         details}}]\n  - route: [{destination: {host: details}}]\n",
        &["Warning [IST0130] (VirtualService default/shadowed)"],
    ),
];

#[test]
fn what_is_wrong_in_a_cluster_is_told() {
    let mesh = Mesh::with_bookinfo();
    clean(&mesh, &[], "namespace: default");
    clean(&mesh, &["-n", "istio-system"], "namespace: istio-system");
    clean(&mesh, &["-A"], "all namespaces");
    for (manifest, said) in FINDINGS {
        mesh.kubectl.apply(manifest);
        let found = mesh.meshctl(&["analyze"]);
        let lines: Vec<_> = found.stdout.lines().collect();
        assert_eq!(lines.len(), said.len(), "{manifest}\n{found:#?}");
        for (line, start) in lines.iter().zip(said) {
            assert!(line.starts_with(start), "{start}\n{found:#?}");
        }
        let errors = said.iter().any(|line| line.starts_with("Error"));
        assert_eq!(found.code, if errors { FOUND } else { 0 }, "{manifest}\n{found:#?}");
        let strict = mesh.meshctl(&["analyze", "--failure-threshold", "Info"]);
        assert_eq!(strict.code, if said.is_empty() { 0 } else { FOUND }, "{strict:#?}");
        let deleted = mesh.kubectl.with_input(&["delete", "--now", "-f", "-"], manifest);
        assert_eq!(deleted.code, 0, "{deleted:#?}");
    }
    namespaces_and_pods(&mesh);
    files_over_the_cluster(&mesh);
}

fn clean(mesh: &Mesh, args: &[&str], scope: &str) {
    let output = mesh.meshctl(&[&["analyze"][..], args].concat());
    let wanted = format!("\u{2714} No validation issues found when analyzing {scope}.\n");
    let Output { code, stdout, stderr } = output;
    assert_eq!((code, stdout.as_str(), stderr), (0, "", wanted));
}

/// Which namespaces get sidecars, and which pods were passed by.
fn namespaces_and_pods(mesh: &Mesh) {
    mesh.kubectl.ok(&["create", "namespace", "plain"]);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: early, namespace: plain}\nspec:\n  \
               terminationGracePeriodSeconds: 1\n  containers: [{name: a, image: lateen/host, \
               command: [sleep, infinity]}]\n";
    mesh.kubectl.apply(pod);
    let found = mesh.meshctl(&["analyze", "-n", "plain"]);
    let line = "Info [IST0102] (Namespace plain) The namespace is not enabled for Istio injection.";
    assert!(found.code == 0 && found.stdout.starts_with(line), "{found:#?}");
    mesh.kubectl.ok(&["label", "namespace", "plain", "istio-injection=enabled"]);
    let found = mesh.meshctl(&["analyze", "-n", "plain"]);
    let line = "Warning [IST0103] (Pod plain/early) The pod early is missing the Istio proxy.";
    assert!(found.code == 0 && found.stdout.starts_with(line), "{found:#?}");
    let hushed = mesh.meshctl(&["analyze", "-n", "plain", "-S", "IST0103=Pod early.plain"]);
    assert_eq!((hushed.code, hushed.stdout.as_str()), (0, ""), "{hushed:#?}");
    mesh.kubectl.ok(&["delete", "namespace", "plain"]);
}

/// A file is judged together with the cluster that it would be applied to.
fn files_over_the_cluster(mesh: &Mesh) {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("routes.yaml").display().to_string();
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: \
                routes\nspec:\n  hosts:\n  - reviews\n  http:\n  - route:\n    - destination:\n        \
                host: reviews\n        subset: v1\n";
    std::fs::write(&file, text).unwrap();
    let found = mesh.meshctl(&["analyze", &file]);
    let line = format!(
        "Error [IST0101] (VirtualService default/routes {file}:12) Referenced host+subset in \
         destinationrule not found: \"reviews+v1\"\n"
    );
    assert_eq!((found.code, &found.stdout), (FOUND, &line), "{found:#?}");
    let said = format!("Error: Analyzers found issues when analyzing {file}.");
    assert!(found.stderr.starts_with(&said), "{found:#?}");
    let alone = mesh.meshctl(&["analyze", "--use-kube=false", &file]);
    assert_eq!((alone.code, alone.stdout.lines().count()), (FOUND, 2), "{alone:#?}");
}
