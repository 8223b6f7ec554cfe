//! The real `kubectl` (from the path) against a server on a free port: no node, no controllers.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use mesh_local::api::{ApiServer, Config};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

struct Cluster {
    server: ApiServer,
    dir: TempDir,
    _serving: JoinSet<()>,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::start(Config::default()).await.expect("the server starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let dir = tempfile::tempdir().expect("a folder");
        let config = server.admin_kubeconfig("lateen", &url).expect("a kubeconfig");
        std::fs::write(dir.path().join("config"), config).expect("the kubeconfig is written");
        let mut serving = JoinSet::new();
        let front = server.clone();
        serving.spawn(async move { front.serve(listener).await.expect("the listener works") });
        Self { server, dir, _serving: serving }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("HOME", self.dir.path())
            .arg("--kubeconfig")
            .arg(self.config())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).spawn().expect("kubectl must be on the path");
        let mut stdin = child.stdin.take().expect("a pipe");
        // kubectl may end without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.expect("kubectl ends")
    }

    /// Runs a command that succeeds; gives what it printed.
    async fn ok(&self, args: &[&str], input: &str) -> String {
        let output = self.run(args, input).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "kubectl {args:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Runs a command that fails; gives its complaint.
    async fn fails(&self, args: &[&str], input: &str) -> String {
        let output = self.run(args, input).await;
        assert!(!output.status.success(), "kubectl {args:?} was expected to fail with {input}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1", ports: [{containerPort: 80}]}
"#;

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sails.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Sail, plural: sails, shortNames: [sl], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Area, type: integer, jsonPath: .spec.area}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: A sail is what a mast carries.
        properties:
          spec:
            type: object
            required: [area]
            properties:
              area: {type: integer, minimum: 1, maximum: 100, description: Square metres.}
              cut: {type: string, enum: [LATEEN, SQUARE], default: LATEEN}
            x-kubernetes-validations:
            - {rule: "self.cut != 'SQUARE' || self.area > 10", message: a square sail is larger}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  - name: v1beta1
    served: true
    storage: false
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;

const SAIL: &str = r#"
apiVersion: example.com/v1
kind: Sail
metadata: {name: main}
spec: {area: 30}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_and_read_builtin_kinds() {
    let cluster = Cluster::start().await;
    assert_has(&cluster.ok(&["version"], "").await, &["Server Version: v1.33.0+lateen"]);
    let resources = cluster.ok(&["api-resources"], "").await;
    assert_has(&resources, &["deployments", "deploy", "apps/v1", "customresourcedefinitions"]);
    // These send protobuf bodies.
    cluster.ok(&["create", "namespace", "port"], "").await;
    cluster.ok(&["create", "configmap", "c", "--from-literal=a=1", "-n", "port"], "").await;
    cluster.ok(&["create", "secret", "generic", "s", "--from-literal=k=v"], "").await;
    cluster.ok(&["create", "serviceaccount", "me"], "").await;
    cluster.ok(&["create", "deployment", "d", "--image=x:1", "--replicas=3"], "").await;
    cluster.ok(&["create", "service", "clusterip", "d", "--tcp=80:8080"], "").await;
    cluster.ok(&["create", "job", "j", "--image=x:1"], "").await;
    cluster.ok(&["create", "role", "r", "--verb=get", "--resource=pods"], "").await;
    cluster
        .ok(&["create", "rolebinding", "b", "--role=r", "--serviceaccount=default:me"], "")
        .await;
    let token = cluster.ok(&["create", "token", "me"], "").await;
    assert_eq!(token.trim().split('.').count(), 3);
    assert_has(&cluster.ok(&["get", "ns"], "").await, &["NAME", "STATUS", "port", "Active"]);
    let deployments = cluster.ok(&["get", "deploy", "-o", "wide"], "").await;
    assert_has(&deployments, &["READY", "UP-TO-DATE", "0/3", "x:1", "app=d"]);
    assert_has(&cluster.ok(&["get", "svc"], "").await, &["CLUSTER-IP", "10.96.0.1", "443/TCP"]);
    assert_has(&cluster.ok(&["get", "all"], "").await, &["deployment.apps/d", "job.batch/j"]);
    let yaml = cluster.ok(&["get", "cm", "c", "-n", "port", "-o", "yaml"], "").await;
    assert_has(&yaml, &["apiVersion: v1", "kind: ConfigMap", "a: \"1\""]);
    let missing = cluster.fails(&["get", "pod", "nosuch"], "").await;
    assert_has(&missing, &["Error from server (NotFound): pods \"nosuch\" not found"]);
    assert_has(&cluster.fails(&["get", "nosuch"], "").await, &["doesn't have a resource type"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_change_and_delete() {
    let cluster = Cluster::start().await;
    let apply = ["apply", "-f", "-"];
    assert_has(&cluster.ok(&apply, DEPLOYMENT).await, &["deployment.apps/web created"]);
    assert_has(&cluster.ok(&apply, DEPLOYMENT).await, &["deployment.apps/web unchanged"]);
    let newer = DEPLOYMENT.replace("web:1", "web:2");
    assert_has(&cluster.ok(&apply, &newer).await, &["deployment.apps/web configured"]);
    let bad = DEPLOYMENT.replace("replicas: 2", "replicaz: 2");
    assert_has(&cluster.fails(&apply, &bad).await, &["unknown field \"spec.replicaz\""]);
    let other = DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: other}");
    assert_has(
        &cluster.fails(&apply, &other).await,
        &["is invalid", "spec.template.metadata.labels"],
    );
    cluster.ok(&["label", "deploy", "web", "tier=front"], "").await;
    cluster.ok(&["annotate", "deploy", "web", "note=x"], "").await;
    cluster.ok(&["scale", "deploy", "web", "--replicas=5"], "").await;
    cluster.ok(&["set", "image", "deploy/web", "main=web:3"], "").await;
    cluster.ok(&["rollout", "restart", "deploy/web"], "").await;
    cluster.ok(&["patch", "deploy", "web", "-p", r#"{"spec":{"paused":true}}"#], "").await;
    let json = r#"[{"op":"remove","path":"/spec/paused"}]"#;
    cluster.ok(&["patch", "deploy", "web", "--type=json", "-p", json], "").await;
    let seen = cluster
        .ok(&["get", "deploy", "web", "-o",
              "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image} {.metadata.generation}"], "")
        .await;
    assert_has(&seen, &["5 web:3"]);
    let edit = cluster
        .command(&["edit", "deploy", "web"])
        .env("KUBE_EDITOR", "sed -i s/web:3/web:4/")
        .output();
    assert!(edit.await.expect("kubectl edit runs").status.success());
    let described = cluster.ok(&["describe", "deploy", "web"], "").await;
    assert_has(&described, &["web:4", "tier=front", "StrategyType"]);
    assert_has(&cluster.ok(&["delete", "deploy", "web"], "").await, &["deleted"]);
    assert_has(&cluster.ok(&["create", "-f", "-"], DEPLOYMENT).await, &["created"]);
    assert_has(&cluster.ok(&["replace", "-f", "-"], &newer).await, &["replaced"]);
    assert_has(&cluster.ok(&["delete", "-f", "-"], DEPLOYMENT).await, &["deleted"]);
    cluster.ok(&["create", "-f", "-", "--dry-run=server"], DEPLOYMENT).await;
    assert_has(&cluster.fails(&["get", "deploy", "web"], "").await, &["NotFound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_served_at_once() {
    let cluster = Cluster::start().await;
    let both = format!("{CRD}---{SAIL}");
    cluster.ok(&["apply", "-f", "-"], CRD).await;
    assert_has(&cluster.ok(&["apply", "-f", "-"], &both).await, &["sail.example.com/main created"]);
    cluster
        .ok(&["wait", "--for=condition=established", "crd/sails.example.com", "--timeout=10s"], "")
        .await;
    assert_has(&cluster.ok(&["get", "sl"], "").await, &["NAME", "AREA", "AGE", "main", "30"]);
    let read = cluster.ok(&["get", "sails.v1beta1.example.com", "main", "-o", "yaml"], "").await;
    assert_has(&read, &["apiVersion: example.com/v1beta1", "cut: LATEEN"]);
    let explained = cluster.ok(&["explain", "sail.spec.area"], "").await;
    assert_has(&explained, &["Square metres."]);
    assert_has(&cluster.ok(&["explain", "pod.spec.containers"], "").await, &["KIND:", "image"]);
    for (from, to, part) in [
        (
            "area: 30",
            "area: 300",
            "spec.area: Invalid value: 300: spec.area in body should be less than or equal to 100",
        ),
        ("area: 30", "area: 5, cut: SQUARE", "a square sail is larger"),
        ("area: 30", "area: 30, cut: ROUND", "Unsupported value: \"ROUND\""),
        ("area: 30", "cut: LATEEN", "spec.area: Required value"),
        ("area: 30", "area: 30, colour: red", "unknown field \"spec.colour\""),
    ] {
        let refused = cluster.fails(&["apply", "-f", "-"], &SAIL.replace(from, to)).await;
        assert_has(&refused, &[part]);
    }
    let bad = CRD.replace("|| self.area", "|| || self.area").replace("sails", "jibs");
    assert_has(&cluster.fails(&["apply", "-f", "-"], &bad).await, &["is invalid"]);
    cluster
        .ok(&["patch", "sail", "main", "--type=merge", "-p", r#"{"spec":{"area":40}}"#], "")
        .await;
    cluster
        .ok(
            &[
                "patch",
                "sail",
                "main",
                "--type=merge",
                "--subresource=status",
                "-p",
                r#"{"status":{"torn":true}}"#,
            ],
            "",
        )
        .await;
    let seen = cluster
        .ok(
            &[
                "get",
                "sail",
                "main",
                "-o",
                "jsonpath={.spec.area}{.status.torn}{.metadata.generation}",
            ],
            "",
        )
        .await;
    assert_eq!(seen, "40true2");
    cluster.ok(&["delete", "crd", "sails.example.com"], "").await;
    cluster.fails(&["get", "--raw", "/apis/example.com/v1"], "").await;
    cluster.ok(&["apply", "-f", "-"], CRD).await;
    assert_has(&cluster.ok(&["get", "sails"], "").await, &["No resources found"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_and_waiting() {
    let cluster = Cluster::start().await;
    let mut watching =
        cluster.command(&["get", "cm", "-w", "--no-headers"]).spawn().expect("kubectl runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    cluster.ok(&["create", "configmap", "seen", "--from-literal=a=1"], "").await;
    let line = lines.next_line().await.expect("a pipe").expect("an event");
    assert_has(&line, &["seen", "1"]);
    let waiting = ["wait", "--for=jsonpath={.data.a}=2", "cm/seen", "--timeout=30s"];
    let change = ["patch", "cm", "seen", "-p", r#"{"data":{"a":"2"}}"#];
    let (met, _) = tokio::join!(cluster.ok(&waiting, ""), cluster.ok(&change, ""));
    assert_has(&met, &["condition met"]);
    let gone = ["wait", "--for=delete", "cm/seen", "--timeout=30s"];
    // It says "condition met" only if it still saw the object.
    tokio::join!(cluster.ok(&gone, ""), cluster.ok(&["delete", "cm", "seen"], ""));
    cluster.server.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights() {
    let cluster = Cluster::start().await;
    assert_has(&cluster.ok(&["auth", "whoami"], "").await, &["kubernetes-admin", "system:masters"]);
    assert_has(&cluster.ok(&["auth", "can-i", "delete", "nodes"], "").await, &["yes"]);
    cluster.ok(&["create", "serviceaccount", "low"], "").await;
    cluster
        .ok(
            &["create", "rolebinding", "v", "--clusterrole=view", "--serviceaccount=default:low"],
            "",
        )
        .await;
    let as_low = "--as=system:serviceaccount:default:low";
    assert_has(&cluster.ok(&["get", "pods", as_low], "").await, &["No resources found"]);
    let refused = cluster.fails(&["get", "secrets", as_low], "").await;
    assert_has(
        &refused,
        &["secrets is forbidden: User \"system:serviceaccount:default:low\" cannot list resource \
           \"secrets\" in API group \"\" in the namespace \"default\""],
    );
    assert_has(&cluster.fails(&["auth", "can-i", "create", "pods", as_low], "").await, &[]);
    assert_has(&cluster.ok(&["auth", "can-i", "--list", as_low], "").await, &["configmaps"]);
    let grant =
        ["create", "rolebinding", "up", "--clusterrole=admin", "--serviceaccount=default:low"];
    cluster.ok(&grant, "").await;
    let steal =
        ["create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=me", as_low];
    assert_has(&cluster.fails(&steal, "").await, &["is forbidden"]);
    let escalate = ["create", "role", "x", "--verb=*", "--resource=nodes", as_low];
    assert_has(
        &cluster.fails(&escalate, "").await,
        &["attempting to grant RBAC permissions not currently held"],
    );
    let token = cluster.ok(&["create", "token", "low"], "").await;
    let token = format!("--token={}", token.trim());
    let bare = ["get", "pods", token.as_str(), "--client-certificate=", "--client-key="];
    assert_has(&cluster.ok(&bare, "").await, &["No resources found"]);
    let bad = ["get", "pods", "--token=a.b.c"];
    assert_has(&cluster.fails(&bad, "").await, &["Unauthorized"]);
}

const VIRTUAL_SERVICE: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}, weight: 100}]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_definitions_of_the_mesh_are_served() {
    let cluster = Cluster::start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/base/files/crds.yaml");
    let applied = cluster.ok(&["apply", "-f", file], "").await;
    assert_has(&applied, &["virtualservices.networking.istio.io created"]);
    assert!(!cluster.ok(&["apply", "-f", file], "").await.contains("configured"));
    cluster.ok(&["apply", "-f", "-"], VIRTUAL_SERVICE).await;
    assert_has(&cluster.ok(&["get", "vs"], "").await, &["GATEWAYS", "HOSTS", "[\"reviews\"]"]);
    let old =
        cluster.ok(&["get", "virtualservices.v1alpha3.networking.istio.io", "-o", "yaml"], "");
    assert_has(&old.await, &["apiVersion: networking.istio.io/v1alpha3", "end-user"]);
    let bad = VIRTUAL_SERVICE.replace("weight: 100", "weights: 100");
    let refused = cluster.fails(&["apply", "-f", "-"], &bad).await;
    assert_has(&refused, &["unknown field \"spec.http[1].route[0].weights\""]);
    assert_has(&cluster.ok(&["explain", "vs.spec.hosts"], "").await, &["FIELD: hosts"]);
}
