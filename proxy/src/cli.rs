//! The command line: which role, and the flags Istio's injection template passes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// The data plane: sidecar and gateway.
///
/// Settings come from the environment that injection gives the container; `--config` replaces
/// them by one document.
#[derive(Debug, Parser)]
#[command(name = "proxy", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  proxy sidecar --domain default.svc.cluster.local
  proxy gateway --concurrency 2
  proxy sidecar --config bootstrap.json
  proxy drain
  proxy request GET stats?filter=upstream_rq";

/// A role of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs beside one application and carries its traffic.
    Sidecar(RunArgs),
    /// Runs alone at the edge of the mesh.
    #[command(visible_alias = "router")]
    Gateway(RunArgs),
    /// Tells the proxy of this pod to drain: what a preStop hook calls.
    Drain(DrainArgs),
    /// Sends the traffic of this pod to its proxy: what the init container does.
    Init(Box<crate::init::Args>),
    /// Waits until the proxy of this pod is ready: what a postStart hook calls.
    Wait(crate::wait::Args),
    /// Asks the admin interface of the proxy of this pod: `request GET stats`.
    Request(crate::request::Args),
}

/// Flags of a running proxy.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The DNS domain of the proxy: `<namespace>.svc.<cluster domain>` when not given.
    #[arg(long)]
    pub domain: Option<String>,
    /// Level of the data path's log: trace, debug, info, warning, error, critical or off.
    #[arg(long = "proxyLogLevel", default_value = "")]
    pub proxy_log_level: String,
    /// Levels of parts of the data path: `<component>:<level>`, with commas.
    #[arg(long = "proxyComponentLogLevel", default_value = "")]
    pub component_log_level: String,
    /// Level of everything else: `<scope>:<level>`, with commas; the scope `default` is all.
    #[arg(long = "log_output_level", default_value = "")]
    pub log_output_level: String,
    /// Writes the log as JSON.
    #[arg(long = "log_as_json")]
    pub log_as_json: bool,
    /// Number of workers; 0 for one per CPU.
    #[arg(long)]
    pub concurrency: Option<u32>,
    /// A bootstrap document instead of the environment.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// Flags of `proxy drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Port of the agent's interface on this host.
    #[arg(long, default_value_t = 15020)]
    pub port: u16,
}

impl RunArgs {
    /// What these flags say, as variables of the process frame.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        if self.log_as_json {
            variables.insert("LOG_FORMAT".to_owned(), "json".to_owned());
        }
        if let Some(filter) = self.log_filter() {
            variables.insert("LOG_LEVEL".to_owned(), filter);
        }
        variables
    }

    /// The log flags as one filter; `None` when none is given.
    fn log_filter(&self) -> Option<String> {
        let scopes: Vec<(&str, &str)> = pairs(&self.log_output_level).collect();
        let base = scopes.iter().find(|(scope, _)| matches!(*scope, "default" | "all" | ""));
        let base = base.and_then(|(_, text)| level(text)).unwrap_or("info");
        let mut directives = vec![base.to_owned()];
        if let Some(level) = level(&self.proxy_log_level) {
            directives.extend(DATA_PATH.iter().map(|part| format!("{part}={level}")));
        }
        for (component, text) in pairs(&self.component_log_level).chain(scopes.iter().copied()) {
            let part = COMPONENTS.iter().find(|(name, _)| *name == component);
            if let (Some((_, part)), Some(level)) = (part, level(text)) {
                directives.push(format!("{part}={level}"));
            }
        }
        let is_default = directives.len() == 1 && scopes.is_empty();
        (!is_default).then(|| directives.join(","))
    }
}

/// How long `proxy drain` waits for the running proxy.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 * 1024;

/// Asks the proxy whose agent interface is on `port` of this host to drain; gives its answer.
///
/// # Errors
/// When nobody listens there, or the answer is not 200.
pub fn drain(port: u16) -> io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, DRAIN_PATIENCE)?;
    stream.set_read_timeout(Some(DRAIN_PATIENCE))?;
    stream.set_write_timeout(Some(DRAIN_PATIENCE))?;
    write!(
        stream,
        "POST /drain HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    Err(io::Error::other(format!("{address} answered {status:?}: {body}")))
}

const DATA_PATH: [&str; 5] =
    ["proxy::listener", "proxy::l4", "proxy::http", "proxy::upstream", "proxy::tls"];

/// Envoy's loggers and Istio's scopes that have a counterpart here; others have no effect.
const COMPONENTS: [(&str, &str); 12] = [
    ("connection", "proxy::listener"),
    ("conn_handler", "proxy::listener"),
    ("config", "proxy::xds"),
    ("dns", "proxy::dns"),
    ("filter", "proxy::l4"),
    ("http", "proxy::http"),
    ("http2", "proxy::http"),
    ("pool", "proxy::upstream"),
    ("router", "proxy::http::router"),
    ("upstream", "proxy::upstream"),
    ("xdsproxy", "proxy::xds"),
    ("sds", "mesh_rt::identity"),
];

/// Splits `<name>:<level>,…`; a bare level has an empty name.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.split_once(':').unwrap_or(("", item)))
}

fn level(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warn" | "warning" => "warn",
        "error" | "critical" | "fatal" => "error",
        "off" | "none" => "off",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(flags: &[&str]) -> RunArgs {
        let all = ["proxy", "sidecar"].iter().chain(flags);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Sidecar(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_flags_of_the_template_are_taken() {
        let args = run(&[
            "--domain",
            "default.svc.cluster.local",
            "--proxyLogLevel=warning",
            "--proxyComponentLogLevel=misc:error,http:debug",
            "--log_output_level=default:info",
        ]);
        assert_eq!(args.domain.as_deref(), Some("default.svc.cluster.local"));
        let filter = args.variables()["LOG_LEVEL"].clone();
        assert!(filter.starts_with("info,proxy::listener=warn,"), "{filter}");
        assert!(filter.ends_with("proxy::http=debug"), "{filter}");
        assert!(!filter.contains("misc"), "{filter}");
    }

    #[test]
    fn without_flags_the_environment_counts() {
        assert!(run(&[]).variables().is_empty());
        assert_eq!(run(&["--log_output_level=debug"]).variables()["LOG_LEVEL"], "debug");
        assert_eq!(run(&["--log_as_json"]).variables()["LOG_FORMAT"], "json");
    }

    #[test]
    fn router_is_a_gateway() {
        let cli = Cli::try_parse_from(["proxy", "router"]).unwrap();
        assert!(matches!(cli.command, Command::Gateway(_)));
        assert!(Cli::try_parse_from(["proxy", "ambassador"]).is_err());
    }
}
