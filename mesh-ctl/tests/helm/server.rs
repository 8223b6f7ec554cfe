//! The real Helm, as a server that takes commands as lines of JSON.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// An answer takes milliseconds; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running Helm.
pub(crate) struct Helm {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    last: u64,
    home: tempfile::TempDir,
}

impl Helm {
    /// Starts it, with an empty home of its own.
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(mesh_test::settings::helm())
            .args(["-mode", "stdio", "-max-response-bytes", "0"])
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut helm = Self { _child: child, input, output, last: 0, home };
        let client = json!({"name": "meshctl", "version": "1"});
        helm.ask(
            "initialize",
            json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client}),
        )
        .await;
        helm.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        helm
    }

    /// `helm template`: the text, or what Helm says against it.
    pub(crate) async fn template(
        &mut self,
        chart: &Path,
        (release, namespace): (&str, &str),
        values: &Value,
    ) -> Result<String, String> {
        // As a file, which Helm reads as it reads a user's.
        let file = self.home.path().join("values.yaml");
        std::fs::write(&file, values.to_string()).unwrap();
        self.call(
            "helm_template",
            json!({
                "release_name": release,
                "namespace": namespace,
                "chart": chart,
                "values_files": [file],
                "kube_version": "v1.33.0",
            }),
        )
        .await
    }

    /// `helm lint --strict`: what it says, and whether it is content.
    pub(crate) async fn lint(&mut self, chart: &Path) -> Result<String, String> {
        self.call("helm_lint", json!({"paths": [chart], "strict": true})).await
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Result<String, String> {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        let text = answer["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        if answer["isError"] == json!(true) { Err(text) } else { Ok(text) }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        let answer = async {
            loop {
                let line = self.output.next_line().await.unwrap().expect("Helm goes on");
                let mut message: Value = serde_json::from_str(&line).unwrap();
                // What it says unasked has no id.
                if message["id"] == json!(id) {
                    assert!(message.get("error").is_none(), "{method}: {message}");
                    return message["result"].take();
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("Helm answers")
    }

    async fn send(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
    }
}
