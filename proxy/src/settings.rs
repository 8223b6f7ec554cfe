//! From the environment of the injected container, or one document, to validated settings.
//!
//! The only reader of the environment in this crate. Every problem is reported, by the name of
//! its variable, at once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_api::bootstrap::{self, Bootstrap, BootstrapNode, Discovery, Identity, IdentitySource};
use mesh_api::mesh_config::{self, ProxyConfig};
use mesh_api::node::{NodeId, NodeType};
use mesh_api::node_metadata::{META_JSON_PREFIX, META_PREFIX, NodeMetadata};
use mesh_rt::settings::Settings;
use serde_json::{Map, Value};

use crate::cli::RunArgs;

mod podinfo;

const ROOT_CERT: &str = "/var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const PODINFO: &str = "/etc/istio/pod";
/// `ISTIO_META_ON_DEMAND_CONFIG=false` asks for all configuration at once.
const ON_DEMAND: &str = "ON_DEMAND_CONFIG";
const MAX_DOCUMENT: u64 = 1024 * 1024;
const DEFAULT_DOMAIN: &str = "svc.cluster.local";

/// What a running proxy is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySettings {
    /// Who it is and where everything is.
    pub bootstrap: Bootstrap,
    /// Worker threads.
    pub workers: usize,
    /// Directory of what survives a restart; last good configuration is kept here.
    pub data_dir: PathBuf,
    /// Servers DNS questions about other names go to.
    pub resolv_conf: PathBuf,
}

/// Reads settings of a proxy of type `role`.
///
/// Bad values are rejected in `settings`; the result then only fills the gap until
/// [`Settings::finish`] fails.
pub fn read(settings: &Settings<'_>, role: NodeType, args: &RunArgs) -> ProxySettings {
    let bootstrap = match &args.config {
        Some(path) => document(settings, path),
        None => from_environment(settings, role, args),
    };
    let limit = settings.optional_int("ISTIO_CPU_LIMIT", 1..=4096_usize);
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match args.concurrency.or(bootstrap.concurrency) {
        Some(0) => cpus(),
        Some(workers) => workers as usize,
        None => limit.map_or_else(cpus, |limit| limit.min(cpus())),
    };
    if workers > 1024 {
        settings.reject("--concurrency", Some(workers.to_string()), "at most 1024 workers");
    }
    ProxySettings {
        bootstrap,
        workers: workers.clamp(1, 1024),
        data_dir: settings.path("ISTIO_DATA_DIR", "/var/lib/istio/data"),
        resolv_conf: settings.path("RESOLV_CONF", "/etc/resolv.conf"),
    }
}

fn document(settings: &Settings<'_>, path: &Path) -> Bootstrap {
    let read = read_file(path).map_err(|e| e.to_string());
    let parsed = read.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string()));
    parsed.unwrap_or_else(|reason: String| {
        let accepted = format!("a readable bootstrap document: {reason}");
        settings.reject("--config", Some(path.display().to_string()), &accepted);
        empty(NodeType::Sidecar)
    })
}

/// A file of at most 1 MiB, read before any runtime exists.
fn read_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_DOCUMENT).read_to_string(&mut text)?;
    Ok(text)
}

fn from_environment(settings: &Settings<'_>, role: NodeType, args: &RunArgs) -> Bootstrap {
    let (config, document) = proxy_config(settings);
    let metadata = metadata(settings, &config, document);
    let Some(id) = node_id(settings, role, args) else { return empty(role) };
    let app = metadata.labels.get("app").or(metadata.workload_name.as_ref());
    let cluster = format!("{}.{}", app.map_or("istio-proxy", String::as_str), id.namespace);
    let concurrency = config.concurrency;
    let dns_capture = metadata.dns_capture.unwrap_or(false);
    let discovery = discovery(settings, &config, &metadata);
    let identity = identity(settings, &discovery, &metadata);
    let mut document = empty(role);
    document.node = BootstrapNode { id, cluster, locality: None, metadata };
    document.admin.address.set_port(config.proxy_admin_port);
    document.discovery = Some(discovery);
    document.identity = Some(identity);
    document.concurrency = concurrency;
    document.drain = drain(settings, &config, &document.node.metadata);
    document.status = status(settings, &config, &document.node.metadata);
    document.stats.inclusion = config.proxy_stats_matcher.clone();
    document.stats.extra_tags.clone_from(&config.extra_stat_tags);
    document.tracing = config.tracing.clone();
    document.dns.capture = dns_capture;
    document.dns.forward_parallel = settings.bool("DNS_FORWARD_PARALLEL", false);
    if let Some(address) = settings.address("DNS_PROXY_ADDR", Some(document.dns.address)) {
        document.dns.address = address;
    }
    document.capture.mode =
        document.node.metadata.interception_mode.unwrap_or(config.interception_mode);
    document
}

fn proxy_config(settings: &Settings<'_>) -> (ProxyConfig, Option<Map<String, Value>>) {
    let Some(text) = settings.optional("PROXY_CONFIG") else { return Default::default() };
    let document = serde_json::from_str::<Map<String, Value>>(&text);
    let parsed = document.map_err(|e| e.to_string()).and_then(|document| {
        let effective = mesh_config::effective([Value::Object(document.clone())]);
        effective.map(|config| (config, Some(document))).map_err(|e| e.to_string())
    });
    parsed.unwrap_or_else(|reason| {
        settings.reject("PROXY_CONFIG", Some(text), &format!("a ProxyConfig in JSON: {reason}"));
        Default::default()
    })
}

fn metadata(
    settings: &Settings<'_>,
    config: &ProxyConfig,
    document: Option<Map<String, Value>>,
) -> NodeMetadata {
    // Injection writes proxyMetadata as variables too; these win, as a container's own do.
    let mut variables = config.proxy_metadata.clone();
    for prefix in [META_PREFIX, META_JSON_PREFIX] {
        variables.extend(settings.with_prefix(prefix));
    }
    let mut metadata = NodeMetadata::from_env(variables).unwrap_or_else(|error| {
        settings.reject("ISTIO_META_*", None, &format!("node metadata: {error}"));
        NodeMetadata::default()
    });
    let or_env = |own: Option<String>, name| own.or_else(|| settings.optional(name));
    metadata.name = or_env(metadata.name, "POD_NAME");
    metadata.namespace = or_env(metadata.namespace, "POD_NAMESPACE");
    metadata.service_account = or_env(metadata.service_account, "SERVICE_ACCOUNT");
    metadata.prov_cert = or_env(metadata.prov_cert, "PROV_CERT");
    if metadata.mesh_id.is_none() && !config.mesh_id.is_empty() {
        metadata.mesh_id = Some(config.mesh_id.clone());
    }
    metadata.istio_version.get_or_insert_with(|| mesh_rt::build_info::VERSION.to_owned());
    metadata.proxy_config = metadata.proxy_config.or(document);
    if metadata.instance_ips.is_empty() {
        for ip in settings.list("INSTANCE_IPS").iter().chain(&settings.list("INSTANCE_IP")) {
            match ip.parse() {
                Ok(ip) => metadata.instance_ips.insert(ip),
                Err(_) => settings.reject("INSTANCE_IP", Some(ip.clone()), "an IP address"),
            }
        }
    }
    let podinfo = settings.path("PODINFO_DIR", PODINFO);
    for (file, map) in
        [("labels", &mut metadata.labels), ("annotations", &mut metadata.annotations)]
    {
        // Without the volume, as on a machine outside Kubernetes, metadata is what it is.
        if let Ok(text) = read_file(&podinfo.join(file)) {
            for (key, value) in podinfo::parse(&text) {
                map.entry(key).or_insert(value);
            }
        }
    }
    metadata
}

fn node_id(settings: &Settings<'_>, role: NodeType, args: &RunArgs) -> Option<NodeId> {
    let kind = role.as_str();
    let name = settings.required("POD_NAME", "the pod's name");
    let namespace = settings.required("POD_NAMESPACE", "the pod's namespace");
    let ip = settings.required("INSTANCE_IP", "the pod's IP address");
    if name.is_empty() || namespace.is_empty() || ip.is_empty() {
        return None;
    }
    let domain = args.domain.clone().filter(|domain| !domain.is_empty());
    let domain = domain.unwrap_or_else(|| format!("{namespace}.{DEFAULT_DOMAIN}"));
    let ip: IpAddr = match ip.parse() {
        Ok(ip) => ip,
        Err(_) => {
            settings.reject("INSTANCE_IP", Some(ip), "an IP address");
            return None;
        }
    };
    let text = format!("{kind}~{ip}~{name}.{namespace}~{domain}");
    match NodeId::parse(&text) {
        Ok(id) => Some(id),
        Err(error) => {
            let accepted = format!("names that form a node id: {error}");
            settings.reject("POD_NAME", Some(name), &accepted);
            None
        }
    }
}

fn discovery(settings: &Settings<'_>, config: &ProxyConfig, metadata: &NodeMetadata) -> Discovery {
    let on_demand = match metadata.other.get(ON_DEMAND) {
        Some(value) => !matches!(value, Value::Bool(false)) && value != "false" && value != "0",
        None => true,
    };
    Discovery {
        address: host_port(settings, "PROXY_CONFIG", config.discovery_address.clone()),
        plaintext: config.control_plane_auth_policy == mesh_config::ControlPlaneAuth::None,
        root_cert: roots(settings, "XDS_ROOT_CA"),
        san: metadata.pilot_san.clone(),
        token_path: Some(settings.path("JWT_PATH", TOKEN)),
        delta: settings.bool("ISTIO_DELTA_XDS", true),
        on_demand,
    }
}

fn identity(settings: &Settings<'_>, discovery: &Discovery, metadata: &NodeMetadata) -> Identity {
    let source = match metadata.prov_cert.as_deref().map(Path::new) {
        Some(directory) => IdentitySource::Files {
            cert_chain: directory.join("cert-chain.pem"),
            key: directory.join("key.pem"),
            root_cert: directory.join("root-cert.pem"),
        },
        None => IdentitySource::Ca {
            address: match settings.optional("CA_ADDR") {
                Some(address) => host_port(settings, "CA_ADDR", address),
                None => discovery.address.clone(),
            },
            root_cert: roots(settings, "CA_ROOT_CA"),
            token_path: discovery.token_path.clone(),
        },
    };
    let ratio = settings.parsed::<f64>("SECRET_GRACE_PERIOD_RATIO", "a number from 0 to 1");
    let ratio = ratio.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&ratio) {
        let accepted = "a number from 0 to 1";
        settings.reject("SECRET_GRACE_PERIOD_RATIO", Some(ratio.to_string()), accepted);
    }
    let domain = settings.string("TRUST_DOMAIN", "cluster.local");
    let trust_domain = domain.parse().unwrap_or_else(|error| {
        let accepted = format!("a trust domain: {error}");
        settings.reject("TRUST_DOMAIN", Some(domain.clone()), &accepted);
        Default::default()
    });
    Identity {
        trust_domain,
        service_account: metadata.service_account.clone().unwrap_or_else(|| "default".to_owned()),
        source,
        ttl: settings.duration("SECRET_TTL", Duration::from_secs(24 * 3600)).into(),
        grace_ratio: ratio.clamp(0.0, 1.0),
        key: bootstrap::KeyKind::default(),
    }
}

/// Where a server's certificate is verified: a file, or the system's roots.
fn roots(settings: &Settings<'_>, name: &str) -> Option<PathBuf> {
    match settings.string(name, ROOT_CERT).as_str() {
        "SYSTEM" => None,
        path => Some(PathBuf::from(path)),
    }
}

fn host_port(settings: &Settings<'_>, name: &str, text: String) -> String {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
        settings.reject(name, Some(text.clone()), "<host>:<port> of a server");
    }
    text
}

fn drain(
    settings: &Settings<'_>,
    config: &ProxyConfig,
    metadata: &NodeMetadata,
) -> bootstrap::Drain {
    let on_zero = metadata.exit_on_zero_active_connections.unwrap_or(false);
    bootstrap::Drain {
        duration: config.drain_duration,
        termination: config.termination_drain_duration,
        exit_on_zero_active_connections: settings.bool("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", on_zero),
        minimum: settings.duration("MINIMUM_DRAIN_DURATION", Duration::from_secs(5)).into(),
    }
}

fn status(
    settings: &Settings<'_>,
    config: &ProxyConfig,
    metadata: &NodeMetadata,
) -> bootstrap::Status {
    let json = |name: &str| -> Option<Value> {
        let text = settings.optional(name)?;
        let parsed = serde_json::from_str(&text);
        if let Err(error) = &parsed {
            settings.reject(name, Some(text), &format!("JSON: {error}"));
        }
        parsed.ok()
    };
    let app_probers = match json("ISTIO_KUBE_APP_PROBERS") {
        Some(Value::Object(probers)) => probers.into_iter().collect(),
        _ => Default::default(),
    };
    let app_metrics =
        json("ISTIO_PROMETHEUS_ANNOTATIONS").and_then(|v| serde_json::from_value(v).ok());
    bootstrap::Status {
        port: config.status_port,
        readiness_port: metadata.envoy_status_port.unwrap_or(15021),
        prometheus_port: metadata.envoy_prometheus_port.unwrap_or(15090),
        app_probers,
        app_metrics,
    }
}

/// A document that knows nothing: no discovery, no identity, a node of no pod.
fn empty(role: NodeType) -> Bootstrap {
    let text = format!("{}~127.0.0.1~proxy.default~default.{DEFAULT_DOMAIN}", role.as_str());
    let node = serde_json::json!({ "node": { "id": text, "cluster": "istio-proxy" } });
    // The document is fixed but for the role's name, and the tests read one of each.
    serde_json::from_value(node).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Variables of the process frame that follow from a proxy's settings.
pub fn frame_variables(settings: &ProxySettings) -> [(String, String); 2] {
    let drain = &settings.bootstrap.drain;
    // A second more: the proxy's own wait ends first, and cleanly.
    let deadline = drain.termination.get().max(drain.minimum.get()) + Duration::from_secs(1);
    let admin: SocketAddr = settings.bootstrap.admin.address;
    [
        ("ADMIN_ADDR".to_owned(), admin.to_string()),
        ("TERMINATION_DRAIN_DURATION".to_owned(), format!("{}ms", deadline.as_millis())),
    ]
}

#[cfg(test)]
mod tests;
