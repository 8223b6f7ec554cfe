//! The debug pages: who is connected and how far, what is known of the cluster, what a proxy should
//! have. Paths and shapes are Istio's, where Istio has the page.
//!
//! They show the whole mesh, so that callers from elsewhere prove that they are of the control
//! plane's namespace, or of one that is allowed, by a token for audience `istio-ca`.

mod distribution;
mod dump;
mod registry;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};
use mesh_rt::admin::index::{self, Link};
use mesh_rt::admin::{Admin, AdminReply, AdminRequest};
use mesh_rt::http_server::{json, text};
use pilot_model::generate::Generator;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::ingest::{Known, Standing};
use crate::settings::DebugSettings;
use crate::xds::auth::bearer;
use crate::xds::session::Context;
use crate::xds::status::Connection;

/// What the pages show.
pub struct Debug {
    /// Who may look.
    pub settings: DebugSettings,
    /// The control plane's namespace.
    pub namespace: String,
    /// What is known of the cluster.
    pub known: Arc<Known>,
    /// Who is connected.
    pub context: Arc<Context>,
    /// What generates configuration.
    pub generator: Arc<Generator>,
}

type Page = fn(&Debug, &AdminRequest) -> Result<Value, AdminReply>;

const PAGES: [(&str, &str, Page); 16] = [
    ("syncz", "what each proxy was sent and has acknowledged", Debug::syncz),
    ("adsz", "connected proxies and what they watch", Debug::adsz),
    ("connections", "connected proxies", Debug::connections),
    ("config_dump", "what a proxy should have: ?proxyID=<pod>.<namespace>", dump::config_dump),
    ("edsz", "the endpoints a proxy should have: ?proxyID=", dump::endpoints),
    ("ndsz", "the names a proxy should know: ?proxyID=", dump::names),
    (
        "config_distribution",
        "who has acknowledged an object: ?resource=<kind>/<namespace>/<name>",
        distribution::config_distribution,
    ),
    ("registryz", "services", registry::services),
    ("endpointz", "endpoints of services", registry::endpoints),
    ("instancesz", "what connected proxies serve", registry::instances),
    ("configz", "configuration objects, also those that are set aside", registry::config),
    ("mesh", "the mesh's settings", registry::mesh),
    ("clusterz", "clusters and their watches", Debug::clusterz),
    (
        "push_status",
        "the last publication, and what is wrong with configuration",
        dump::push_status,
    ),
    (
        "prometheus_targets",
        "the pods that ask to be scraped, for Prometheus' HTTP discovery",
        targets::prometheus_targets,
    ),
    ("list", "these pages", Debug::list),
];

/// Adds the pages.
#[must_use]
pub fn routes(admin: Admin, debug: Debug) -> Admin {
    if !debug.settings.enabled {
        return admin;
    }
    let debug = Arc::new(debug);
    let shared = debug.clone();
    let admin = admin.route(Method::GET, "/debug", move |request| {
        let debug = shared.clone();
        async move { debug.admit(&request).await.map_or_else(|refused| refused, |()| home()) }
    });
    PAGES.iter().fold(admin, |admin, (name, _, page)| {
        let (debug, page) = (debug.clone(), *page);
        admin.route(Method::GET, &format!("/debug/{name}"), move |request| {
            let debug = debug.clone();
            async move { answer(debug, page, request).await }
        })
    })
}

/// The pages, for browsers.
fn home() -> AdminReply {
    let paths: Vec<(String, &str)> =
        PAGES.iter().map(|(name, help, _)| (format!("/debug/{name}"), *help)).collect();
    let links: Vec<Link<'_>> =
        paths.iter().map(|(path, help)| Link { path, help, changes: false }).collect();
    index::page("Pilot debug pages", &links)
}

async fn answer(debug: Arc<Debug>, page: Page, request: AdminRequest) -> AdminReply {
    if let Err(refused) = debug.admit(&request).await {
        return refused;
    }
    // A page may show all configuration of a large mesh.
    let made = mesh_rt::tasks::spawn_blocking("debug page", move || page(&debug, &request)).await;
    match made {
        Ok(Ok(document)) => json(StatusCode::OK, &document),
        Ok(Err(refused)) => refused,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The page of that name.
#[cfg(test)]
pub(crate) async fn answer_by_name(
    debug: &Arc<Debug>,
    name: &str,
    request: AdminRequest,
) -> AdminReply {
    let page = PAGES.iter().find(|(known, _, _)| *known == name).unwrap();
    answer(debug.clone(), page.2, request).await
}

impl Debug {
    async fn admit(&self, request: &AdminRequest) -> Result<(), AdminReply> {
        if !self.settings.authenticate || request.is_local() {
            return Ok(());
        }
        let metadata = MetadataMap::from_headers(request.headers.clone());
        let Some(token) = bearer(&metadata) else {
            let help = "this page needs `authorization: Bearer` with a token for audience istio-ca";
            return Err(text(StatusCode::UNAUTHORIZED, format!("{help}\n")));
        };
        let caller = self.context.auth.review(token).await.map_err(|status| refusal(&status))?;
        let allowed = caller.namespace == self.namespace
            || self.settings.namespaces.contains(&caller.namespace);
        if allowed {
            return Ok(());
        }
        let reason = format!(
            "service accounts of namespace {:?} may not see this; DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES allows others\n",
            caller.namespace
        );
        Err(text(StatusCode::FORBIDDEN, reason))
    }

    /// The proxy that the request names.
    fn proxy(&self, request: &AdminRequest) -> Result<Arc<Connection>, AdminReply> {
        let Some(name) = request.query_value("proxyID").filter(|name| !name.is_empty()) else {
            let help = "which proxy? add ?proxyID=<pod>.<namespace>\n";
            return Err(text(StatusCode::BAD_REQUEST, help));
        };
        self.context.connections.find(&name).ok_or_else(|| {
            let reason = format!("no proxy {name:?} is connected to this replica\n");
            text(StatusCode::NOT_FOUND, reason)
        })
    }

    fn chosen(&self, request: &AdminRequest) -> Result<Vec<Arc<Connection>>, AdminReply> {
        match request.query_value("proxyID").filter(|name| !name.is_empty()) {
            Some(_) => Ok(vec![self.proxy(request)?]),
            None => Ok(self.context.connections.list()),
        }
    }

    fn syncz(&self, request: &AdminRequest) -> Result<Value, AdminReply> {
        let all = self.chosen(request)?;
        Ok(Value::from_iter(all.iter().map(|one| document(&one.sync_status()))))
    }

    fn adsz(&self, request: &AdminRequest) -> Result<Value, AdminReply> {
        let all = self.chosen(request)?;
        let clients = Value::from_iter(all.iter().map(|one| document(&one.client_status())));
        Ok(json!({ "totalClients": all.len(), "clients": clients }))
    }

    fn connections(&self, _request: &AdminRequest) -> Result<Value, AdminReply> {
        let all = self.context.connections.list();
        let one = |one: &Arc<Connection>| json!({ "connectionId": format!("{}-{}", one.node.id, one.id), "address": one.peer });
        let clients = Value::from_iter(all.iter().map(one));
        Ok(json!({ "totalClients": all.len(), "clients": clients }))
    }

    fn clusterz(&self, _request: &AdminRequest) -> Result<Value, AdminReply> {
        let kinds = self.known.kinds();
        let any = |wanted: fn(&Standing) -> bool| kinds.values().any(wanted);
        let status = if any(|standing| matches!(standing, Standing::Failing(_))) {
            "stale"
        } else if any(|standing| matches!(standing, Standing::Listing)) {
            "syncing"
        } else {
            "synced"
        };
        let watches: BTreeMap<String, String> =
            kinds.iter().map(|(kind, is)| (format!("{kind:?}"), is.to_string())).collect();
        let id = self.known.cluster.as_str();
        Ok(json!([{ "id": id, "secretName": "", "syncStatus": status, "watches": watches }]))
    }

    fn list(&self, _request: &AdminRequest) -> Result<Value, AdminReply> {
        let page = |(name, help, _): &(&str, &str, Page)| json!({ "href": format!("/debug/{name}"), "help": help });
        Ok(Value::from_iter(PAGES.iter().map(page)))
    }
}

/// Our own documents always have a JSON form.
fn document(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn refusal(status: &Status) -> AdminReply {
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(code, format!("{}\n", status.message()))
}

fn not_read_yet() -> AdminReply {
    text(StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read yet\n")
}
