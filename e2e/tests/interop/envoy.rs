//! A real Envoy as a sidecar or gateway, with the bootstrap that Istio's agent would write.

use std::fmt::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mesh_test::eventually;
use mesh_test::netns::Netns;
use serde_json::{Value, json};

use crate::control::{self, Control};

/// The sidecar's user, whose traffic is not captured.
pub(crate) const PROXY_ID: u32 = 1337;
const ADMIN: u16 = 15000;
const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol's two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Delta,
    StateOfTheWorld,
}

/// A running Envoy.
pub(crate) struct Envoy<'a> {
    net: &'a Netns,
    child: Child,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

/// Who an Envoy is.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// The node's id.
    pub(crate) id: String,
    pub(crate) namespace: &'static str,
    pub(crate) account: &'static str,
    pub(crate) labels: Value,
}

impl<'a> Envoy<'a> {
    /// Starts an Envoy in that network; pilot is at `pilot`.
    pub(crate) fn start(
        net: &'a Netns,
        control: &Control,
        pilot: &str,
        who: &Who,
        form: Form,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = control.files(who.namespace, who.account);
        let socket = dir.path().join("sds");
        control.serve_secrets(&files, &socket);
        let config = dir.path().join("envoy.json");
        std::fs::write(&config, bootstrap(pilot, who, form, &files, &socket).to_string()).unwrap();
        let log = dir.path().join("envoy.log");
        let output = std::fs::File::create(&log).unwrap();
        open(dir.path());
        open(&files);
        let program = Program::open(&mesh_test::settings::envoy());
        let mut command = program.command();
        command
            .args(["--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"])
            .args(["--file-flush-interval-msec", "50"])
            .arg("--config-path")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = net.run(|| command.spawn()).unwrap();
        let mut envoy = Self { net, child, log, _dir: dir };
        envoy.wait();
        envoy
    }

    fn wait(&mut self) {
        eventually("Envoy is ready", PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "Envoy ended: {}", self.log());
            match self.admin("/ready") {
                Ok(body) if body.starts_with("LIVE") => Ok(()),
                Ok(body) => Err(format!("{body}\n{}", self.log())),
                Err(error) => Err(format!("{error}\n{}", self.log())),
            }
        });
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A page of its admin interface.
    ///
    /// # Errors
    /// When it does not answer, or not with 200.
    pub(crate) fn admin(&self, path: &str) -> Result<String, String> {
        admin(self.net, path)
    }

    /// Everything it refused, by its own account; empty when nothing.
    pub(crate) fn refused(&self) -> String {
        let mut all = String::new();
        for line in self.admin("/stats?filter=rejected|update_failure").unwrap().lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.ends_with("update_rejected") && value != "0" {
                let _written = writeln!(all, "{line}");
            }
        }
        let dump: Value = serde_json::from_str(&self.admin("/config_dump").unwrap()).unwrap();
        let mut errors = Vec::new();
        collect(&dump, "error_state", &mut errors);
        for error in errors {
            let _written = writeln!(all, "{error}");
        }
        all
    }

    /// Names of the listeners or clusters that it got and uses.
    pub(crate) fn active(&self, section: &str) -> Vec<String> {
        let dump: Value = serde_json::from_str(&self.admin("/config_dump").unwrap()).unwrap();
        let mut sections = Vec::new();
        collect(&dump, section, &mut sections);
        let mut names = Vec::new();
        for entry in sections.iter().filter_map(|section| section.as_array()).flatten() {
            let resource = match section {
                "dynamic_listeners" => &entry["active_state"]["listener"],
                "dynamic_route_configs" => &entry["route_config"],
                _ => &entry["cluster"],
            };
            names.extend(resource["name"].as_str().map(str::to_owned));
        }
        names.sort();
        names
    }
}

impl Drop for Envoy<'_> {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            use std::io::Write;
            let _told = writeln!(std::io::stderr(), "Envoy wrote:\n{}", self.log());
        }
    }
}

/// A page of the admin interface of the proxy in that network.
///
/// # Errors
/// When it does not answer, or not with 200.
pub(crate) fn admin(net: &Netns, path: &str) -> Result<String, String> {
    let answer = net.run(|| mesh_test::http::get(ADMIN, path))?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(format!("{path}: {status} {}", answer.body)),
    }
}

/// A program that the proxy's user runs, wherever it is: directories above it may be closed to
/// that user.
pub(crate) struct Program {
    file: std::fs::File,
    path: PathBuf,
}

impl Program {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Self {
        let file = std::fs::File::open(path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { file, path: path.to_owned() }
    }

    /// A command that runs it as the proxy's user; this must be held until it was started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.path).uid(PROXY_ID).gid(PROXY_ID);
        command
    }
}

/// Every value under that key.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                collect(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

/// Lets the proxy's user read a directory of the test.
pub(crate) fn open(dir: &Path) {
    let mut all = vec![dir.to_path_buf()];
    all.extend(dir.parent().map(Path::to_path_buf));
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::chown(&path, Some(PROXY_ID), Some(PROXY_ID)).unwrap();
    }
    for path in all.iter().filter(|path| path.starts_with(std::env::temp_dir())) {
        if *path != std::env::temp_dir() {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

fn bootstrap(pilot: &str, who: &Who, form: Form, files: &Path, socket: &Path) -> Value {
    let file = |name: &str| json!({ "filename": files.join(name) });
    let san = json!({ "san_type": "DNS", "matcher": { "exact": control::NAME } });
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": control::NAME,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificates": [{
                    "certificate_chain": file("cert.pem"), "private_key": file("key.pem"),
                }],
                "validation_context": {
                    "trusted_ca": file("root.pem"), "match_typed_subject_alt_names": [san],
                },
            },
        },
    });
    let cluster = |name: &str, address: Value| {
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
            },
        })
    };
    let address = json!({ "socket_address": { "address": pilot, "port_value": control::PORT } });
    let mut discovery = cluster("xds-grpc", address);
    discovery["transport_socket"] = tls;
    let secrets = cluster("sds-grpc", json!({ "pipe": { "path": socket } }));
    let ads = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    json!({
        "node": {
            "id": who.id,
            "cluster": "interop",
            "metadata": {
                "NAMESPACE": who.namespace,
                "SERVICE_ACCOUNT": who.account,
                "LABELS": who.labels,
                "DNS_CAPTURE": "true",
            },
        },
        "admin": { "address": {
            "socket_address": { "address": "127.0.0.1", "port_value": ADMIN },
        } },
        "dynamic_resources": {
            "ads_config": {
                "api_type": if form == Form::Delta { "DELTA_GRPC" } else { "GRPC" },
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": { "clusters": [discovery, secrets] },
        "overload_manager": { "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors\
                          .downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": 1000,
            },
        }] },
    })
}
