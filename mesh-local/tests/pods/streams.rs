//! Streams into pods: commands, attachment and forwarded ports, by the real `kubectl` (from the
//! path) and by `kube`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::harness::Case;

/// Longer than anything here takes, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// All cases.
pub(crate) const ALL: &[Case] = &[
    ("commands_by_kubectl", || Box::pin(commands_by_kubectl())),
    ("commands_by_spdy", || Box::pin(commands_by_spdy())),
    ("commands_on_a_terminal", || Box::pin(commands_on_a_terminal())),
    ("commands_by_kube", || Box::pin(commands_by_kube())),
    ("commands_end_with_their_client", || Box::pin(commands_end_with_their_client())),
    ("files_are_copied_both_ways", || Box::pin(files_are_copied_both_ways())),
    ("attachment", || Box::pin(attachment())),
    ("ports_by_kubectl", || Box::pin(ports_by_kubectl())),
    ("ports_by_kube", || Box::pin(ports_by_kube())),
    ("streams_need_a_role", || Box::pin(streams_need_a_role())),
];

/// A cluster that listens.
struct Served {
    cluster: Cluster,
    _serving: JoinSet<()>,
}

impl Served {
    async fn new() -> Self {
        let cluster = Cluster::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let config = cluster.api.admin_kubeconfig("lateen", &url).expect("a kubeconfig");
        std::fs::write(cluster.dir.path().join("config"), config).expect("written");
        let mut serving = JoinSet::new();
        let front = cluster.api.clone();
        serving.spawn(async move { front.serve(listener).await.expect("the listener works") });
        Self { cluster, _serving: serving }
    }

    fn config(&self) -> PathBuf {
        self.cluster.dir.path().join("config")
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("HOME", self.cluster.dir.path())
            .env("KUBECONFIG", self.config())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Exit code, standard output and standard error of a kubectl command.
    async fn run(&self, args: &[&str], input: &[u8]) -> (i32, String, String) {
        finish(self.kubectl(args), input).await
    }

    async fn client(&self) -> Api<Pod> {
        let config = Kubeconfig::read_from(self.config()).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options).await.expect("a config");
        Api::default_namespaced(Client::try_from(config).expect("a client"))
    }

    /// A pod that does nothing until it is told to.
    async fn sleeper(&self) {
        let spec = json!({"containers": [{"name": "main", "sh": "echo up; exec sleep 1000",
            "env": [{"name": "SAIL", "value": "lateen"}]}]});
        self.cluster.create("sleeper", spec).await;
        self.cluster.ready("sleeper").await;
    }

    async fn server(&self) {
        let spec = json!({"containers": [{"name": "main", "image": "test/http"}]});
        self.cluster.create("web", spec).await;
        self.cluster.ready("web").await;
        // It listens soon after it runs.
        let waiting = "until wget -q -O- http://127.0.0.1:8080/ || grep -q ':1F90 ' /proc/net/tcp; \
                       do sleep 0.02; done";
        let (code, _, err) = self.run(&["exec", "web", "--", "sh", "-c", waiting], b"").await;
        assert_eq!(code, 0, "{err}");
    }
}

async fn finish(mut command: Command, input: &[u8]) -> (i32, String, String) {
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writing = async move {
        // A program may end without reading.
        let _ = stdin.write_all(&input).await;
    };
    let both = async { tokio::join!(writing, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PATIENCE, both).await.expect("it ends").expect("output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

async fn commands_by_kubectl() {
    let served = Served::new().await;
    served.sleeper().await;
    let exec = |script: &'static str| ["exec", "-i", "sleeper", "--", "sh", "-c", script];
    let answer = served.run(&exec("echo $SAIL; echo oops >&2; hostname; exit 3"), b"").await;
    let (code, out, err) = answer;
    assert_eq!((code, out.as_str()), (3, "lateen\nsleeper\n"), "{err}");
    assert!(err.starts_with("oops\n") && err.contains("exit code 3"), "{err}");
    let much = vec![b'x'; 3_000_000];
    let (code, out, err) = served.run(&exec("wc -c"), &much).await;
    assert_eq!((code, out.trim(), err.as_str()), (0, "3000000", ""));
    let (code, out, _) = served.run(&exec("head -c 3000000 /dev/zero"), b"").await;
    assert_eq!((code, out.len()), (0, 3_000_000), "all that was written is told");
    for (args, complaint) in [
        (&["exec", "sleeper", "--", "nosuch"][..], "executable file not found in $PATH"),
        (&["exec", "sleeper", "-c", "other", "--", "ls"], "container other is not valid for pod"),
        (&["exec", "nobody", "--", "ls"], "pods \"nobody\" not found"),
    ] {
        let (code, _, err) = served.run(args, b"").await;
        assert!(code != 0 && err.contains(complaint), "{args:?}: {code} {err}");
    }
    let spec = json!({"restartPolicy": "Never", "containers": [
        {"name": "main", "sh": "exec sleep 1000"}, {"name": "done", "sh": "true"}]});
    served.cluster.create("half", spec).await;
    let ended = |pod: &Pod| {
        let state = crate::cluster::container(pod, "done")["state"]["terminated"].clone();
        !state.is_null()
    };
    served.cluster.until("half", ended).await;
    let (code, _, err) = served.run(&["exec", "half", "-c", "done", "--", "ls"], b"").await;
    assert!(code != 0 && err.contains("container not found (\"done\")"), "{code} {err}");
}

/// What older clients do first, and newer ones when they are told to.
async fn commands_by_spdy() {
    let served = Served::new().await;
    served.sleeper().await;
    let script = "wc -c; echo oops >&2; exit 4";
    let mut command = served.kubectl(&["exec", "-i", "sleeper", "--", "sh", "-c", script]);
    command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
    let much = vec![b'x'; 1_000_000];
    let (code, out, err) = finish(command, &much).await;
    assert_eq!((code, out.trim()), (4, "1000000"), "{err}");
    assert!(err.starts_with("oops\n"), "{err}");
}

/// `script` gives kubectl a terminal of its own.
async fn commands_on_a_terminal() {
    let served = Served::new().await;
    served.sleeper().await;
    let inner = "test -t 0 && test -t 1 && echo is-a-$TERM; stty size; read x; echo got-$x; exit 5";
    let line = format!("stty rows 33 cols 99; kubectl exec -it sleeper -- sh -c '{inner}'");
    let mut command = Command::new("script");
    command
        .args(["-qefc", &line, "/dev/null"])
        .env("HOME", served.cluster.dir.path())
        .env("KUBECONFIG", served.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("script runs");
    let mut keys = child.stdin.take().expect("a pipe");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut text = String::new();
    let talking = async {
        while !text.contains("33 99") {
            assert!(out.read_line(&mut text).await.expect("read") > 0, "{text}");
        }
        keys.write_all(b"wind\r").await.expect("typed");
        out.read_to_string(&mut text).await.expect("read");
        child.wait().await.expect("ended")
    };
    let status = tokio::time::timeout(PATIENCE, talking).await.expect("it ends");
    assert_eq!(status.code(), Some(5), "{text}");
    assert!(text.contains("is-a-xterm") && text.contains("got-wind"), "{text}");
}

async fn commands_by_kube() {
    let served = Served::new().await;
    served.sleeper().await;
    let pods = served.client().await;
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut running =
        pods.exec("sleeper", ["sh", "-c", "cat; exit 6"], &params).await.expect("run");
    let mut stdin = running.stdin().expect("asked for");
    stdin.write_all(b"ahoy").await.expect("sent");
    stdin.shutdown().await.expect("ended");
    drop(stdin);
    let status = running.take_status().expect("asked for");
    let mut text = String::new();
    running.stdout().expect("asked for").read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "ahoy");
    let status = status.await.expect("told");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.and_then(|details| details.causes).expect("causes");
    assert_eq!(causes[0].message.as_deref(), Some("6"));
}

async fn commands_end_with_their_client() {
    let served = Served::new().await;
    served.sleeper().await;
    let script = "echo begun; exec sleep 4321";
    let mut child = served
        .kubectl(&["exec", "sleeper", "--", "sh", "-c", script])
        .spawn()
        .expect("kubectl runs");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).await.expect("read");
    assert_eq!(line, "begun\n");
    child.kill().await.expect("killed");
    let waiting = "while pgrep -f 'sleep 432[1]'; do sleep 0.02; done";
    let (code, _, err) = served.run(&["exec", "sleeper", "--", "sh", "-c", waiting], b"").await;
    assert_eq!(code, 0, "{err}");
}

async fn files_are_copied_both_ways() {
    let served = Served::new().await;
    served.sleeper().await;
    let dir = served.cluster.dir.path();
    let (there, back) = (dir.join("there"), dir.join("back"));
    std::fs::write(&there, "cargo".repeat(50_000)).expect("written");
    let there = there.to_str().expect("a path");
    let (code, _, err) = served.run(&["cp", there, "sleeper:/tmp/cargo"], b"").await;
    assert_eq!(code, 0, "{err}");
    let back = back.to_str().expect("a path");
    let (code, _, err) = served.run(&["cp", "sleeper:/tmp/cargo", back], b"").await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(std::fs::read(there).expect("read"), std::fs::read(back).expect("read"));
}

async fn attachment() {
    let served = Served::new().await;
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "main", "stdin": true,
        "stdinOnce": true, "sh": "while read x; do echo heard $x; done; echo over >&2"}]});
    served.cluster.create("listener", spec).await;
    served.cluster.ready("listener").await;
    let (code, out, err) = served.run(&["attach", "-i", "listener"], b"one\ntwo\n").await;
    assert_eq!((code, out.as_str()), (0, "heard one\nheard two\n"), "{err}");
    assert!(err.contains("over\n"), "{err}");
    served.cluster.phase("listener", "Succeeded").await;
    served.sleeper().await;
    let (code, _, err) = served.run(&["attach", "-i", "sleeper"], b"").await;
    assert!(code != 0 && err.contains("stdin"), "{code} {err}");
}

/// A running `kubectl port-forward`, and the port that it listens on.
async fn forward(served: &Served, target: &str, env: &[(&str, &str)]) -> (Child, u16) {
    let mut command = served.kubectl(&["port-forward", target, ":8080", ":81"]);
    let mut child = command.envs(env.iter().copied()).spawn().expect("kubectl runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut text = String::new();
    let listening = async {
        while !text.contains("-> 8080") {
            let count = out.read_line(&mut text).await.expect("read");
            if count == 0 {
                let mut err = String::new();
                let mut source = child.stderr.take().expect("a pipe");
                source.read_to_string(&mut err).await.expect("read");
                panic!("{text}{err}");
            }
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("it listens");
    let port = text.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    // It writes a line for each connection.
    child.stdout = Some(out.into_inner());
    (child, port)
}

async fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading).await.expect("an end").expect("read");
    answer
}

async fn ports_by_kubectl() {
    let served = Served::new().await;
    served.server().await;
    for env in [&[][..], &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")]] {
        let (mut child, port) = forward(&served, "pod/web", env).await;
        for answer in futures::future::join_all((0..8).map(|_| get(port))).await {
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
        }
        child.kill().await.expect("killed");
    }
    // A port that nobody listens on.
    let mut command = served.kubectl(&["port-forward", "pod/web", ":81"]);
    let mut child = command.spawn().expect("kubectl runs");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).await.expect("read");
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    assert_eq!(get(port).await, "");
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let err = output.expect("kubectl gives up").expect("output").stderr;
    let err = String::from_utf8_lossy(&err);
    assert!(err.contains("error forwarding port 81 to pod web, uid "), "{err}");
    assert!(err.contains("refused") && err.contains("lost connection to pod"), "{err}");
}

async fn ports_by_kube() {
    let served = Served::new().await;
    served.server().await;
    let pods = served.client().await;
    let mut forwarder = pods.portforward("web", &[8080, 81]).await.expect("forwarded");
    let mut stream = forwarder.take_stream(8080).expect("asked for");
    let refused = forwarder.take_error(81).expect("asked for");
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("told").expect("an error");
    assert!(refused.contains("error forwarding port 81"), "{refused}");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading).await.expect("an end").expect("read");
    assert!(answer.ends_with("ok"), "{answer}");
    let name = pods.list(&kube::api::ListParams::default()).await.expect("listed");
    assert_eq!(name.items.len(), 1, "the server serves on");
}

/// Reading `pods/exec` is not enough to run a command.
async fn streams_need_a_role() {
    let served = Served::new().await;
    served.sleeper().await;
    let rule = |verbs: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: \
             runner}}\nrules:\n- {{apiGroups: [\"\"], resources: [pods, pods/exec], verbs: \
             [{verbs}]}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: \
             ClusterRoleBinding\nmetadata: {{name: runner}}\nroleRef: {{apiGroup: \
             rbac.authorization.k8s.io, kind: ClusterRole, name: runner}}\nsubjects: [{{apiGroup: \
             rbac.authorization.k8s.io, kind: User, name: jane}}]\n"
        )
    };
    let exec = ["--as", "jane", "exec", "sleeper", "--", "echo", "in"];
    for (verbs, allowed) in [("get", false), ("get, create", true)] {
        let (code, _, err) = served.run(&["apply", "-f", "-"], rule(verbs).as_bytes()).await;
        assert_eq!(code, 0, "{err}");
        let (code, out, err) = served.run(&exec, b"").await;
        if allowed {
            assert_eq!((code, out.as_str()), (0, "in\n"), "{err}");
        } else {
            let words = "User \"jane\" cannot create resource \"pods/exec\"";
            assert!(code != 0 && err.contains(words), "{code} {err}");
        }
    }
}
