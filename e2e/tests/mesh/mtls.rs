//! Every hop is mTLS: plaintext refused, identities right, both sides count the same requests.

use mesh_test::eventually;

use mesh_test::mesh::{Mesh, Outsider, PATIENCE};
use mesh_test::metrics::{Sample, sum};

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: \
    default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n";

/// How many pages are asked for.
const PAGES: usize = 40;

#[test]
fn hops_are_mutual_tls_and_counted_on_both_sides() {
    let mesh = Mesh::with_bookinfo();
    let outsider = mesh.outsider();
    let (_, details) = mesh.pod("details", "");
    let url = format!("http://{details}:9080/details/0");

    let plain = outsider.run(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!((plain.code, plain.stdout.as_str()), (0, "200"), "PERMISSIVE: {plain:#?}");
    mesh.kubectl.apply(STRICT);
    eventually("plaintext is refused under STRICT", PATIENCE, || {
        let plain = outsider.run(&["curl", "-sS", "-m", "5", &url]);
        let is_reset = plain.stderr.contains("reset") || plain.stderr.contains("Empty reply");
        if plain.code != 0 && is_reset { Ok(()) } else { Err(format!("{plain:?}")) }
    });

    let shown = outsider.run(&[
        "sh",
        "-c",
        &format!(
            "openssl s_client -connect {details}:9080 -alpn istio </dev/null 2>/dev/null \
             | openssl x509 -noout -ext subjectAltName"
        ),
    ]);
    let id = "URI:spiffe://cluster.local/ns/default/sa/bookinfo-details";
    assert!(shown.stdout.contains(id), "{shown:#?}");

    let before = counted(&mesh, &outsider);
    for _ in 0..PAGES {
        let page = mesh.page().unwrap();
        assert_eq!(page.status, 200, "{page:?}\n{}", mesh.state());
    }
    eventually("both sides have counted every request", PATIENCE, || {
        let now = counted(&mesh, &outsider);
        let grown = now.map(|count| count as usize);
        let wanted = before.map(|count| count as usize + PAGES);
        if grown == wanted { Ok(()) } else { Err(format!("{grown:?}, not {wanted:?}")) }
    });
}

/// Requests from productpage to details as productpage's sidecar counted them, as that of details
/// did, and all that came to productpage from the gateway as its sidecar and as the gateway did.
fn counted(mesh: &Mesh, outsider: &Outsider<'_>) -> [f64; 4] {
    let (_, productpage) = mesh.pod("productpage", "");
    let (_, details) = mesh.pod("details", "");
    let gateway = mesh.kubectl.ok(&[
        "get",
        "pods",
        "-n",
        "istio-system",
        "-l",
        "istio=ingressgateway",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ]);
    let productpage = mesh.metrics(outsider, &productpage);
    let details = mesh.metrics(outsider, &details);
    let gateway = mesh.metrics(outsider, &gateway);
    let hop = |samples: &[Sample], reporter: &str, from: &str, to: &str| {
        // A client's proxy does not vouch for what it cannot see: only the server's side says
        // that the connection was mutual TLS.
        let policy = if reporter == "source" { "unknown" } else { "mutual_tls" };
        let labels = [
            ("reporter", reporter),
            ("source_workload", from),
            ("destination_workload", to),
            ("destination_service_name", to.trim_end_matches("-v1")),
            ("response_code", "200"),
            ("connection_security_policy", policy),
        ];
        sum(samples, "istio_requests_total", &labels)
    };
    [
        hop(&productpage, "source", "productpage-v1", "details-v1"),
        hop(&details, "destination", "productpage-v1", "details-v1"),
        hop(&productpage, "destination", "istio-ingressgateway", "productpage-v1"),
        hop(&gateway, "source", "istio-ingressgateway", "productpage-v1"),
    ]
}
