//! `/explain`: what would happen to a connection or request, and why. The same code decides that
//! decides about traffic.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;
use percent_encoding::percent_decode_str;
use proxy_model::explain::{Outcome, Trail, explain, explain_listener};
use proxy_model::facts::{ConnFacts, DetectedTransport, RequestHead};
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::snapshot::Snapshot;

use super::{Pages, pretty, wants_json};

/// Parameters of a question at most.
const MAX_PARAMETERS: usize = 100;
/// Questions to pilot at most: each answer may name the next thing.
const MAX_ASKED: usize = 8;

/// The page.
pub(super) async fn page(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let question = match Question::parse(&request.query) {
        Ok(question) => question,
        Err(reason) => {
            let words = format!(
                "{reason}\nusage: /explain?destination=<host>:<port>[&method=GET]\
                [&path=/][&authority=][&header=<name>:<value>][&protocol=http|http2|grpc|tcp]\
                [&direction=outbound|inbound][&source=<ip>:<port>][&sni=][&alpn=a,b]\
                [&format=json]\n"
            );
            return text(StatusCode::BAD_REQUEST, words);
        }
    };
    let mut trail = question.trail(pages, &pages.world.load()).await;
    for _ in 0..MAX_ASKED {
        let Ok(so_far) = &trail else { break };
        let Some(name) = so_far.unknown.first().cloned() else { break };
        // As traffic would: what is not held is asked for.
        if matches!(pages.world.ask(name).await, Lookup::Unknown(_)) {
            break;
        }
        trail = question.trail(pages, &pages.world.load()).await;
    }
    match trail {
        Err(reason) => text(StatusCode::NOT_FOUND, format!("{reason}\n")),
        Ok(trail) if wants_json(request) => pretty(&trail),
        Ok(trail) => text(StatusCode::OK, words(&trail)),
    }
}

/// What is asked.
#[derive(Clone, Debug)]
struct Question {
    host: String,
    port: u16,
    method: String,
    path: String,
    authority: String,
    headers: HeaderMap,
    protocol: Protocol,
    inbound: bool,
    source: Option<SocketAddr>,
    sni: Option<String>,
    alpn: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Http2,
    Grpc,
    Tcp,
}

impl Question {
    fn parse(query: &str) -> Result<Self, String> {
        let mut question = Self {
            host: String::new(),
            port: 0,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            authority: String::new(),
            headers: HeaderMap::new(),
            protocol: Protocol::Http,
            inbound: false,
            source: None,
            sni: None,
            alpn: Vec::new(),
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        for (number, pair) in pairs.enumerate() {
            if number >= MAX_PARAMETERS {
                return Err(format!("more than {MAX_PARAMETERS} parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            question.set(name, value)?;
        }
        if question.port == 0 {
            return Err("destination is missing".to_owned());
        }
        if question.authority.is_empty() {
            question.authority = format!("{}:{}", question.host, question.port);
        }
        Ok(question)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "destination" => {
                let parts = value.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
                let Some((host, port)) = parts.filter(|(_, port)| *port != 0) else {
                    return Err(format!("destination {value:?} is no <host>:<port>"));
                };
                let host = host.trim_start_matches('[').trim_end_matches(']');
                (self.host, self.port) = (host.to_ascii_lowercase(), port);
            }
            "method" => self.method = value,
            "path" if value.starts_with('/') => self.path = value,
            "path" => return Err(format!("path {value:?} does not begin with /")),
            "authority" | "host" => self.authority = value,
            "header" => {
                let header = value.split_once(':').and_then(|(name, value)| {
                    let name: HeaderName = name.trim().to_ascii_lowercase().parse().ok()?;
                    Some((name, HeaderValue::from_str(value.trim()).ok()?))
                });
                let (name, value) =
                    header.ok_or_else(|| format!("header {value:?} is no <name>:<value>"))?;
                self.headers.append(name, value);
            }
            "protocol" => {
                self.protocol = match value.as_str() {
                    "http" => Protocol::Http,
                    "http2" => Protocol::Http2,
                    "grpc" => Protocol::Grpc,
                    "tcp" => Protocol::Tcp,
                    _ => return Err(format!("protocol {value:?} is no http, http2, grpc, tcp")),
                }
            }
            "direction" => {
                self.inbound = match value.as_str() {
                    "inbound" => true,
                    "outbound" => false,
                    _ => return Err(format!("direction {value:?} is no outbound, inbound")),
                }
            }
            "source" => {
                let source = value.parse();
                self.source =
                    Some(source.map_err(|_| format!("source {value:?} is no <ip>:<port>"))?);
            }
            "sni" => self.sni = Some(value.to_ascii_lowercase()),
            "alpn" => self.alpn = value.split(',').map(str::to_owned).collect(),
            "format" => {}
            other => return Err(format!("there is no parameter {other:?}")),
        }
        Ok(())
    }

    /// The way of the question through a snapshot.
    async fn trail(&self, pages: &Pages, snapshot: &Snapshot) -> Result<Trail, String> {
        let destination = self.destination(pages, snapshot).await?;
        let capture = &pages.bootstrap.capture;
        let own = pages.bootstrap.node.id.ip;
        let source = self.source.unwrap_or_else(|| SocketAddr::new(own, 40_000));
        let mut facts = ConnFacts::plain(destination, source);
        let port = if self.inbound { capture.inbound_port } else { capture.outbound_port };
        facts.local = SocketAddr::new(own, port);
        if let Some(sni) = &self.sni {
            facts.transport = DetectedTransport::Tls;
            facts.server_name = Some(sni.as_str().into());
        }
        facts.application_protocols = match (self.protocol, facts.transport) {
            _ if !self.alpn.is_empty() => self.alpn.iter().map(|p| p.as_str().into()).collect(),
            (Protocol::Http, DetectedTransport::Raw) => vec!["http/1.1".into()],
            (Protocol::Http2 | Protocol::Grpc, DetectedTransport::Raw) => vec!["h2c".into()],
            _ => Vec::new(),
        };
        let head = RequestHead {
            method: &self.method,
            scheme: if self.sni.is_some() { "https" } else { "http" },
            authority: &self.authority,
            path: &self.path,
            headers: &self.headers,
            is_grpc: self.protocol == Protocol::Grpc,
        };
        let head = (self.protocol != Protocol::Tcp).then_some(&head);
        // What comes in, and what comes to a gateway, comes to a socket of its own.
        let bound = |port: u16| {
            snapshot.bound_listeners().find(|held| held.addresses().any(|at| at.port() == port))
        };
        let listener = if self.inbound { bound(port) } else { bound(destination.port()) };
        Ok(match listener {
            Some(listener) if self.inbound || bound(port).is_none() => {
                explain_listener(snapshot, listener, &facts, head)
            }
            _ => explain(snapshot, &facts, head),
        })
    }

    /// The address of the destination: of the host, by the mesh's DNS. Where nothing is known of
    /// the host, any address: listeners of a port are there for all of them.
    async fn destination(&self, pages: &Pages, snapshot: &Snapshot) -> Result<SocketAddr, String> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, self.port));
        }
        if self.inbound {
            return Ok(SocketAddr::new(pages.bootstrap.node.id.ip, self.port));
        }
        let namespace = &pages.bootstrap.node.id.namespace;
        let domain = pages.bootstrap.node.id.cluster_domain();
        let host = self.host.trim_end_matches('.');
        let names = [
            host.to_owned(),
            format!("{host}.{namespace}.svc.{domain}"),
            format!("{host}.svc.{domain}"),
        ];
        for name in &names {
            if let Lookup::Found(entry) = snapshot.name(name)
                && let Some(ip) = entry.addresses.first()
            {
                return Ok(SocketAddr::new(*ip, self.port));
            }
        }
        if let Some(ip) = self.resolve(pages, &names).await {
            return Ok(SocketAddr::new(ip, self.port));
        }
        Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port))
    }

    /// Asks pilot for the host's addresses.
    async fn resolve(&self, pages: &Pages, names: &[String]) -> Option<IpAddr> {
        use mesh_api::type_url::TypeUrl;
        for name in names.iter().filter(|name| name.contains('.')) {
            let question = ResourceName::new(TypeUrl::NameTable, name.as_str());
            if pages.world.ask(question).await.found().is_some()
                && let Lookup::Found(entry) = pages.world.load().name(name)
            {
                return entry.addresses.first().copied();
            }
        }
        None
    }
}

/// A way in words.
fn words(trail: &Trail) -> String {
    let mut page = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _infallible = writeln!(page, "{text}");
    };
    for step in &trail.steps {
        let config = step.config.as_deref().map(|of| format!("  ({of})")).unwrap_or_default();
        let notes = match step.notes.as_slice() {
            [] => String::new(),
            notes => format!("  [{}]", notes.join(", ")),
        };
        line(format_args!("{:<14}{}{config}{notes}", step.what, step.name));
    }
    match &trail.outcome {
        Outcome::Forwarded { targets } => {
            for target in targets {
                line(format_args!("{:<14}{}% to {}", "→", target.percent, target.cluster));
                for (endpoint, transport) in &target.endpoints {
                    line(format_args!("{:<16}{endpoint}  ({transport})", ""));
                }
                if let Some(problem) = &target.problem {
                    line(format_args!("{:<16}problem: {problem}", ""));
                }
            }
        }
        Outcome::Answered { status, reason } => {
            line(format_args!("{:<14}the mesh answers {status}: {reason}", "→"));
        }
        Outcome::Refused { reason } => line(format_args!("{:<14}refused: {reason}", "→")),
        Outcome::Unknown { resource } => {
            let words = "the control plane did not say what this is";
            line(format_args!("{:<14}{resource}: {words}", "→"));
        }
        Outcome::Nothing => {
            line(format_args!("{:<14}the connection is HTTP; ask for a request", "→"))
        }
    }
    page
}
