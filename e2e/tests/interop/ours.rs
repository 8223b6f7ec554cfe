//! Our proxy as a sidecar or gateway, from its program, with an authority beside it.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mesh_test::ca_server::CaServer;
use mesh_test::eventually;
use mesh_test::netns::Netns;
use mesh_test::settings::bin_dir;
use serde_json::json;

use crate::control::{self, Control};
use crate::envoy::{PROXY_ID, Program, Who, admin, open};

const STATUS: u16 = 15021;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a pod's traffic to its sidecar, as the injected init container does.
pub(crate) fn capture(net: &Netns) {
    let output = net.run(|| {
        let mut command = Command::new(bin_dir().join("proxy"));
        command.args(["init", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"]);
        command.args(["-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020,15012"]);
        command.output().unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A running proxy of ours.
pub(crate) struct Ours<'a> {
    net: &'a Netns,
    child: Child,
    dir: tempfile::TempDir,
    _authority: CaServer,
}

impl<'a> Ours<'a> {
    /// Starts a proxy in that network; pilot is at `pilot`.
    pub(crate) fn start(net: &'a Netns, control: &Control, pilot: &str, who: &Who) -> Self {
        Self::of(net, control, pilot, who, (2, true))
    }

    /// Starts a proxy with one worker that asks for all configuration at once, as Envoy does.
    pub(crate) fn plain(net: &'a Netns, control: &Control, pilot: &str, who: &Who) -> Self {
        Self::of(net, control, pilot, who, (1, false))
    }

    fn of(
        net: &'a Netns,
        control: &Control,
        pilot: &str,
        who: &Who,
        (workers, on_demand): (u32, bool),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = control.files(who.namespace, who.account);
        let spiffe = format!("spiffe://cluster.local/ns/{}/sa/{}", who.namespace, who.account);
        let ca = control.authority();
        let authority = net.run(|| CaServer::generous(Arc::clone(&ca), "localhost", &spiffe));
        let root = files.join("root.pem");
        let document = json!({
            "node": {
                "id": who.id,
                "cluster": "interop",
                "metadata": {
                    "NAMESPACE": who.namespace,
                    "SERVICE_ACCOUNT": who.account,
                    "LABELS": who.labels,
                },
            },
            "discovery": {
                "address": format!("{pilot}:{}", control::PORT),
                "rootCert": root,
                "san": [control::NAME],
                "onDemand": on_demand,
            },
            "identity": {
                "serviceAccount": who.account,
                "source": { "ca": {
                    "address": format!("localhost:{}", authority.address().port()),
                    "rootCert": root,
                } },
            },
        });
        let config = dir.path().join("bootstrap.json");
        std::fs::write(&config, document.to_string()).unwrap();
        let output = std::fs::File::create(dir.path().join("log")).unwrap();
        open(dir.path());
        open(&files);
        std::os::unix::fs::chown(dir.path(), Some(PROXY_ID), Some(PROXY_ID)).unwrap();
        let role = if who.id.starts_with("router") { "gateway" } else { "sidecar" };
        let program = Program::open(&bin_dir().join("proxy"));
        let mut command = program.command();
        command
            .args([role, "--concurrency", &workers.to_string(), "--config"])
            .arg(&config)
            .env("ISTIO_DATA_DIR", dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = net.run(|| command.spawn()).unwrap();
        let mut ours = Self { net, child, dir, _authority: authority };
        ours.wait();
        ours
    }

    fn wait(&mut self) {
        eventually("our proxy is ready", PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", self.log());
            let ready = self.net.run(|| mesh_test::http::get(STATUS, "/healthz/ready"));
            match ready {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}\n{}", answer.status, answer.body, self.log())),
                Err(error) => Err(format!("{error}\n{}", self.log())),
            }
        });
    }

    /// A page of its admin interface.
    ///
    /// # Errors
    /// When it does not answer, or not with 200.
    pub(crate) fn admin(&self, path: &str) -> Result<String, String> {
        admin(self.net, path)
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            use std::io::Write;
            let _told = writeln!(std::io::stderr(), "our proxy wrote:\n{}", self.log());
        }
    }
}
