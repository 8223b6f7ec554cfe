//! A Bookinfo in this process: services on port 0, fakes that remember, a client that shows all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bookinfo::details::Details;
use bookinfo::productpage::{Limits, Productpage};
use bookinfo::ratings::{Ratings, Variant};
use bookinfo::reviews::Reviews;
use bookinfo::server::{App, AppRequest, AppResponse, serve};
use bookinfo::settings::{DetailsSettings, PORT, ProductpageSettings, ReviewsSettings, Upstream};
use http::{HeaderMap, StatusCode};
use mesh_rt::http_server::text;
use mesh_rt::net::{ListenOptions, listen};
use mesh_rt::process::{Component, Process};
use mesh_rt::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Long enough for any machine: only what is meant to time out has a shorter one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Shop {
    pub(crate) process: Process,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let component = Component { name: "test", metrics_prefix: "", admin: None };
        Self { process: Process::detached(component) }
    }

    pub(crate) fn start(&self, app: impl App) -> SocketAddr {
        let listener = port();
        let address = listener.local_addr().unwrap();
        serve(Arc::new(app), &self.process.tasks, listener);
        address
    }

    pub(crate) fn details(&self) -> SocketAddr {
        let settings = Settings::new(&[]);
        self.start(Details::new(DetailsSettings::read(&settings), &self.process))
    }

    pub(crate) fn ratings(&self) -> SocketAddr {
        self.start(Ratings::new(Variant::Plain))
    }

    pub(crate) fn reviews(&self, version: &str, ratings: SocketAddr) -> SocketAddr {
        let source = [("SERVICE_VERSION", version), ("HOSTNAME", "reviews-pod")];
        let mut settings = ReviewsSettings::read(&Settings::new(&source));
        settings.pod_name = format!("reviews-{version}-pod");
        settings.ratings = upstream("ratings", ratings);
        self.start(Reviews::new(settings, &self.process).with_limit(PATIENCE))
    }

    pub(crate) fn productpage(&self, with: Backends) -> SocketAddr {
        let settings = ProductpageSettings {
            details: upstream("details", with.details),
            reviews: upstream("reviews", with.reviews),
            ratings: upstream("ratings", with.ratings),
            flood_factor: with.flood,
            keep_alive: with.keep_alive,
        };
        let limits = Limits { call: with.patience, ..Limits::default() };
        self.start(Productpage::with_limits(settings, &self.process, limits))
    }

    /// All services, with this version of reviews.
    pub(crate) fn whole(&self, version: &str) -> SocketAddr {
        let ratings = self.ratings();
        let reviews = self.reviews(version, ratings);
        self.productpage(Backends { reviews, ratings, ..Backends::new(self.details()) })
    }

    /// A service that answers everything alike and passes on what it was asked.
    pub(crate) fn fake(
        &self,
        status: StatusCode,
        body: &'static str,
    ) -> (SocketAddr, mpsc::Receiver<AppRequest>) {
        let (asked, requests) = mpsc::channel(1000);
        (self.start(Fake { status, body, asked, silent: false }), requests)
    }

    /// A service that takes requests and never answers.
    pub(crate) fn silent(&self) -> (SocketAddr, mpsc::Receiver<AppRequest>) {
        let (asked, requests) = mpsc::channel(1000);
        let fake = Fake { status: StatusCode::OK, body: "", asked, silent: true };
        (self.start(fake), requests)
    }
}

/// What productpage is wired to.
pub(crate) struct Backends {
    pub(crate) details: SocketAddr,
    pub(crate) reviews: SocketAddr,
    pub(crate) ratings: SocketAddr,
    pub(crate) patience: Duration,
    pub(crate) flood: usize,
    pub(crate) keep_alive: bool,
}

impl Backends {
    /// Everything at `all`, which need not be there.
    pub(crate) fn new(all: SocketAddr) -> Self {
        Self {
            details: all,
            reviews: all,
            ratings: all,
            patience: PATIENCE,
            flood: 0,
            keep_alive: false,
        }
    }
}

struct Fake {
    status: StatusCode,
    body: &'static str,
    asked: mpsc::Sender<AppRequest>,
    silent: bool,
}

impl App for Fake {
    async fn answer(&self, request: AppRequest) -> AppResponse {
        // The test may have seen enough.
        let _sent = self.asked.send(request).await;
        if self.silent {
            std::future::pending::<()>().await;
        }
        text(self.status, self.body)
    }
}

pub(crate) fn upstream(name: &'static str, address: SocketAddr) -> Upstream {
    Upstream { name, authority: address.to_string() }
}

pub(crate) fn port() -> TcpListener {
    listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap()
}

/// An address where nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    let address = port().local_addr().unwrap();
    assert_ne!(address.port(), PORT);
    address
}

/// An answer, taken apart.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    get_with(address, path, &[]).await
}

pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, &format!("GET {path}"), headers, b"").await
}

/// Sends `method and path` with `headers` and `body` on a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{line} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may refuse and close before it has read all.
    let _sent = stream.write_all(body).await;
    let mut raw = Vec::new();
    let _read = stream.read_to_end(&mut raw).await;
    let raw = String::from_utf8(raw).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {raw:?}"));
    let (first, fields) = head.split_once("\r\n").unwrap();
    let mut parsed = HeaderMap::new();
    for (name, value) in fields.lines().filter_map(|line| line.split_once(": ")) {
        let name: http::HeaderName = name.parse().unwrap();
        parsed.append(name, value.parse().unwrap());
    }
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: parsed, body: body.to_owned() }
}
