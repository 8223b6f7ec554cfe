//! Probes as the injector left them in `ISTIO_KUBE_APP_PROBERS`: Kubernetes' probes by the path
//! on which the kubelet asks for them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

/// Kubernetes' default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Hooks have no time-out of their own; the kubelet waits as long as the pod may take to end.
const HOOK_TIMEOUT: Duration = Duration::from_secs(29);
/// The longest time-out that is kept.
const MAX_TIMEOUT: Duration = Duration::from_secs(29);
const LIFECYCLE: &str = "/app-lifecycle/";
/// Headers of a probe at most.
const MAX_HEADERS: usize = 64;

/// How the application is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// By a GET that must be answered with a status from 200 to 399.
    Http(HttpGet),
    /// By a connection.
    Tcp {
        /// The port.
        port: u16,
    },
    /// By `grpc.health.v1.Health/Check`.
    Grpc {
        /// The port.
        port: u16,
        /// The service that is asked about; empty for the server.
        service: String,
    },
}

/// A GET.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpGet {
    /// Whether over TLS; the certificate is not verified, as the kubelet does not.
    pub tls: bool,
    /// Another address than the pod's.
    pub host: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// The `Host` header, if it is not the address.
    pub authority: Option<HeaderValue>,
    /// Other headers.
    pub headers: HeaderMap,
}

/// A probe and how long it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Prober {
    /// How the application is asked.
    pub probe: Probe,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// Why a probe cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ISTIO_KUBE_APP_PROBERS, {path}: {reason}")]
pub struct BadProber {
    /// The path of the probe.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Probes by path. Those that cannot be one keep their reason.
#[derive(Clone, Debug, Default)]
pub struct Probers(Arc<BTreeMap<String, Result<Prober, BadProber>>>);

impl Probers {
    /// Reads all probes.
    pub fn parse(documents: &BTreeMap<String, Value>) -> Self {
        let one = |(path, document): (&String, &Value)| {
            let parsed = prober(path, document);
            let parsed = parsed.map_err(|reason| BadProber { path: path.clone(), reason });
            (path.clone(), parsed)
        };
        Self(Arc::new(documents.iter().map(one).collect()))
    }

    /// The probe of a path.
    pub fn get(&self, path: &str) -> Option<&Result<Prober, BadProber>> {
        self.0.get(path)
    }

    /// What is wrong with those that cannot be probes.
    pub fn problems(&self) -> impl Iterator<Item = &BadProber> {
        self.0.values().filter_map(|prober| prober.as_ref().err())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    http_get: Option<Get>,
    tcp_socket: Option<Port>,
    grpc: Option<Grpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Get {
    host: Option<String>,
    path: Option<String>,
    port: u16,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Port {
    port: u16,
}

#[derive(Deserialize)]
struct Grpc {
    port: u16,
    service: Option<String>,
}

fn prober(path: &str, document: &Value) -> Result<Prober, String> {
    let document = Document::deserialize(document).map_err(|error| error.to_string())?;
    let hook = path.starts_with(LIFECYCLE);
    let timeout = match document.timeout_seconds {
        Some(seconds @ 1..) => Duration::from_secs(seconds).min(MAX_TIMEOUT),
        _ if hook => HOOK_TIMEOUT,
        _ => PROBE_TIMEOUT,
    };
    let probe = match (document.http_get, document.tcp_socket, document.grpc) {
        (Some(get), ..) => Probe::Http(http_get(get)?),
        (None, Some(tcp), _) => Probe::Tcp { port: some_port(tcp.port)? },
        (None, None, Some(grpc)) => {
            Probe::Grpc { port: some_port(grpc.port)?, service: grpc.service.unwrap_or_default() }
        }
        (None, None, None) => return Err("has none of httpGet, tcpSocket, grpc".to_owned()),
    };
    Ok(Prober { probe, timeout })
}

fn some_port(port: u16) -> Result<u16, String> {
    if port == 0 { Err("port 0".to_owned()) } else { Ok(port) }
}

fn http_get(get: Get) -> Result<HttpGet, String> {
    let tls = match get.scheme.as_deref() {
        None => false,
        Some(scheme) if scheme.is_empty() || scheme.eq_ignore_ascii_case("http") => false,
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
        Some(other) => return Err(format!("httpGet.scheme {other:?} is no HTTP, HTTPS")),
    };
    if get.http_headers.len() > MAX_HEADERS {
        return Err(format!("httpGet.httpHeaders has more than {MAX_HEADERS}"));
    }
    let mut headers = HeaderMap::new();
    let mut authority = None;
    for header in get.http_headers {
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| format!("httpGet.httpHeaders, {}: no header's value", header.name))?;
        if header.name.eq_ignore_ascii_case("host") || header.name == ":authority" {
            authority = Some(value);
            continue;
        }
        let name: HeaderName = header
            .name
            .parse()
            .map_err(|_| format!("httpGet.httpHeaders, {:?}: no header's name", header.name))?;
        headers.append(name, value);
    }
    let host = get.host.filter(|host| !host.is_empty());
    let address = host.as_deref().and_then(|host| host.parse::<IpAddr>().ok());
    if let (Some(name), None, None) = (&host, address, &authority) {
        authority = HeaderValue::from_str(name).ok();
    }
    let path = match get.path.as_deref() {
        None | Some("") => "/".to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("/{path}"),
    };
    if path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err(format!("httpGet.path {path:?} is no path"));
    }
    Ok(HttpGet { tls, host: address, port: some_port(get.port)?, path, authority, headers })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(path: &str, document: Value) -> Result<Prober, BadProber> {
        let probers = Probers::parse(&BTreeMap::from([(path.to_owned(), document)]));
        probers.get(path).unwrap().clone()
    }

    #[test]
    fn probes_as_the_injector_writes_them() {
        let document = json!({"httpGet": {"path": "healthz?a=1", "port": 8080, "scheme": "HTTPS",
            "host": "a.example", "httpHeaders": [{"name": "X-A", "value": "1"},
                {"name": "Host", "value": "b.example"}]}, "timeoutSeconds": 3});
        let prober = one("/app-health/a/livez", document).unwrap();
        assert_eq!(prober.timeout, Duration::from_secs(3));
        let Probe::Http(get) = prober.probe else { panic!("{prober:?}") };
        assert!(get.tls && get.host.is_none());
        assert_eq!((get.port, &*get.path), (8080, "/healthz?a=1"));
        assert_eq!(get.authority.unwrap(), "b.example");
        assert_eq!(get.headers["x-a"], "1");

        let tcp = one("/app-health/a/readyz", json!({"tcpSocket": {"port": 5}})).unwrap();
        assert_eq!(tcp, Prober { probe: Probe::Tcp { port: 5 }, timeout: PROBE_TIMEOUT });
        let grpc = json!({"grpc": {"port": 6, "service": "s"}, "timeoutSeconds": 3600});
        let grpc = one("/app-health/a/startupz", grpc).unwrap();
        assert_eq!(grpc.probe, Probe::Grpc { port: 6, service: "s".to_owned() });
        assert_eq!(grpc.timeout, MAX_TIMEOUT);
        let hook = one("/app-lifecycle/a/prestopz", json!({"httpGet": {"port": 1}})).unwrap();
        assert_eq!(hook.timeout, HOOK_TIMEOUT);
    }

    #[test]
    fn what_is_no_probe_says_why() {
        for (document, words) in [
            (json!({}), "has none of httpGet, tcpSocket, grpc"),
            (json!({"httpGet": {"port": "http"}}), "invalid type"),
            (json!({"tcpSocket": {"port": 0}}), "port 0"),
            (json!({"httpGet": {"port": 1, "scheme": "FTP"}}), "httpGet.scheme"),
            (json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}), "no header's name"),
        ] {
            let error = one("/app-health/a/livez", document).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/app-health/a/livez"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_document_panics(path in "\\PC{0,20}", host in "\\PC{0,20}", header in "\\PC{0,20}") {
            let _ = one("p", json!({"httpGet": {"port": 1, "path": path, "host": host,
                "httpHeaders": [{"name": header, "value": header}]}}));
        }
    }
}
