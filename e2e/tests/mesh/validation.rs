//! Bad objects are refused in words that name the field, and nobody's traffic notices.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mesh_test::mesh::{Mesh, PATIENCE};
use mesh_test::{Output, eventually, http};

/// What is refused: the spec of a kind, and the words that say why.
const REFUSED: [(&str, &str, &str); 14] = [
    (
        "VirtualService",
        "{hosts: [ratings], http: [{route: [{destination: {host: ratings}, weight: 0}, \
         {destination: {host: reviews}, weight: 0}]}]}",
        "spec.http[0].route: total destination weight = 0",
    ),
    (
        "VirtualService",
        "{hosts: [ratings], http: [{route: [{destination: {host: ratings}, weight: -5}, \
         {destination: {host: reviews}, weight: 105}]}]}",
        "spec.http[0].route[0].weight: weight -5 < 0",
    ),
    (
        "VirtualService",
        "{hosts: [ratings], http: [{match: [{uri: {regex: 'v[0-9'}}], route: [{destination: \
         {host: ratings}}]}]}",
        "spec.http[0].match[0].uri.regex: invalid regular expression",
    ),
    (
        "VirtualService",
        "{hosts: [ratings, ratings], http: [{route: [{destination: {host: ratings}}]}]}",
        "spec.hosts[1]: duplicate hosts in virtual service: ratings & ratings",
    ),
    (
        "VirtualService",
        "{hosts: [ratings]}",
        "spec: http, tcp or tls must be provided in virtual service",
    ),
    (
        "VirtualService",
        "{hosts: [ratings], http: [{fault: {abort: {httpStatus: 99, percentage: {value: 100}}}, \
         route: [{destination: {host: ratings}}]}]}",
        "spec.http[0].fault.abort",
    ),
    (
        "VirtualService",
        "{hosts: [ratings], http: [{redirect: {uri: /x}, route: [{destination: {host: ratings}}]}]}",
        "spec.http[0]: HTTP route cannot contain both route and redirect",
    ),
    (
        "DestinationRule",
        "{host: ratings, subsets: [{name: v1, labels: {version: v1}}, {name: v1, labels: \
         {version: v2}}]}",
        "spec.subsets[1]: duplicate subset name: v1",
    ),
    (
        "DestinationRule",
        "{host: ratings, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}",
        "spec.trafficPolicy.connectionPool.tcp",
    ),
    (
        "Gateway",
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: web, protocol: \
         HTPP}, hosts: [a.example.org]}]}",
        "spec.servers[0].port.protocol: invalid protocol \"HTPP\"",
    ),
    (
        "Gateway",
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: web, protocol: \
         HTTP}, hosts: [a.example.org]}, {port: {number: 81, name: web, protocol: HTTP}, hosts: \
         [b.example.org]}]}",
        "spec.servers[1]: duplicate port name in gateway: web",
    ),
    (
        "ServiceEntry",
        "{hosts: [a.example.org], addresses: [10.0.0.300], resolution: NONE, ports: [{number: 80, \
         name: web, protocol: TCP}]}",
        "spec.addresses[0]",
    ),
    ("Sidecar", "{egress: [{hosts: [ratings]}]}", "spec.egress[0].hosts[0]"),
    ("DestinationRule", "{host: ratings, exportTo: [., '*']}", "spec.exportTo"),
];

/// What passes, with words that warn.
const WARNED: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    checked, namespace: default}\nspec:\n  hosts: [nobody.example.org]\n  http:\n  - route: \
    [{destination: {host: ratings}}]\n  - route: [{destination: {host: ratings}}]\n";

/// A field that no VirtualService has.
const UNKNOWN: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    checked, namespace: default}\nspec:\n  hosts: [ratings]\n  http:\n  - rout: [{destination: \
    {host: ratings}}]\n";

/// Traffic to a subset that nobody has defined.
const NOWHERE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: \
    ratings}\nspec:\n  hosts: [ratings]\n  http:\n  - route: [{destination: {host: ratings, subset: \
    nowhere}}]\n";

#[test]
fn bad_objects_are_refused_and_traffic_goes_on() {
    let mesh = Mesh::with_bookinfo();
    guarded(&mesh);
    let files = tempfile::tempdir().unwrap();
    let port = mesh.ingress_port().unwrap();
    let stop = AtomicBool::new(false);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match http::get(port, "/productpage") {
                    Ok(page) if page.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            failed
        });
        // A failed check must end the load, too.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            both_refuse_in_the_same_words(&mesh, files.path());
            warnings_are_shown(&mesh, files.path());
            nothing_is_stored_unseen(&mesh);
        }));
        stop.store(true, Ordering::Relaxed);
        let failed = user.join().unwrap();
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        failed
    });
    assert!(failed.is_empty(), "{} requests: {:?}\n{}", failed.len(), failed.last(), mesh.state());
    a_missing_subset_is_told_of(&mesh);
}

/// The cluster stores nothing that galley has not seen.
fn guarded(mesh: &Mesh) {
    eventually("the webhooks insist on an answer", PATIENCE, || {
        let path = "jsonpath={.items[*].webhooks[*].failurePolicy}";
        let said = mesh.kubectl.ok(&["get", "validatingwebhookconfigurations", "-o", path]);
        if said == "Fail Fail" { Ok(()) } else { Err(said) }
    });
}

fn document(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: checked, namespace: \
         default}}\nspec: {spec}\n"
    )
}

fn validate(mesh: &Mesh, files: &Path, text: &str) -> Output {
    let file = files.join("checked.yaml").display().to_string();
    std::fs::write(&file, text).unwrap();
    mesh.meshctl(&["validate", "-f", &file])
}

fn both_refuse_in_the_same_words(mesh: &Mesh, files: &Path) {
    for (kind, spec, words) in REFUSED {
        let text = document(kind, spec);
        let refused = mesh.kubectl.apply_refused(&text);
        let start = "Error from server: error when creating \"STDIN\": admission webhook \
                     \"validation.istio.io\" denied the request: configuration is invalid: ";
        let said = refused.strip_prefix(start).unwrap_or_else(|| panic!("{kind}: {refused}"));
        assert!(said.contains(words), "{kind}: {refused}");
        let validated = validate(mesh, files, &text);
        assert_eq!(validated.code, 1, "{kind}: {validated:#?}");
        let theirs = said.lines().map(|line| line.trim_start_matches("\t* "));
        for finding in theirs.filter(|line| line.starts_with("spec")) {
            let ours = format!("* {kind}/default/checked: {finding}");
            assert!(validated.stdout.contains(&ours), "{ours}\n{validated:#?}");
        }
    }
    // The API server itself knows which fields there are, and what their schemas say.
    let twice = "{hosts: [a.example.org], resolution: DNS, ports: [{number: 80, name: web}, \
                 {number: 81, name: web}]}";
    let refused = mesh.kubectl.apply_refused(&document("ServiceEntry", twice));
    assert!(refused.contains("spec.ports[1]: Duplicate value: {\"name\":\"web\"}"), "{refused}");
    let validated = validate(mesh, files, &document("ServiceEntry", twice));
    assert!(validated.code == 1 && validated.stdout.contains("spec.ports[1]"), "{validated:#?}");
    let refused = mesh.kubectl.apply_refused(UNKNOWN);
    assert!(refused.contains("unknown field \"spec.http[0].rout\""), "{refused}");
    let validated = validate(mesh, files, UNKNOWN);
    assert!(validated.stdout.contains("spec.http[0]: unknown field \"rout\""), "{validated:#?}");
    let listed = mesh.kubectl.run(&["get", "virtualservice,destinationrule,serviceentry,sidecar"]);
    assert!(!listed.stdout.contains("checked"), "{listed:#?}");
}

fn warnings_are_shown(mesh: &Mesh, files: &Path) {
    let applied = mesh.kubectl.with_input(&["apply", "-f", "-"], WARNED);
    assert_eq!(applied.code, 0, "{applied:#?}");
    let warning = applied.stderr.trim().strip_prefix("Warning: ");
    let warning = warning.unwrap_or_else(|| panic!("no warning: {applied:#?}"));
    assert!(warning.starts_with("spec.http[1]: "), "{applied:#?}");
    let validated = validate(mesh, files, WARNED);
    assert_eq!(validated.code, 0, "{validated:#?}");
    assert!(validated.stderr.contains(warning), "{validated:#?}");
    mesh.kubectl.ok(&["delete", "virtualservice", "checked"]);
}

/// Without galley nothing of Istio's is stored; with it again, everything goes on by itself.
fn nothing_is_stored_unseen(mesh: &Mesh) {
    let scale = ["scale", "-n", "istio-system", "deploy/istio-galley"];
    mesh.kubectl.ok(&[&scale[..], &["--replicas=0"]].concat());
    eventually("nobody is asked", PATIENCE, || {
        let applied = mesh.kubectl.with_input(&["apply", "-f", "-"], WARNED);
        let said = "failed calling webhook \"validation.istio.io\"";
        if applied.code == 1 && applied.stderr.contains(said) {
            Ok(())
        } else {
            Err(format!("{applied:?}"))
        }
    });
    // What is in the way can be taken out of it.
    mesh.kubectl.run(&["delete", "virtualservice", "checked"]);
    mesh.kubectl.ok(&[&scale[..], &["--replicas=1"]].concat());
    eventually("objects are stored again", PATIENCE, || {
        let applied = mesh.kubectl.with_input(&["apply", "-f", "-"], WARNED);
        if applied.code == 0 { Ok(()) } else { Err(applied.stderr) }
    });
    mesh.kubectl.ok(&["delete", "virtualservice", "checked"]);
}

/// The webhook sees one object at a time; what others lack is the analyzers' to tell.
fn a_missing_subset_is_told_of(mesh: &Mesh) {
    mesh.kubectl.apply(NOWHERE);
    let found = mesh.meshctl(&["analyze"]);
    assert_eq!(found.code, 79, "{found:#?}");
    let line = "Error [IST0101] (VirtualService default/ratings) Referenced host+subset in \
                destinationrule not found: \"ratings+nowhere\"";
    assert!(found.stdout.contains(line), "{found:#?}");
    eventually("ratings cannot be had", PATIENCE, || {
        let page = mesh.page()?;
        assert_eq!(page.status, 200, "{page:?}");
        let gone = page.body.contains("Ratings service is currently unavailable");
        if gone { Ok(()) } else { Err(page.body) }
    });
    eventually("the log says why", PATIENCE, || {
        // Any version of reviews may have answered the page before.
        mesh.page()?;
        let log = mesh.kubectl.ok(&["logs", "deploy/reviews-v2", "-c", "istio-proxy"]);
        let why = log.lines().any(|line| line.contains("/ratings/") && line.contains(" 503 NC "));
        if why { Ok(()) } else { Err::<(), String>(log) }
    });
    mesh.kubectl.ok(&["delete", "virtualservice", "ratings"]);
    eventually("stars are back", PATIENCE, || {
        let page = mesh.page()?;
        let gone = page.body.contains("Ratings service is currently unavailable");
        if gone { Err(page.body) } else { Ok(()) }
    });
}
