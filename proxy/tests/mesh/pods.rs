//! Pods of the test: applications on the loopback, proxies beside them, and clients that are
//! captured without capture: the address of the proxy's socket says where they wanted to go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, LiveIdentity, TrustBundle, WorkloadCert,
};
use mesh_rt::process::{Component, Process};
use mesh_rt::tasks::Tasks;
use mesh_test::ca::{Leaf, TestCa};
use parking_lot::Mutex;
use proxy::app::{self, Outside, Running};
use proxy::listener::orig_dst::OriginalDst;
use proxy::observe::ends::Own;
use proxy::observe::log_writer::LogWriter;
use proxy::observe::record::{ConnectionRecord, RequestRecord, Sink};
use proxy::observe::recorder::Observed;
use proxy::settings::ProxySettings;
use proxy::status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::apps;

const COMPONENT: Component = Component { name: "proxy", metrics_prefix: "proxy", admin: None };
/// How long anything of a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pod without its proxy.
pub(crate) struct App {
    pub(crate) http: SocketAddr,
    pub(crate) tcp: SocketAddr,
    /// HTTP of both versions and gRPC, three times: for ports of different protocols.
    pub(crate) both: [SocketAddr; 3],
}

impl App {
    /// An HTTP server that answers with the head it got, a TCP server that answers with the
    /// bytes it got, and servers of HTTP/2 and gRPC.
    pub(crate) async fn start(tasks: &Tasks, ip: Ipv4Addr) -> Self {
        Self::start_on(tasks, ip, 0).await
    }

    /// The same with its HTTP server on a port of choice.
    pub(crate) async fn start_on(tasks: &Tasks, ip: Ipv4Addr, port: u16) -> Self {
        let http = TcpListener::bind((ip, port)).await.unwrap();
        let tcp = TcpListener::bind((ip, 0)).await.unwrap();
        let (at_http, at_tcp) = (http.local_addr().unwrap(), tcp.local_addr().unwrap());
        let own = tasks.clone();
        tasks.spawn_background("http app", async move {
            loop {
                let (stream, _) = http.accept().await.unwrap();
                own.spawn_background("http connection", echo_heads(stream));
            }
        });
        let own = tasks.clone();
        tasks.spawn_background("tcp app", async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                own.spawn_background("tcp connection", async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let mut both = [at_http; 3];
        for at in &mut both {
            *at = apps::start(tasks, ip).await;
        }
        Self { http: at_http, tcp: at_tcp, both }
    }
}

async fn echo_heads(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut held).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(held.drain(..end).collect()).ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(Some(0), |length| length.parse().ok())?;
        while held.len() < length {
            if stream.read_buf(&mut held).await.ok()? == 0 {
                return None;
            }
        }
        held.drain(..length);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Tells by the address that a client connected to where it wanted to go.
#[derive(Default)]
struct ByLocal(Mutex<HashMap<IpAddr, SocketAddr>>);

impl OriginalDst for ByLocal {
    fn original_dst(&self, stream: &StdStream) -> Option<SocketAddr> {
        self.0.lock().get(&stream.local_addr().ok()?.ip()).copied()
    }
}

/// Lines about what was recorded.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Sink for Lines {
    fn request(&self, record: &RequestRecord) {
        let mut flags = String::new();
        record.flags.write_short(&mut flags);
        let cluster = record.upstream.cluster_name.as_deref().unwrap_or("-");
        let line =
            format!("{} {} {flags} {} {cluster}", record.path, record.status, record.details);
        self.0.lock().push(line);
    }

    fn connection(&self, record: &ConnectionRecord) {
        let mut flags = String::new();
        record.flags.write_short(&mut flags);
        let cluster = record.upstream.cluster_name.as_deref().unwrap_or("-");
        let (up, down) = (record.bytes_received, record.bytes_sent);
        let line = format!("tcp {up} {down} {flags} {} {cluster}", record.termination);
        self.0.lock().push(line);
    }
}

/// Lines, and the metrics of a proxy.
struct Both(Lines, Rc<dyn Sink>);

impl Sink for Both {
    fn request(&self, record: &RequestRecord) {
        self.1.request(record);
        self.0.request(record);
    }

    fn connected(&self, record: &ConnectionRecord) {
        self.1.connected(record);
    }

    fn connection(&self, record: &ConnectionRecord) {
        self.1.connection(record);
        self.0.connection(record);
    }
}

/// A pod's proxy.
pub(crate) struct Sidecar {
    pub(crate) running: Running,
    pub(crate) process: Process,
    captured: Arc<ByLocal>,
    lines: Lines,
    observed: Observed,
}

/// Who a proxy is and where it finds its configuration.
pub(crate) struct Who<'a> {
    pub(crate) id: &'a str,
    pub(crate) app: &'a str,
    pub(crate) pilot: SocketAddr,
    pub(crate) on_demand: bool,
    pub(crate) data: &'a Path,
    /// The pod's `resolv.conf`, where the application's DNS questions are captured.
    pub(crate) dns: Option<&'a Path>,
}

impl Sidecar {
    pub(crate) async fn start(who: &Who<'_>, ca: &TestCa) -> Self {
        let process = Process::detached(COMPONENT);
        let bootstrap = serde_json::json!({
            "node": {
                "id": who.id,
                "cluster": format!("{}.default", who.app),
                "metadata": {
                    "NAMESPACE": "default", "WORKLOAD_NAME": format!("{}-v1", who.app),
                    "LABELS": { "app": who.app, "version": "v1", "istio": who.app },
                    "DNS_CAPTURE": who.dns.is_some().to_string(),
                },
            },
            "discovery": {
                "address": who.pilot.to_string(), "plaintext": true, "delta": true,
                "onDemand": who.on_demand,
            },
            "drain": {
                "duration": "20s", "termination": "5s", "minimum": "1s",
                "exitOnZeroActiveConnections": true,
            },
            "dns": { "capture": who.dns.is_some(), "address": "127.0.0.1:0" },
        });
        let settings = ProxySettings {
            bootstrap: serde_json::from_value(bootstrap).unwrap(),
            workers: 2,
            data_dir: who.data.to_owned(),
            resolv_conf: who.dns.unwrap_or(Path::new("/dev/null")).to_owned(),
        };
        let (captured, lines) = (Arc::new(ByLocal::default()), Lines::default());
        let logs = LogWriter::with(Box::new(|_| Ok(Box::new(std::io::sink())))).unwrap();
        let observed = Observed::new(Own::default(), logs);
        let (sink, counting) = (lines.clone(), observed.clone());
        let outside = Outside {
            original_dst: captured.clone(),
            sinks: Arc::new(move |_| Rc::new(Both(sink.clone(), counting.sink()))),
        };
        let live = identity(ca, &format!("spiffe://cluster.local/ns/default/sa/{}", who.app));
        let running = app::run(&process, &settings, live, outside).await.unwrap();
        status::hold_drain(&process.tasks, &settings.bootstrap.drain);
        Self { running, process, captured, lines, observed }
    }

    pub(crate) async fn ready(&self) {
        let ready = self.process.readiness.wait_ready();
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            panic!("not ready: {:?}", self.process.readiness.pending());
        }
    }

    /// Where a listener listens.
    pub(crate) fn listens(&self, listener: &str) -> u16 {
        let addresses = self.running.addresses.borrow();
        let found = addresses.get(listener).and_then(|found| found.first());
        found.unwrap_or_else(|| panic!("{listener}: {addresses:?}")).port()
    }

    /// An address of a listener, connections to which wanted to go to `destination`.
    pub(crate) fn captures(&self, listener: &str, destination: SocketAddr) -> SocketAddr {
        let mut captured = self.captured.0.lock();
        let known = captured.iter().find(|(_, to)| **to == destination).map(|(ip, _)| *ip);
        let ip = known.unwrap_or_else(|| {
            let number = u8::try_from(captured.len() + 1).unwrap();
            IpAddr::from([127, 1, 0, number])
        });
        captured.insert(ip, destination);
        SocketAddr::new(ip, self.listens(listener))
    }

    /// An HTTP/1.1 connection of the application to `destination`.
    pub(crate) async fn http(&self, destination: &str) -> Client {
        let at = self.captures("virtualOutbound", destination.parse().unwrap());
        Client::connect(&self.process.tasks, at).await
    }

    /// What an exchange of bytes with `destination` gives.
    pub(crate) async fn tcp(&self, destination: &str, text: &str) -> String {
        let at = self.captures("virtualOutbound", destination.parse().unwrap());
        exchange(at, text, true).await
    }

    /// Waits for a record that has `part` in its line.
    pub(crate) async fn recorded(&self, part: &str) -> String {
        let lines = Arc::clone(&self.lines.0);
        let part = part.to_owned();
        let look = move || {
            mesh_test::eventually("the record", PATIENCE, || {
                let lines = lines.lock();
                let found = lines.iter().find(|line| line.contains(&part)).cloned();
                found.ok_or_else(|| format!("{part:?} in {lines:#?}"))
            })
        };
        mesh_rt::tasks::spawn_blocking("look", look).await.unwrap()
    }

    /// The sum of `istio_requests_total` over the series that have all of `labels`.
    pub(crate) fn requests(&self, labels: &[(&str, &str)]) -> u64 {
        let mut sum = 0;
        self.observed.standard.each_counter(|name, pairs, value| {
            let has = |(name, value): &(&str, &str)| {
                pairs.iter().any(|(label, found)| label == name && *found == **value)
            };
            if name == "istio_requests_total" && labels.iter().all(has) {
                sum += value;
            }
        });
        sum
    }

    pub(crate) fn stop(&self) {
        self.process.tasks.trigger().force();
    }
}

/// Sends bytes, and reads until the other end closes.
pub(crate) async fn talk(at: SocketAddr, text: &str) -> String {
    exchange(at, text, false).await
}

async fn exchange(at: SocketAddr, text: &str, then_end: bool) -> String {
    let talking = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        if then_end {
            let _refused = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _reset = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, talking).await.unwrap()
}

/// An HTTP/1.1 client on one connection.
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    pub(crate) async fn connect(tasks: &Tasks, at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn_background("client", connection);
        Self(sender)
    }

    /// Status, whether the connection goes on, and body of a GET.
    pub(crate) async fn get(&mut self, host: &str, path: &str) -> (u16, String) {
        let response = self.response(host, path).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn response(
        &mut self,
        host: &str,
        path: &str,
    ) -> Response<hyper::body::Incoming> {
        let request = Request::get(path).header("host", host).body(Empty::new()).unwrap();
        let exchange = async {
            self.0.ready().await.unwrap();
            self.0.send_request(request).await.unwrap()
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }
}

fn identity(ca: &TestCa, spiffe: &str) -> LiveIdentity {
    mesh_rt::crypto::install();
    let id: mesh_api::spiffe::SpiffeId = spiffe.parse().unwrap();
    let subject = CsrSubject { spiffe: id.clone(), algorithm: KeyAlgorithm::default() };
    let key = KeyAndCsr::generate(&subject).unwrap();
    let chain_pem = ca.sign(key.csr_pem(), &Leaf::spiffe(spiffe)).unwrap();
    let trust = TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap();
    let (issued, now) = (Issued { chain_pem }, std::time::SystemTime::now());
    let certificate =
        WorkloadCert::check(&issued, key.into_key(), &id, trust.certificates(), now).unwrap();
    let live = LiveIdentity::new();
    live.publish(certificate, trust);
    live
}
