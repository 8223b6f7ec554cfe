//! The admin pages on 127.0.0.1:15000: Envoy's paths and documents, and `/explain`.

mod certs;
mod clusters;
mod config_dump;
mod explain;
mod filter;
mod lifecycle;
mod listeners;
mod logging;
mod server;
pub mod stats;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use http::{Method, StatusCode};
use mesh_api::bootstrap::Bootstrap;
use mesh_rt::admin::index::{self, Link};
use mesh_rt::admin::{Admin, AdminReply, AdminRequest};
use mesh_rt::http_server::{reply, text};
use mesh_rt::identity::LiveIdentity;
use mesh_rt::process::Process;
use mesh_rt::readiness::BlockReady;
use mesh_rt::tasks::spawn_blocking;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::observe::recorder::Observed;
use crate::upstream::shared::SharedUpstreams;
use crate::world::World;

/// What the pages speak of.
#[derive(Clone)]
pub struct Parts {
    /// Readiness, logs, metrics, drain.
    pub process: Process,
    /// Who the proxy is.
    pub bootstrap: Arc<Bootstrap>,
    /// Its workers.
    pub workers: usize,
    /// Its configuration.
    pub world: Arc<World>,
    /// Endpoints in use.
    pub upstreams: Arc<SharedUpstreams>,
    /// What it saw of its traffic.
    pub observed: Observed,
    /// Its certificate.
    pub live: LiveIdentity,
    /// How many connections its listeners hold.
    pub connections: Arc<dyn Fn() -> usize + Send + Sync>,
    /// The time.
    pub now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// The pages. Cloning gives another handle.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    parts: Parts,
    started: Instant,
    logging: logging::Loggers,
    /// Held while `/healthcheck/fail` is in force.
    failed: Mutex<Option<BlockReady>>,
}

impl std::ops::Deref for Pages {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// Composes a page.
type Page = fn(&Pages, &AdminRequest) -> AdminReply;

/// Pages that only read, with what they say.
const READING: [(&str, Page, &str); 9] = [
    ("/certs", certs::page, "certificates and roots in use"),
    ("/clusters", clusters::page, "clusters and their endpoints (?format=json)"),
    (
        "/config_dump",
        config_dump::page,
        "configuration (?resource=, ?mask=, ?name_regex=, ?include_eds)",
    ),
    ("/listeners", listeners::page, "addresses that are listened on (?format=json)"),
    ("/memory", server::memory, "memory of the process"),
    ("/server_info", server::info, "version, state and options"),
    ("/stats", stats::page, "statistics (?filter=, ?usedonly, ?format=json|prometheus)"),
    ("/stats/prometheus", stats::prometheus_page, "statistics for Prometheus"),
    ("/ready", server::ready, "LIVE once the proxy serves"),
];

/// Pages that change something, with what they do.
const CHANGING: [(&str, Page, &str); 6] = [
    ("/drain_listeners", lifecycle::drain, "drains all listeners (POST)"),
    ("/healthcheck/fail", lifecycle::fail, "makes the proxy unready (POST)"),
    ("/healthcheck/ok", lifecycle::ok, "takes that back (POST)"),
    ("/logging", logging::set, "levels (POST ?level=debug, ?http=debug, ?paths=http:debug)"),
    ("/quitquitquit", lifecycle::quit, "ends the process (POST)"),
    ("/reset_counters", lifecycle::reset, "counters begin again (POST)"),
];

impl Pages {
    /// Pages about `parts`.
    pub fn new(parts: Parts) -> Self {
        let logging = logging::Loggers::new(parts.process.logging.clone());
        let failed = Mutex::new(None);
        Self(Arc::new(Inner { parts, started: Instant::now(), logging, failed }))
    }

    /// Adds the pages to the standard routes, in place of those of the same path.
    #[must_use]
    pub fn routes(&self, mut admin: Admin) -> Admin {
        for (path, page, _) in READING {
            admin = admin.route(Method::GET, path, self.off_thread(page));
        }
        for (path, page, _) in CHANGING {
            let pages = self.clone();
            let handler = move |request| std::future::ready(page(&pages, &request));
            admin = admin.route(Method::POST, path, handler);
        }
        let pages = self.clone();
        admin = admin.route(Method::GET, "/logging", move |request| {
            std::future::ready(logging::get(&pages, &request))
        });
        let pages = self.clone();
        admin = admin.route(Method::GET, "/explain", move |request| {
            let pages = pages.clone();
            async move { explain::page(&pages, &request).await }
        });
        let pages = self.clone();
        admin = admin.route(Method::POST, "/reopen_logs", move |_| {
            let pages = pages.clone();
            async move {
                pages.observed.logs.reopen().await;
                text(StatusCode::OK, "OK\n")
            }
        });
        admin.route(Method::GET, "/", |_| std::future::ready(home())).route(
            Method::GET,
            "/help",
            |_| std::future::ready(help()),
        )
    }

    /// Composes a page on a blocking thread: dumps of large meshes take a while.
    fn off_thread(
        &self,
        page: Page,
    ) -> impl Fn(AdminRequest) -> BoxFuture<'static, AdminReply> + Send + Sync + 'static {
        let pages = self.clone();
        move |request| {
            let pages = pages.clone();
            Box::pin(async move {
                let work = spawn_blocking("admin page", move || page(&pages, &request));
                work.await.unwrap_or_else(|error| {
                    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
                })
            })
        }
    }
}

/// All pages, in the order of their paths.
fn links() -> Vec<Link<'static>> {
    let link = |changes| {
        move |(path, _, help): &(&'static str, Page, &'static str)| Link { path, help, changes }
    };
    let mut links: Vec<_> =
        READING.iter().map(link(false)).chain(CHANGING.iter().map(link(true))).collect();
    for (path, help, changes) in [
        ("/explain", "what happens to a request, and why (?destination=, see the docs)", false),
        ("/help", "this page", false),
        ("/reopen_logs", "opens access log files anew (POST)", true),
    ] {
        links.push(Link { path, help, changes });
    }
    links.sort_unstable_by_key(|link| (link.path, link.help));
    links
}

/// For browsers.
fn home() -> AdminReply {
    index::page("Proxy admin", &links())
}

fn help() -> AdminReply {
    let links = links();
    let lines: String =
        links.iter().map(|link| format!("  {}: {}\n", link.path, link.help)).collect();
    text(StatusCode::OK, format!("admin commands are:\n{lines}"))
}

/// JSON for people and programs: indented, as Envoy writes it.
fn pretty(document: &impl serde::Serialize) -> AdminReply {
    match serde_json::to_vec_pretty(document) {
        Ok(body) => reply(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encoding: {error}\n")),
    }
}

/// Whether a page is wanted in JSON.
fn wants_json(request: &AdminRequest) -> bool {
    request.query_value("format").is_some_and(|format| format == "json")
}
