//! A local cluster with the mesh in it, and what users do there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http::{self, Answer};
use crate::metrics::{self, Sample};
use crate::{Cluster, Dashboard, Kubectl, Output, eventually, settings};

/// How long the slowest step may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long a change may take from pilot's watch to the last proxy's acknowledgement.
pub const EFFECTIVE: Duration = Duration::from_secs(2);

/// A pod outside the mesh that stays, to ask from.
const OUTSIDER: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: outsider, labels: {app: \
    outsider}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: outsider, \
    image: lateen/host, command: [sleep, infinity]}\n";

/// A cluster with the mesh.
pub struct Mesh {
    /// The user's kubectl.
    pub kubectl: Kubectl,
    cluster: Cluster,
}

impl Mesh {
    /// Starts a cluster and installs the mesh as `meshctl install` does by itself, with `sets`.
    #[track_caller]
    pub fn install(sets: &[&str]) -> Self {
        Self::install_on(Cluster::start(), sets)
    }

    /// Installs the mesh with `sets` on a cluster.
    #[track_caller]
    pub fn install_on(cluster: Cluster, sets: &[&str]) -> Self {
        let kubectl = cluster.kubectl(settings::kubectl_newest());
        let mesh = Self { kubectl, cluster };
        let mut args = vec!["install", "-y"];
        for set in sets {
            args.extend(["--set", set]);
        }
        let installed = mesh.meshctl(&args);
        assert_eq!(installed.code, 0, "{installed:#?}\n{}", mesh.state());
        mesh
    }

    /// The mesh with Bookinfo in namespace `default`, all pods ready and the gateway open.
    #[track_caller]
    pub fn with_bookinfo() -> Self {
        let mesh = Self::install(&["meshConfig.accessLogFile=/dev/stdout"]);
        mesh.bookinfo();
        mesh
    }

    /// Applies Bookinfo and its gateway as the documents say.
    #[track_caller]
    pub fn bookinfo(&self) {
        self.kubectl.ok(&["label", "namespace", "default", "istio-injection=enabled"]);
        self.kubectl.ok(&["apply", "-f", &sample("platform/kube/bookinfo.yaml")]);
        self.kubectl.ok(&["apply", "-f", &sample("networking/bookinfo-gateway.yaml")]);
        self.ready("default");
        eventually("the product page answers at the gateway", PATIENCE, || {
            let page = self.page()?;
            if page.status == 200 { Ok(()) } else { Err(format!("{page:?}")) }
        });
    }

    /// Waits until all Deployments of a namespace are available.
    #[track_caller]
    pub fn ready(&self, namespace: &str) {
        let wait =
            ["wait", "--for=condition=Available", "deployment", "--all", "--timeout=90s", "-n"];
        let waited = self.kubectl.run(&[&wait[..], &[namespace]].concat());
        assert_eq!(waited.code, 0, "{waited:#?}\n{}", self.state());
    }

    /// Applies a rule of Bookinfo's, by its file's name, and waits until every proxy has it.
    #[track_caller]
    pub fn rule(&self, name: &str) {
        let file = sample(&format!("networking/{name}.yaml"));
        self.acknowledged(&self.kubectl.ok(&["apply", "-f", &file]));
    }

    /// Waits until every proxy has acknowledged what kubectl says that it wrote or deleted.
    #[track_caller]
    pub fn acknowledged(&self, printed: &str) {
        for change in changes(printed) {
            match change {
                Change::Written(object) => self.effective(&object),
                Change::Deleted(object) => self.withdrawn(&object),
            };
        }
    }

    /// Waits until every proxy has acknowledged an object, such as `virtualservice/reviews`, by
    /// pilot's own clock within [`EFFECTIVE`]; how long that was.
    #[track_caller]
    pub fn effective(&self, object: &str) -> Duration {
        self.distributed("distribution", object)
    }

    /// Waits until every proxy has acknowledged that an object is gone, as [`Self::effective`].
    #[track_caller]
    pub fn withdrawn(&self, object: &str) -> Duration {
        self.distributed("delete", object)
    }

    #[track_caller]
    fn distributed(&self, condition: &str, object: &str) -> Duration {
        let wait = ["experimental", "wait", "--for", condition, object, "-o", "json"];
        let waited = self.meshctl(&wait);
        assert_eq!(waited.code, 0, "{object}: {waited:#?}\n{}", self.state());
        let told: serde_json::Value = serde_json::from_str(&waited.stdout).expect("JSON");
        let took = told["distributedInMs"].as_u64().map(Duration::from_millis);
        let took = took.unwrap_or_else(|| panic!("{object}: no time in {told}"));
        assert!(took <= EFFECTIVE, "{object} took {took:?}: {told}");
        took
    }

    /// A command that runs `program` where the cluster's loopback ports are.
    pub fn command(&self, program: &Path) -> Command {
        self.cluster.command(program)
    }

    /// Runs `meshctl` as this cluster's administrator.
    pub fn meshctl(&self, args: &[&str]) -> Output {
        self.cluster.meshctl(args)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }

    /// A directory of this cluster's user.
    pub fn home(&self) -> &Path {
        self.cluster.home()
    }

    /// Starts `meshctl dashboard` with `args`, on any free port and without a browser.
    #[track_caller]
    pub fn dashboard(&self, args: &[&str]) -> Dashboard {
        let args = [&["dashboard"], args, &["--browser=false", "--port", "0"]].concat();
        Dashboard::start(self.cluster.meshctl_command(&args))
    }

    /// The gateway's port for pages on this machine.
    pub fn ingress_port(&self) -> Result<u16, String> {
        let path = "jsonpath={.spec.ports[?(@.name==\"http2\")].nodePort}";
        let args = ["get", "svc", "istio-ingressgateway", "-n", "istio-system", "-o", path];
        let port = self.kubectl.run(&args).stdout;
        port.parse().map_err(|_| format!("node port {port:?}"))
    }

    /// The product page through the gateway.
    pub fn page(&self) -> Result<Answer, String> {
        let port = self.ingress_port()?;
        self.cluster.beside(|| http::get(port, "/productpage"))
    }

    /// Name and address of the only pod with label `app`, and `version` if it is not empty.
    #[track_caller]
    pub fn pod(&self, app: &str, version: &str) -> (String, String) {
        let selector = if version.is_empty() {
            format!("app={app}")
        } else {
            format!("app={app},version={version}")
        };
        let path = "jsonpath={.items[*].metadata.name} {.items[*].status.podIP}";
        let found = self.kubectl.ok(&["get", "pods", "-l", &selector, "-o", path]);
        match found.split_whitespace().collect::<Vec<_>>()[..] {
            [name, address] => (name.to_owned(), address.to_owned()),
            _ => panic!("not one pod has {selector}: {found:?}"),
        }
    }

    /// Starts a pod without a sidecar in a namespace of its own, to ask from.
    #[track_caller]
    pub fn outsider(&self) -> Outsider<'_> {
        self.kubectl.ok(&["create", "namespace", "outside"]);
        let applied = self.kubectl.with_input(&["apply", "-n", "outside", "-f", "-"], OUTSIDER);
        assert_eq!(applied.code, 0, "{applied:#?}");
        let wait = ["wait", "--for=condition=Ready", "pod/outsider", "-n", "outside"];
        self.kubectl.ok(&[&wait[..], &["--timeout=60s"]].concat());
        Outsider { kubectl: &self.kubectl }
    }

    /// What a pod's agent exports, as Prometheus scrapes it.
    pub fn metrics(&self, from: &Outsider<'_>, address: &str) -> Vec<Sample> {
        let scraped =
            from.ok(&["curl", "-sS", &format!("http://{address}:15020/stats/prometheus")]);
        metrics::parse(&scraped)
    }

    /// Everything a person would look at, for a failing test's message.
    pub fn state(&self) -> String {
        let mut text = self.kubectl.run(&["get", "pods", "-A", "-o", "wide"]).stdout;
        for args in [
            &["logs", "-n", "istio-system", "deploy/istiod", "--tail=30"][..],
            &["logs", "-n", "istio-system", "deploy/istio-ca", "--tail=10"],
            &["logs", "-n", "istio-system", "deploy/istio-galley", "--tail=10"],
            &["logs", "-n", "istio-system", "deploy/istio-ingressgateway", "--tail=30"],
            &["logs", "deploy/productpage-v1", "-c", "istio-proxy", "--tail=30"],
            &["get", "events", "-A"],
        ] {
            let output = self.kubectl.run(args);
            text.push_str(&format!("\n--- kubectl {}\n", args.join(" ")));
            text.push_str(&output.stdout);
            text.push_str(&output.stderr);
        }
        text
    }
}

/// A pod outside the mesh.
pub struct Outsider<'a> {
    kubectl: &'a Kubectl,
}

impl Outsider<'_> {
    /// Runs a command in the pod.
    pub fn run(&self, command: &[&str]) -> Output {
        self.kubectl.run(&[&["exec", "-n", "outside", "outsider", "--"], command].concat())
    }

    /// Runs a command in the pod that must succeed.
    #[track_caller]
    pub fn ok(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert_eq!(output.code, 0, "{command:?}: {output:#?}");
        output.stdout
    }
}

/// A file of the Bookinfo sample, as users name it.
pub fn sample(path: &str) -> String {
    settings::repository().join("samples/bookinfo").join(path).display().to_string()
}

/// What kubectl says of an object of the mesh: `virtualservice/reviews`.
#[derive(Debug, PartialEq)]
enum Change {
    Written(String),
    Deleted(String),
}

/// Reads `virtualservice.networking.istio.io/reviews created` and
/// `virtualservice.networking.istio.io "reviews" deleted from default namespace`.
fn changes(printed: &str) -> Vec<Change> {
    let one = |line: &str| {
        let (kind, rest) = line.trim().split_once(".networking.istio.io")?;
        if let Some(rest) = rest.strip_prefix('/') {
            let (name, what) = rest.split_once(' ')?;
            let written = matches!(what, "created" | "configured");
            return written.then(|| Change::Written(format!("{kind}/{name}")));
        }
        let (name, what) = rest.strip_prefix(" \"")?.split_once('"')?;
        what.trim().starts_with("deleted").then(|| Change::Deleted(format!("{kind}/{name}")))
    };
    printed.lines().filter_map(one).collect()
}

#[test]
fn changes_are_read_from_what_kubectl_prints() {
    let printed = "virtualservice.networking.istio.io/reviews configured\nservice/a created\n\
        destinationrule.networking.istio.io/a unchanged\n\
        gateway.networking.istio.io \"b\" deleted from default namespace\n\
        gateway.networking.istio.io/x patched\n";
    let expected =
        [Change::Written("virtualservice/reviews".into()), Change::Deleted("gateway/b".into())];
    assert_eq!(changes(printed), expected);
}
