//! Hosts outside the cluster: passed, refused, registered, timed out and gone around, as each
//! policy says, and counted under the right names.

use std::sync::Arc;

use mesh_test::mesh::{Mesh, Outsider, PATIENCE};
use mesh_test::metrics::{self, Sample};
use mesh_test::outside::{ECHO, EDITION, WWW};
use mesh_test::{Cluster, Output, Outside, eventually};

/// What a connection refused by TLS' client looks like, as curl's exit codes: the handshake failed,
/// or the connection was reset.
const BROKEN: [i32; 2] = [35, 56];

/// HTTP by name.
const HTTP: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: www-http}
spec:
  hosts: [www.external.example]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
";

/// At most three seconds for a request.
const PATIENT: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: www}
spec:
  hosts: [www.external.example]
  http:
  - timeout: 3s
    route:
    - destination: {host: www.external.example}
      weight: 100
";

/// HTTPS by its server name: one host found by the mesh, one by the application.
const HTTPS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: www-https}
spec:
  hosts: [www.external.example]
  location: MESH_EXTERNAL
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: edition-https}
spec:
  hosts: [edition.external.example]
  location: MESH_EXTERNAL
  ports: [{number: 443, name: https, protocol: TLS}]
  resolution: NONE
";

/// Bytes by their port.
const TCP: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: echo}
spec:
  hosts: [echo.external.example]
  location: MESH_EXTERNAL
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
";

/// All names of a domain.
const WILDCARD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  location: MESH_EXTERNAL
  ports:
  - {number: 443, name: https, protocol: TLS}
  - {number: 80, name: http, protocol: HTTP}
  resolution: NONE
";

#[test]
fn unknown_hosts_pass_and_are_counted() {
    let mesh = start(&[]);
    let outsider = mesh.outsider();
    let asker = Asker::start(&mesh, "asker", "");
    let headers = asker.get(&format!("http://{WWW}/headers"));
    assert!(headers.contains("x-request-id"), "the sidecar has seen it: {headers}");
    assert_eq!(asker.get(&format!("https://{WWW}/")), format!("This is {WWW}.\n"));
    let followed = asker.get(&format!("http://{EDITION}/politics"));
    assert_eq!(followed, format!("This is {EDITION}.\n"), "by way of HTTPS");
    assert_eq!(asker.echo().stdout, "hello\n");
    let closed = asker.curl(&[&format!("http://{WWW}:81/")]);
    assert_ne!(closed.code, 0, "nobody listens there: {closed:#?}");
    let by = [("reporter", "source"), ("destination_service_name", "PassthroughCluster")];
    eventually("requests and connections that passed are counted", PATIENCE, || {
        let samples = asker.metrics(&outsider);
        counted(&samples, "istio_requests_total", &with(&by, ("response_code", "200")), 1.0)?;
        counted(&samples, "istio_tcp_connections_opened_total", &by, 3.0)
    });

    // Outside the ranges that are captured, the mesh has no part in it.
    let ranges = "values.global.proxy.includeIPRanges=10.96.0.0/16";
    install(&mesh, &[ranges]);
    let straight = Asker::start(&mesh, "straight", "");
    straight.goes_around(&outsider);
}

#[test]
fn only_registered_hosts_are_reached() {
    let mesh = start(&["meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY"]);
    let outsider = mesh.outsider();
    let asker = Asker::start(&mesh, "asker", "");
    assert_eq!(asker.status(&format!("http://{WWW}/")), "502");
    asker.broken(&format!("https://{WWW}/"));
    assert_eq!(asker.echo().stdout, "", "bytes are for nobody");
    let by = [("reporter", "source"), ("destination_service_name", "BlackHoleCluster")];
    eventually("what was refused is counted", PATIENCE, || {
        let samples = asker.metrics(&outsider);
        counted(&samples, "istio_requests_total", &with(&by, ("response_code", "502")), 1.0)?;
        counted(&samples, "istio_tcp_connections_opened_total", &by, 2.0)
    });

    http_by_name(&mesh, &asker, &outsider);
    https_by_server_name(&mesh, &asker, &outsider);
    bytes_by_port(&mesh, &asker, &outsider);
    names_of_a_domain(&mesh, &asker, &outsider);

    let annotation = "traffic.sidecar.istio.io/excludeOutboundIPRanges: 203.0.113.0/24";
    let straight = Asker::start(&mesh, "straight", annotation);
    straight.goes_around(&outsider);

    assert_eq!(asker.status(&format!("http://{EDITION}/")), "502");
    install(&mesh, &["meshConfig.outboundTrafficPolicy.mode=ALLOW_ANY"]);
    asker.comes_to(&format!("http://{EDITION}/"), "200");
}

fn http_by_name(mesh: &Mesh, asker: &Asker<'_>, outsider: &Outsider<'_>) {
    let (page, slow) = (format!("http://{WWW}/"), format!("http://{WWW}/delay/5"));
    mesh.kubectl.apply(HTTP);
    asker.comes_to(&page, "200");
    assert_eq!(asker.status(&format!("http://{EDITION}/")), "502", "it is not registered");
    assert_eq!(asker.status(&slow), "200", "there is no limit");
    let by = [("destination_service", WWW), ("destination_service_name", WWW)];
    eventually("requests are counted for the host", PATIENCE, || {
        let by = with(&with(&by, ("response_code", "200")), ("reporter", "source"));
        counted(&asker.metrics(outsider), "istio_requests_total", &by, 2.0)
    });
    mesh.kubectl.apply(PATIENT);
    asker.comes_to(&slow, "504");
    assert_eq!(asker.status(&page), "200");
    undo(mesh, PATIENT);
    asker.comes_to(&slow, "200");
    undo(mesh, HTTP);
    asker.comes_to(&page, "502");
}

fn https_by_server_name(mesh: &Mesh, asker: &Asker<'_>, outsider: &Outsider<'_>) {
    mesh.kubectl.apply(HTTPS);
    for host in [WWW, EDITION] {
        asker.comes_to(&format!("https://{host}/"), "200");
        assert_eq!(asker.get(&format!("https://{host}/")), format!("This is {host}.\n"));
        let by = [("reporter", "source"), ("destination_service", host)];
        eventually("connections are counted for the host", PATIENCE, || {
            counted(&asker.metrics(outsider), "istio_tcp_connections_opened_total", &by, 2.0)
        });
    }
    asker.broken("https://en.wild.example/");
    undo(mesh, HTTPS);
    asker.comes_to(&format!("https://{WWW}/"), "000");
}

fn bytes_by_port(mesh: &Mesh, asker: &Asker<'_>, outsider: &Outsider<'_>) {
    mesh.kubectl.apply(TCP);
    let echoed = || Some(asker.echo().stdout).filter(|text| text == "hello\n").ok_or("no echo");
    eventually("bytes come back", PATIENCE, echoed);
    let by = [("reporter", "source"), ("destination_service", ECHO)];
    eventually("connections are counted for the host", PATIENCE, || {
        counted(&asker.metrics(outsider), "istio_tcp_connections_opened_total", &by, 1.0)
    });
    undo(mesh, TCP);
    eventually("bytes are for nobody again", PATIENCE, || {
        if echoed().is_err() { Ok(()) } else { Err("they come back") }
    });
}

fn names_of_a_domain(mesh: &Mesh, asker: &Asker<'_>, outsider: &Outsider<'_>) {
    mesh.kubectl.apply(WILDCARD);
    asker.comes_to("https://en.wild.example/", "200");
    asker.comes_to("https://de.wild.example/", "200");
    asker.comes_to("http://en.wild.example/", "200");
    asker.broken(&format!("https://{WWW}/"));
    let by = [("reporter", "source"), ("destination_service", "*.wild.example")];
    eventually("connections are counted for the domain", PATIENCE, || {
        counted(&asker.metrics(outsider), "istio_tcp_connections_opened_total", &by, 2.0)
    });
    undo(mesh, WILDCARD);
    asker.comes_to("https://en.wild.example/", "000");
}

/// The mesh on a cluster with an outside, and namespace `default` labelled for injection.
fn start(sets: &[&str]) -> Mesh {
    let cluster = Cluster::start_within(&Arc::new(Outside::new()));
    let mesh = Mesh::install_on(cluster, sets);
    mesh.kubectl.ok(&["label", "namespace", "default", "istio-injection=enabled"]);
    mesh
}

/// Installs again, with other values.
fn install(mesh: &Mesh, sets: &[&str]) {
    let mut args = vec!["install", "-y"];
    for set in sets {
        args.extend(["--set", set]);
    }
    let installed = mesh.meshctl(&args);
    assert_eq!(installed.code, 0, "{installed:#?}\n{}", mesh.state());
}

fn undo(mesh: &Mesh, manifest: &str) {
    let deleted = mesh.kubectl.with_input(&["delete", "-f", "-"], manifest);
    assert_eq!(deleted.code, 0, "{deleted:#?}");
}

/// Labels and one more.
fn with<'a>(labels: &[(&'a str, &'a str)], more: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([more]).collect()
}

/// Whether at least `least` are counted, else what is.
fn counted(
    samples: &[Sample],
    name: &str,
    labels: &[(&str, &str)],
    least: f64,
) -> Result<(), String> {
    if metrics::sum(samples, name, labels) >= least {
        return Ok(());
    }
    let series: Vec<&Sample> = samples.iter().filter(|sample| sample.name == name).collect();
    Err(format!("{name}{labels:?} is less than {least}: {series:#?}"))
}

/// A pod of the mesh to ask from.
struct Asker<'a> {
    mesh: &'a Mesh,
    name: &'static str,
}

impl<'a> Asker<'a> {
    fn start(mesh: &'a Mesh, name: &'static str, annotation: &str) -> Self {
        mesh.kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\n  \
             annotations: {{{annotation}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             containers:\n  - {{name: {name}, image: lateen/host, command: [sleep, infinity]}}\n"
        ));
        let wait = ["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{name}")];
        let waited = mesh.kubectl.run(&wait);
        assert_eq!(waited.code, 0, "{waited:#?}\n{}", mesh.state());
        Self { mesh, name }
    }

    fn run(&self, command: &[&str]) -> Output {
        let args = ["exec", self.name, "-c", self.name, "--"];
        self.mesh.kubectl.run(&[&args[..], command].concat())
    }

    fn curl(&self, args: &[&str]) -> Output {
        self.run(&[&["curl", "-sS", "--max-time", "20"], args].concat())
    }

    /// The body of a page that is there.
    #[track_caller]
    fn get(&self, url: &str) -> String {
        let output = self.curl(&["--location", "--fail", url]);
        assert_eq!(output.code, 0, "{url}: {output:#?}\n{}", self.log());
        output.stdout
    }

    /// The status of an answer, `000` if there is none.
    fn status(&self, url: &str) -> String {
        self.curl(&["-o", "/dev/null", "-w", "%{http_code}", url]).stdout
    }

    #[track_caller]
    fn comes_to(&self, url: &str, status: &str) {
        eventually(&format!("{url} answers {status}"), PATIENCE, || {
            let found = self.status(url);
            if found == status { Ok(()) } else { Err(format!("{found}\n{}", self.log())) }
        });
    }

    /// Asks for a page by HTTPS whose connection must not come about.
    #[track_caller]
    fn broken(&self, url: &str) {
        let output = self.curl(&[url]);
        assert!(BROKEN.contains(&output.code), "{url}: {output:#?}\n{}", self.log());
    }

    /// Sends a line to the echo of the outside.
    fn echo(&self) -> Output {
        let talk =
            format!("exec 3<>/dev/tcp/{ECHO}/9000; printf 'hello\\n' >&3; timeout 5 head -n 1 <&3");
        self.run(&["bash", "-c", &talk])
    }

    fn metrics(&self, outsider: &Outsider<'_>) -> Vec<Sample> {
        self.mesh.metrics(outsider, &self.mesh.pod(self.name, "").1)
    }

    /// Hosts outside are reached, and the sidecar knows nothing of it.
    #[track_caller]
    fn goes_around(&self, outsider: &Outsider<'_>) {
        let headers = self.get(&format!("http://{WWW}/headers"));
        let touched = headers.contains("x-request-id") || headers.contains("x-envoy");
        assert!(!touched && headers.contains(WWW), "{headers}");
        assert_eq!(self.get(&format!("https://{WWW}/")), format!("This is {WWW}.\n"));
        let samples = self.metrics(outsider);
        for name in ["istio_requests_total", "istio_tcp_connections_opened_total"] {
            assert_eq!(metrics::sum(&samples, name, &[("reporter", "source")]), 0.0, "{name}");
        }
    }

    fn log(&self) -> String {
        self.mesh.kubectl.run(&["logs", self.name, "-c", "istio-proxy", "--tail=30"]).stdout
    }
}
