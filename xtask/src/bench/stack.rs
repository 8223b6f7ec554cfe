//! The proxies of one case, ours or Envoy's: started, configured, ready, measured together.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::ads::Server;
use super::process::{Cpu, Running, on};
use super::resources::{self, Role};
use super::usage::{self, Usage};
use super::{Case, WARM_UP};
use crate::run::Error;

/// Whose proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Ours.
    Lateen,
    /// Envoy's.
    Envoy,
}

impl Made {
    /// The name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lateen => "lateen",
            Self::Envoy => "envoy",
        }
    }
}

/// Running proxies, the one behind the other.
pub struct Stack {
    /// Whose.
    pub made: Made,
    /// Where the first one listens.
    pub port: u16,
    processes: Vec<Running>,
    files: Files,
}

/// Where configuration and logs of the proxies are.
struct Files(TempDir);

impl Files {
    /// An error with what the proxies said last.
    fn explain(&self, why: &str) -> Error {
        let mut text = why.to_owned();
        for role in [Role::Plain, Role::Client, Role::Server] {
            let said = std::fs::read_to_string(log_path(self.0.path(), role)).unwrap_or_default();
            let last: Vec<_> = said.lines().rev().take(10).collect();
            for line in last.into_iter().rev() {
                text.push_str(&format!("\n{}: {line}", role.name()));
            }
        }
        Error::new(text)
    }
}

fn log_path(files: &Path, role: Role) -> PathBuf {
    files.join(format!("{}.log", role.name()))
}

fn log(files: &Path, role: Role) -> Result<File, Error> {
    let path = log_path(files, role);
    File::create(&path).map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

/// How long a proxy may take to serve.
const START: Duration = Duration::from_secs(60);

impl Stack {
    /// Starts the proxies of a case before a server.
    pub fn start(
        made: Made,
        case: Case,
        program: &Path,
        ads: &Server,
        server: u16,
    ) -> Result<Self, Error> {
        let files = tempfile::tempdir().map_err(|error| Error::new(error.to_string()))?;
        // From the server towards the client: each one forwards to the one before.
        let roles: &[Role] = match case {
            Case::Plain => &[Role::Plain],
            Case::Mtls => &[Role::Server, Role::Client],
        };
        let mut port = server;
        let mut processes = Vec::new();
        for role in roles {
            let listen = free_port()?;
            let id = format!(
                "sidecar~127.0.0.1~{}-{}.bench~bench.svc.cluster.local",
                made.name(),
                role.name()
            );
            ads.publish(&id, resources::of(made, *role, listen, port)?);
            let mut command = match made {
                Made::Lateen => lateen(program, &id, ads.port, files.path(), *role)?,
                Made::Envoy => envoy(program, &id, ads.port, files.path(), *role)?,
            };
            command.stdout(Stdio::null()).stderr(log(files.path(), *role)?);
            processes.push(Running::start(&format!("{} ({})", made.name(), id), &mut command)?);
            port = listen;
        }
        Ok(Self { made, port, processes, files: Files(files) })
    }

    /// Waits until a request comes through.
    pub fn wait_ready(&mut self, ads: &Server) -> Result<(), Error> {
        let until = Instant::now() + START;
        loop {
            ads.accepted()?;
            for process in &mut self.processes {
                process.alive().map_err(|error| self.files.explain(&error.to_string()))?;
            }
            let said = match ask(self.port) {
                Ok(said) if said.starts_with("HTTP/1.1 200 ") => return Ok(()),
                Ok(said) => said,
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                let name = self.made.name();
                let failed = format!("{name} does not serve in {START:?}: {said}");
                return Err(self.files.explain(&failed));
            }
            std::thread::sleep(WARM_UP / 20);
        }
    }

    /// What its processes have used so far.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.processes.iter().try_fold(Usage::default(), |sum, process| {
            let own = usage::of(process.id())?;
            Ok(sum + own)
        })
    }
}

/// The first bytes of the answer to one request.
fn ask(port: u16) -> std::io::Result<String> {
    let patience = Duration::from_secs(5);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: server.bench\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 512];
    let length = stream.read(&mut head)?;
    Ok(String::from_utf8_lossy(&head[..length]).into_owned())
}

fn lateen(program: &Path, id: &str, ads: u16, files: &Path, role: Role) -> Result<Command, Error> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
    let bootstrap = json!({
        "node": { "id": id, "cluster": role.name() },
        "admin": { "address": local(free_port()?) },
        "discovery": { "address": local(ads), "plaintext": true, "onDemand": false },
        "status": {
            "port": free_port()?,
            "readinessPort": free_port()?,
            "prometheusPort": free_port()?,
        },
    });
    let path = files.join(format!("{}.json", role.name()));
    write(&path, &bootstrap)?;
    let data = files.join(role.name());
    let mut command = on(Cpu::Measured, program);
    command.args(["sidecar", "--concurrency", "1"]);
    // As injection starts it.
    command.args(["--proxyLogLevel=warning", "--log_output_level=default:info"]);
    command.arg("--config").arg(path).env("ISTIO_DATA_DIR", data);
    Ok(command)
}

fn envoy(program: &Path, id: &str, ads: u16, files: &Path, role: Role) -> Result<Command, Error> {
    let source = json!({ "ads": {}, "resource_api_version": "V3" });
    let bootstrap = json!({
        "node": { "id": id, "cluster": role.name() },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
            "lds_config": source,
            "cds_config": source,
        },
        "static_resources": { "clusters": [{
            "name": "xds-grpc",
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type":
                        "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
            "load_assignment": { "cluster_name": "xds-grpc", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": { "socket_address": {
                    "address": "127.0.0.1",
                    "port_value": ads,
                } } },
            }] }] },
        }] },
    });
    let path = files.join(format!("{}.json", role.name()));
    write(&path, &bootstrap)?;
    let mut command = on(Cpu::Measured, program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    command.arg("--config-path").arg(path);
    Ok(command)
}

fn write(path: &Path, document: &serde_json::Value) -> Result<(), Error> {
    std::fs::write(path, document.to_string())
        .map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Error> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bound| bound.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| Error::new(format!("no free port: {error}")))
}
