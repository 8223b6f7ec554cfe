//! A proxy's decision about a request, in plain words.

pub mod offline;

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::pod::query_value;

/// What a user asks about.
#[derive(Clone, Debug, clap::Args)]
pub struct Question {
    /// Where the request goes: host:port, as the application would write it.
    #[arg(long, value_name = "HOST:PORT")]
    pub to: String,
    /// Method of the request.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// Path of the request, with its query.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// A header of the request.
    #[arg(short = 'H', long, value_name = "NAME:VALUE")]
    pub header: Vec<String>,
    /// The request's authority, where it is not the destination.
    #[arg(long)]
    pub authority: Option<String>,
    /// What the application speaks.
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// Ask about a request that comes to the pod instead of one that leaves it.
    #[arg(long)]
    pub inbound: bool,
    /// Where the connection comes from, as ip:port.
    #[arg(long)]
    pub source: Option<SocketAddr>,
    /// Server name of the TLS connection; without it the connection is plaintext.
    #[arg(long)]
    pub sni: Option<String>,
}

/// What an application speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Anything else.
    Tcp,
}

/// The request that is asked about.
#[derive(Clone, Debug)]
pub struct Request {
    /// Host or address, in lower case.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// What else was asked.
    pub question: Question,
}

/// The way of a request through a proxy's configuration, as `/explain?format=json` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The steps, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What comes of it.
    pub outcome: Outcome,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was looked for, such as `route`.
    pub what: String,
    /// What was found.
    pub name: String,
    /// The object it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What else is worth knowing of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a way ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At endpoints of clusters.
    Forwarded {
        /// By cluster.
        targets: Vec<Target>,
    },
    /// At an answer of the mesh's own.
    Answered {
        /// Its status.
        status: u16,
        /// Why.
        reason: String,
    },
    /// At a closed connection.
    Refused {
        /// Why.
        reason: String,
    },
    /// At something the control plane has to be asked for.
    Unknown {
        /// What.
        resource: String,
    },
    /// Nowhere.
    #[default]
    Nothing,
}

/// A cluster and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The cluster.
    pub cluster: String,
    /// Its share of 100.
    pub percent: u32,
    /// Its endpoints, with the name of the transport each gets.
    #[serde(default)]
    pub endpoints: Vec<(String, String)>,
    /// What keeps it from working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Request {
    /// From what was typed.
    ///
    /// # Errors
    /// Usage errors that say what to write.
    pub fn new(question: Question) -> Result<Self, Error> {
        let (to, path) = (&question.to, &question.path);
        let wrong = || Error::Usage(format!("--to {to:?}: write host:port, such as reviews:9080"));
        let (host, port) = to.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        if !path.starts_with('/') {
            return Err(Error::Usage(format!("--path {path:?}: a path starts with /")));
        }
        let header = |text: &String| {
            let parts = text.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            match parts {
                Some((name, value)) if !name.is_empty() => {
                    Ok((name.to_ascii_lowercase(), value.to_owned()))
                }
                _ => Err(Error::Usage(format!("--header {text:?}: write name:value"))),
            }
        };
        let headers = question.header.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Self { host, port, headers, question })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn destination(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What the request says it goes to.
    pub fn authority(&self) -> String {
        self.question.authority.clone().unwrap_or_else(|| self.destination())
    }

    /// The admin page that explains the request.
    pub fn page(&self) -> String {
        let mut page = "/explain?format=json".to_owned();
        let mut add = |name: &str, value: &str| {
            let _never = write!(page, "&{name}={}", query_value(value));
        };
        let question = &self.question;
        add("destination", &self.destination());
        add("method", &question.method);
        add("path", &question.path);
        add("protocol", question.protocol.as_str());
        for (name, value) in &self.headers {
            add("header", &format!("{name}:{value}"));
        }
        if let Some(authority) = &question.authority {
            add("authority", authority);
        }
        if question.inbound {
            add("direction", "inbound");
        }
        if let Some(source) = question.source {
            add("source", &source.to_string());
        }
        if let Some(sni) = &question.sni {
            add("sni", sni);
        }
        page
    }
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// The decision in words. Cells come from a proxy, so control characters are shown as `?`.
pub fn words(request: &Request, trail: &Trail) -> String {
    let Question { method, path, protocol, .. } = &request.question;
    let mut out = match protocol {
        Protocol::Tcp => format!("TCP to {}\n", request.destination()),
        _ => format!("{method} {path} at {}\n", request.destination()),
    };
    for step in &trail.steps {
        let _never = write!(out, "  {:<14}{}", step.what, step.name);
        if !step.notes.is_empty() {
            let _never = write!(out, " ({})", step.notes.join(", "));
        }
        if let Some(config) = &step.config {
            let _never = write!(out, ", made from {}", object(config));
        }
        out.push('\n');
    }
    outcome(&mut out, &trail.outcome);
    out.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

fn outcome(out: &mut String, outcome: &Outcome) {
    // Writing to a string does not fail.
    let _never = match outcome {
        Outcome::Forwarded { targets } if targets.is_empty() => {
            writeln!(out, "=> nowhere: every cluster has the weight 0")
        }
        Outcome::Forwarded { targets } => {
            for target in targets {
                forwarded(out, target);
            }
            Ok(())
        }
        Outcome::Answered { status, reason } => {
            writeln!(out, "=> the proxy itself answers {status}: {reason}")
        }
        Outcome::Refused { reason } => writeln!(out, "=> refused: {reason}"),
        Outcome::Unknown { resource } => {
            writeln!(out, "=> not known: the control plane has not said what {resource} is")
        }
        Outcome::Nothing => writeln!(out, "=> the connection is HTTP; ask about a request"),
    };
}

fn forwarded(out: &mut String, target: &Target) {
    let share =
        if target.percent == 100 { String::new() } else { format!(" ({} %)", target.percent) };
    let _never = writeln!(out, "=> forwarded to {}{share}", target.cluster);
    for (address, transport) in &target.endpoints {
        let _never = writeln!(out, "     {address}  {transport}");
    }
    if let Some(problem) = &target.problem {
        let _never = writeln!(out, "     but: {problem}");
    }
}

/// `kind name.namespace` of the path of an object.
fn object(config: &str) -> String {
    let parts: Vec<_> = config.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["apis", _, _, "namespaces", namespace, kind, name] => format!("{kind} {name}.{namespace}"),
        _ => config.to_owned(),
    }
}

/// Reads a proxy's answer.
///
/// # Errors
/// When it is not the JSON of `/explain?format=json`.
pub fn read(answer: &[u8], origin: &str) -> Result<Trail, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        Error::Failed(format!("{origin} is not that of GET /explain?format=json: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn question(to: &str, path: &str, header: &str) -> Question {
        Question {
            to: to.to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            header: vec![header.to_owned()],
            authority: None,
            protocol: Protocol::Http,
            inbound: false,
            source: None,
            sni: None,
        }
    }

    fn request(to: &str) -> Result<Request, String> {
        Request::new(question(to, "/reviews/0?a=b", "End-User: jason")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_request_becomes_a_page_of_the_proxy() {
        assert_eq!(
            request("Reviews:9080").unwrap().page(),
            "/explain?format=json&destination=reviews%3A9080&method=GET\
             &path=%2Freviews%2F0%3Fa%3Db&protocol=http&header=end%2Duser%3Ajason"
        );
        let inbound = Question {
            inbound: true,
            authority: Some("a".to_owned()),
            sni: Some("b".to_owned()),
            source: Some("10.0.0.1:5".parse().unwrap()),
            protocol: Protocol::Tcp,
            header: Vec::new(),
            ..question("[fd00::1]:80", "/", "")
        };
        let inbound = Request::new(inbound).unwrap();
        assert_eq!((inbound.host.as_str(), inbound.port), ("fd00::1", 80));
        assert_eq!(
            inbound.page(),
            "/explain?format=json&destination=%5Bfd00%3A%3A1%5D%3A80&method=GET&path=%2F\
             &protocol=tcp&authority=a&direction=inbound&source=10%2E0%2E0%2E1%3A5&sni=b"
        );
        for wrong in ["reviews", ":80", "reviews:", "reviews:0", "reviews:99999"] {
            assert!(request(wrong).unwrap_err().contains("write host:port"), "{wrong}");
        }
        let error = Request::new(question("a:1", "x", "a:b")).unwrap_err().to_string();
        assert!(error.contains("--path \"x\""), "{error}");
        let error = Request::new(question("a:1", "/", "x")).unwrap_err().to_string();
        assert!(error.contains("--header \"x\": write name:value"), "{error}");
    }

    #[test]
    fn a_decision_is_told_step_by_step() {
        let config =
            "/apis/networking.istio.io/v1alpha3/namespaces/default/virtual-service/reviews";
        let answer = json!({
            "steps": [
                {"what": "listener", "name": "0.0.0.0_9080"},
                {"what": "filter chain", "name": "http", "notes": ["plaintext"]},
                {"what": "route", "name": "v1\u{1b}[2J", "config": config}],
            "outcome": {"forwarded": {"targets": [
                {"cluster": "v1", "percent": 75, "endpoints": [["10.0.0.9:9080", "mTLS"]]},
                {"cluster": "v2", "percent": 25, "endpoints": [], "problem": "no endpoints"}]}},
        });
        let trail = read(answer.to_string().as_bytes(), "the answer").unwrap();
        assert_eq!(
            words(&request("reviews:9080").unwrap(), &trail),
            "GET /reviews/0?a=b at reviews:9080\n  \
               listener      0.0.0.0_9080\n  \
               filter chain  http (plaintext)\n  \
               route         v1?[2J, made from virtual-service reviews.default\n\
             => forwarded to v1 (75 %)\n     10.0.0.9:9080  mTLS\n\
             => forwarded to v2 (25 %)\n     but: no endpoints\n"
        );
    }

    #[test]
    fn every_end_has_its_words() {
        for (outcome, wanted) in [
            (json!({"answered": {"status": 404, "reason": "no route"}}), "answers 404: no route"),
            (json!({"refused": {"reason": "no chain"}}), "refused: no chain"),
            (json!({"unknown": {"resource": "cluster x"}}), "what cluster x is"),
            (json!("nothing"), "ask about a request"),
        ] {
            let trail = read(json!({"outcome": outcome}).to_string().as_bytes(), "x").unwrap();
            let text = words(&request("a:1").unwrap(), &trail);
            assert!(text.contains(wanted), "{text}");
        }
        let error = read(b"{}", "the answer of a").unwrap_err().to_string();
        assert!(error.starts_with("the answer of a is not that of GET /explain"), "{error}");
    }
}
