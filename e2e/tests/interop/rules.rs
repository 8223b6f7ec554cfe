//! Rules of traffic, one table of them, carried out by our proxy and by a real Envoy under the same
//! pilot: answers, what applications see, access log and statistics are the same.

mod backend;
mod cases;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use mesh_test::eventually;
use mesh_test::netns::Netns;
use pilot_model::snapshot::Snapshot;
use pilot_model::store::Object;
use serde_json::{Value, json};

use crate::control::Control;
use crate::envoy::{Envoy, Form, Who};
use crate::ours::{Ours, capture};
use crate::world;
use backend::{Answer, Ask, Backends, send};
use cases::{Case, Sent, allowed, cases};

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const V1: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const V2: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
/// Nothing listens here.
const DEAD: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 4);
const PORT: u16 = 9080;

/// What is compared of a log line.
const LOG: [(&str, &str); 12] = [
    ("code", "%RESPONSE_CODE%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("route", "%ROUTE_NAME%"),
    ("cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("host", "%UPSTREAM_HOST%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("failure", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("received", "%BYTES_RECEIVED%"),
    ("protocol", "%PROTOCOL%"),
];

/// Statistics of a case's clusters that are compared, and of the connection manager.
const CLUSTER_STATS: [&str; 30] = [
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_200",
    "upstream_rq_2xx",
    "upstream_rq_503",
    "upstream_rq_504",
    "upstream_rq_5xx",
    "retry.upstream_rq_503",
    "retry.upstream_rq_5xx",
    "upstream_rq_pending_total",
    "upstream_rq_pending_overflow",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_pending_active",
    "upstream_cx_overflow",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_rx_reset",
    "upstream_cx_connect_fail",
    "upstream_cx_none_healthy",
    "upstream_cx_max_requests",
    "outlier_detection.ejections_active",
    "outlier_detection.ejections_enforced_total",
    "outlier_detection.ejections_enforced_consecutive_5xx",
    "outlier_detection.ejections_enforced_consecutive_gateway_failure",
    "membership_healthy",
];

fn pod(app: &str, version: &str, ip: Ipv4Addr) -> Object {
    Object::Pod(world::read(json!({
        "metadata": {
            "name": format!("{app}-{version}"), "namespace": "default",
            "labels": { "app": app, "version": version },
        },
        "spec": { "containers": [] },
        "status": { "podIP": ip.to_string(), "podIPs": [{ "ip": ip.to_string() }] },
    })))
}

/// The address of a case's service.
fn vip(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 1, u8::try_from(index + 1).unwrap())
}

fn snapshot(policy: &str) -> Arc<Snapshot> {
    let fields: Vec<String> = LOG.iter().map(|(name, field)| format!("{name}={field}")).collect();
    let format = format!("RULE|%REQ(X-CASE)%|{}\\n", fields.join("|"));
    let ports = json!([{ "name": "http", "port": PORT }]);
    let mut all = vec![Object::MeshConfig(format!(
        "accessLogFile: /dev/stdout\naccessLogFormat: \"{format}\"\n\
         outboundTrafficPolicy:\n  mode: {policy}\n"
    ))];
    let places = [("v1", V1), ("v2", V2), ("dead", DEAD)];
    all.extend(places.map(|(version, ip)| pod("backend", version, ip)));
    all.push(pod("client", "v1", CLIENT));
    for (index, case) in cases().into_iter().enumerate() {
        let Case { name, versions, http, policy, .. } = case;
        all.push(world::service("default", name, &vip(index).to_string(), &ports));
        let pods: Vec<(String, String)> = places
            .iter()
            .filter(|(version, _)| versions.contains(version))
            .map(|(version, ip)| (format!("backend-{version}"), ip.to_string()))
            .collect();
        let pods: Vec<_> = pods.iter().map(|(pod, ip)| (pod.as_str(), ip.as_str())).collect();
        all.push(world::slice("default", name, &ports, &pods));
        if !http.is_null() {
            all.push(Object::VirtualService(world::read(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "hosts": [name], "http": http },
            }))));
        }
        let subsets = ["v1", "v2"].map(|v| json!({ "name": v, "labels": { "version": v } }));
        let mut spec = json!({ "host": name, "subsets": subsets });
        if !policy.is_null() {
            spec["trafficPolicy"] = policy;
        }
        all.push(Object::DestinationRule(world::read(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": name, "namespace": "default" },
            "spec": spec,
        }))));
    }
    world::snapshot(all)
}

/// A proxy under test.
trait Side {
    fn log(&self) -> String;
    fn admin(&self, path: &str) -> Result<String, String>;
}

impl Side for Envoy<'_> {
    fn log(&self) -> String {
        Envoy::log(self)
    }

    fn admin(&self, path: &str) -> Result<String, String> {
        Envoy::admin(self, path)
    }
}

impl Side for Ours<'_> {
    fn log(&self) -> String {
        Ours::log(self)
    }

    fn admin(&self, path: &str) -> Result<String, String> {
        Ours::admin(self, path)
    }
}

/// The pod of a client and that of the applications.
struct Pods {
    client: Netns,
    _servers: Netns,
    backends: Backends,
    control: Control,
}

impl Pods {
    fn new() -> Self {
        let (client, servers) = (Netns::new(), Netns::new());
        client.link(CLIENT, &servers, V1);
        servers.run(|| {
            for address in [V2, DEAD] {
                let address = format!("{address}/16");
                let mut command = Command::new("ip");
                command.args(["addr", "add", &address, "dev", "eth0"]);
                assert!(command.status().unwrap().success());
            }
        });
        let backends = Backends::new(&servers);
        backends.serve("v1", V1, PORT);
        backends.serve("v2", V2, PORT);
        let control = Control::start(&client, &snapshot("ALLOW_ANY"));
        capture(&client);
        Self { client, _servers: servers, backends, control }
    }

    fn who() -> Who {
        Who {
            id: format!("sidecar~{CLIENT}~client-v1.default~default.svc.cluster.local"),
            namespace: "default",
            account: "client",
            labels: json!({ "app": "client", "version": "v1" }),
        }
    }
}

fn ask(case: &Case, index: usize, (number, sent): (usize, &Sent)) -> Ask {
    let host = sent.host.map_or_else(|| format!("{}:{PORT}", case.name), str::to_owned);
    let mut request = Request::builder()
        .method(sent.method)
        .uri(sent.path)
        .header("host", host)
        .header("x-case", format!("{}-{number}", case.name));
    for (name, value) in sent.headers {
        request = request.header(*name, *value);
    }
    let service = SocketAddr::from((vip(index), PORT));
    let to = sent.to.map_or(service, |to| to.parse().unwrap());
    let request = request.body(sent.body.to_owned()).unwrap();
    Ask { to, request, after: Duration::from_millis(sent.after) }
}

/// An answer without what is different each time.
fn answered(answer: Result<Answer, String>, sent: &Sent) -> Value {
    let Answer { status, mut headers, body, took } = match answer {
        Ok(answer) => answer,
        Err(error) => return json!({ "error": error }),
    };
    headers.remove("date");
    if sent.method == "HEAD" && status == 200 {
        // The length of what is told of the request, which has more headers by ours.
        headers.remove("content-length");
    }
    if let Some(time) = headers.get_mut("x-envoy-upstream-service-time") {
        *time = vec!["…".to_owned()];
    }
    let body = match serde_json::from_str::<Value>(&body) {
        Ok(mut told) => {
            headers.remove("content-length");
            if let Some(headers) = told["headers"].as_object_mut() {
                // Ours says who it is, to another of ours.
                headers.retain(|name, _| !name.starts_with("x-envoy-peer-metadata"));
                if headers.contains_key("x-request-id") {
                    headers["x-request-id"] = "…".into();
                }
            }
            if sent.any_app {
                told["app"] = "any".into();
            }
            told
        }
        Err(_) => body.into(),
    };
    let took = took.as_millis();
    let in_time = sent.takes.is_none_or(|(least, most)| took >= least && took <= most);
    let late = if in_time { Value::Null } else { json!(format!("took {took} ms")) };
    json!({ "status": status, "headers": headers, "body": body, "late": late })
}

/// The log line of a request, by field.
fn logged(side: &dyn Side, id: &str) -> Result<Value, String> {
    let log = side.log();
    let start = format!("RULE|{id}|");
    let line = log.lines().find_map(|line| line.strip_prefix(&start));
    let line = line.ok_or_else(|| format!("no log line of {id}"))?;
    let pairs = line.split('|').collect::<Vec<_>>().join("|");
    let mut fields = serde_json::Map::new();
    // A cluster's name has the separator too: a field ends where the next one begins.
    let mut rest = pairs.as_str();
    for (index, (name, _)) in LOG.iter().enumerate() {
        let value = rest.strip_prefix(&format!("{name}=")).unwrap_or_default();
        let next = LOG.get(index + 1).map(|(next, _)| format!("|{next}="));
        let end = next.and_then(|next| value.find(&next)).unwrap_or(value.len());
        fields.insert((*name).to_owned(), value[..end].into());
        rest = value.get(end + 1..).unwrap_or_default();
    }
    Ok(fields.into())
}

/// The compared statistics that are not zero.
fn statistics(side: &dyn Side, case: &Case) -> Result<BTreeMap<String, u64>, String> {
    let mut all = BTreeMap::new();
    let host = format!("|{}.default.svc.cluster.local;.", case.name);
    for line in side.admin("/stats")?.lines() {
        let Some((name, value)) = line.rsplit_once(": ") else { continue };
        let Ok(value) = value.parse::<u64>() else { continue };
        let compared = name.split_once(&host).is_some_and(|(_, stat)| {
            CLUSTER_STATS.contains(&stat) || stat.starts_with("circuit_breakers.default.")
        });
        // Envoy tells what is left of a limit only when asked to.
        if compared && value > 0 && !name.contains(".remaining_") {
            all.insert(name.to_owned(), value);
        }
    }
    Ok(all)
}

/// Everything that came of a case.
struct Played {
    answers: Vec<Value>,
    logs: Vec<Value>,
    seen: Vec<Vec<Value>>,
}

fn play(side: &dyn Side, pods: &Pods, index: usize, case: &Case) -> Played {
    let asks = case.asks.iter().enumerate();
    let asks: Vec<Ask> = asks.clone().map(|sent| ask(case, index, sent)).collect();
    let answers = if case.together {
        // The first request may wait for the configuration.
        let first = Sent { headers: &[], ..case.asks[0] };
        let mut first = ask(case, index, (case.asks.len(), &first));
        first.request.headers_mut().insert("x-case", "first".parse().unwrap());
        send(&pods.client, vec![first]);
        send(&pods.client, asks)
    } else {
        asks.into_iter().flat_map(|ask| send(&pods.client, vec![ask])).collect()
    };
    let answers = answers.into_iter().zip(&case.asks).map(|(a, sent)| answered(a, sent)).collect();
    let id = |number: usize| format!("{}-{number}", case.name);
    let logs = (0..case.asks.len())
        .map(|number| eventually("a log line", PATIENCE, || logged(side, &id(number))));
    let mut logs: Vec<Value> = logs.collect();
    for (log, sent) in logs.iter_mut().zip(&case.asks) {
        if sent.any_app {
            log["host"] = "any".into();
        }
    }
    let seen = (0..case.asks.len()).map(|number| {
        // A copy may come later than the answer.
        let seen = || Some(pods.backends.seen(&id(number))).filter(|s| s.len() >= case.copies);
        let mut seen = eventually("all copies came", PATIENCE, || seen().ok_or("not all"));
        if case.asks[number].any_app {
            seen.iter_mut().for_each(|one| one[0] = "any".into());
        }
        seen
    });
    let seen = seen.collect();
    Played { answers, logs, seen }
}

fn compare(what: &str, envoys: &Value, ours: &Value, differences: &mut Vec<String>) {
    if envoys == ours {
        return;
    }
    match (envoys, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let none = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
                compare(&format!("{what}.{key}"), a, b, differences);
            }
        }
        _ => differences.push(format!("{what}: Envoy {envoys}, ours {ours}")),
    }
}

/// Plays a case on both sides and tells what differs.
fn check(
    (envoy, ours): (&Envoy<'_>, &Ours<'_>),
    (pods_of_envoy, pods_of_ours): (&Pods, &Pods),
    (index, case): (usize, &Case),
    differences: &mut Vec<String>,
) {
    let (own, envoys) = std::thread::scope(|scope| {
        let envoys = scope.spawn(|| play(envoy, pods_of_envoy, index, case));
        (play(ours, pods_of_ours, index, case), envoys.join().unwrap())
    });
    for (number, sent) in case.asks.iter().enumerate() {
        let what = format!("{}[{number}] {} {}", case.name, sent.method, sent.path);
        let mut log = envoys.logs[number].clone();
        let text = |field: &str| log[field].as_str().unwrap_or_default().to_owned();
        let told = format!("{} {} {}", text("code"), text("flags"), text("details"));
        if told != sent.comes_to {
            differences.push(format!("{what}: Envoy {told:?}, the table {:?}", sent.comes_to));
        }
        if text("flags") == "NC" {
            // Ours names the cluster that is missing.
            log["cluster"] = own.logs[number]["cluster"].clone();
        }
        let (e, o) = (&envoys.answers[number], &own.answers[number]);
        compare(&format!("{what}: answer"), e, o, differences);
        compare(&format!("{what}: log"), &log, &own.logs[number], differences);
        let (e, o) = (json!(envoys.seen[number]), json!(own.seen[number]));
        compare(&format!("{what}: application"), &e, &o, differences);
    }
    // Statistics are written after the answer.
    let begun = std::time::Instant::now();
    loop {
        let read = |side: &dyn Side| json!(statistics(side, case).unwrap());
        let mut found = Vec::new();
        compare(&format!("{}: statistics", case.name), &read(envoy), &read(ours), &mut found);
        if found.is_empty() || begun.elapsed() > Duration::from_secs(2) {
            differences.append(&mut found);
            return;
        }
    }
}

#[test]
fn our_proxy_does_with_rules_what_envoy_does() {
    let (pods_of_envoy, pods_of_ours) = (Pods::new(), Pods::new());
    let who = Pods::who();
    let (a, b) = (&pods_of_envoy, &pods_of_ours);
    let envoy = Envoy::start(&a.client, &a.control, "127.0.0.1", &who, Form::Delta);
    assert_eq!(envoy.refused(), "");
    let ours = Ours::plain(&b.client, &b.control, "127.0.0.1", &who);
    let mut differences = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        check((&envoy, &ours), (a, b), (index, case), &mut differences);
    }
    check((&envoy, &ours), (a, b), (0, &allowed()), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
