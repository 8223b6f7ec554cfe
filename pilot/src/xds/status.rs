//! Who is connected and how far each is: what `/debug/syncz` and `/debug/adsz` show.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::admin::SyncStatus;
use mesh_api::lateen::config::{ConfigReport, ResourceReport, resource_report::Grade};
use mesh_api::type_url::TypeUrl;
use parking_lot::Mutex;
use serde::Serialize;

use super::source::ProxyNode;
use super::subscription::Progress;
use crate::distribution::Distribution;

/// Resources one proxy may report on; further ones are not kept.
const MAX_REPORTS: usize = 1024;

/// All connected proxies.
#[derive(Default)]
pub struct Connections {
    /// What is noted of who has what.
    pub distribution: Arc<Distribution>,
    by_id: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// One connected proxy.
pub struct Connection {
    /// Its number.
    pub id: u64,
    /// The peer's address.
    pub peer: String,
    /// The proxy.
    pub node: Arc<ProxyNode>,
    distribution: Arc<Distribution>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Vec<(TypeUrl, Progress)>,
    /// The generation that was last told to be acknowledged.
    told: u64,
    reports: BTreeMap<(String, String), ResourceReport>,
}

/// A proxy in `/debug/adsz`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientStatus {
    connection_id: String,
    proxy: String,
    address: String,
    on_demand: bool,
    watches: BTreeMap<String, WatchStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reports: Vec<ReportStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WatchStatus {
    nonce_sent: String,
    nonce_acked: String,
    generation_sent: u64,
    generation_acked: u64,
    wildcard: bool,
    names: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportStatus {
    type_url: String,
    name: String,
    version: String,
    grade: &'static str,
    field_path: String,
    reason: String,
}

impl Connections {
    /// Adds a proxy.
    pub fn add(&self, id: u64, peer: String, node: Arc<ProxyNode>) -> Arc<Connection> {
        let (distribution, state) = (self.distribution.clone(), Mutex::default());
        let connection = Arc::new(Connection { id, peer, node, distribution, state });
        self.by_id.lock().insert(id, connection.clone());
        connection
    }

    /// Takes a proxy out, once it has left the queue of pushes.
    pub fn remove(&self, id: u64) {
        self.by_id.lock().remove(&id);
        self.distribution.gone(id);
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Connection>> {
        self.by_id.lock().values().cloned().collect()
    }

    /// The proxy of that name: `<pod>.<namespace>`, or its whole id.
    #[must_use]
    pub fn find(&self, proxy: &str) -> Option<Arc<Connection>> {
        let all = self.list();
        all.into_iter().rev().find(|c| c.proxy() == proxy || c.node.id.to_string() == proxy)
    }
}

impl Connection {
    /// `<pod>.<namespace>`.
    #[must_use]
    pub fn proxy(&self) -> String {
        format!("{}.{}", self.node.id.name, self.node.id.namespace)
    }

    /// Notes how far the proxy is.
    pub fn note<'a>(&self, progress: impl Iterator<Item = (&'a TypeUrl, Progress)>) {
        let progress: Vec<_> = progress.map(|(ty, p)| (ty.clone(), p)).collect();
        let generation = oldest(&progress);
        let mut state = self.state.lock();
        state.progress = progress;
        let news = generation > state.told;
        state.told = generation.max(state.told);
        drop(state);
        if news {
            self.distribution.acknowledged(self.id, generation);
        }
    }

    /// Notes what the proxy reports; resources that are simply accepted are not kept.
    pub fn report(&self, report: ConfigReport) {
        let reports = &mut self.state.lock().reports;
        for resource in report.resources {
            let key = (resource.type_url.clone(), resource.name.clone());
            if resource.grade() == Grade::Accepted {
                reports.remove(&key);
            } else if reports.len() < MAX_REPORTS || reports.contains_key(&key) {
                reports.insert(key, resource);
            }
        }
    }

    /// The oldest generation that it has acknowledged of a type it watches.
    #[must_use]
    pub fn generation(&self) -> u64 {
        oldest(&self.state.lock().progress)
    }

    /// Why it refused what it was sent last, by type.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let state = self.state.lock();
        let refused = state.progress.iter().filter_map(|(ty, progress)| {
            progress.error.as_ref().map(|error| format!("it refused {}: {error}", ty.short()))
        });
        refused.collect()
    }

    /// As in `/debug/syncz`.
    #[must_use]
    pub fn sync_status(&self) -> SyncStatus {
        let metadata = &self.node.metadata;
        let version = metadata.istio_version.clone().unwrap_or_default();
        let mut status = SyncStatus {
            cluster_id: metadata.cluster_id.clone().unwrap_or_default(),
            proxy: self.proxy(),
            proxy_type: self.node.id.node_type.to_string(),
            proxy_version: version.clone(),
            istio_version: version,
            ..SyncStatus::default()
        };
        for (ty, Progress { sent, acked, .. }) in &self.state.lock().progress {
            let (to_sent, to_acked) = match ty {
                TypeUrl::Cluster => (&mut status.cluster_sent, &mut status.cluster_acked),
                TypeUrl::Listener => (&mut status.listener_sent, &mut status.listener_acked),
                TypeUrl::Route => (&mut status.route_sent, &mut status.route_acked),
                TypeUrl::Endpoint => (&mut status.endpoint_sent, &mut status.endpoint_acked),
                TypeUrl::Extension => {
                    (&mut status.extensionconfig_sent, &mut status.extensionconfig_acked)
                }
                _ => continue,
            };
            to_sent.clone_from(sent);
            to_acked.clone_from(acked);
        }
        status
    }

    /// As in `/debug/adsz`.
    #[must_use]
    pub fn client_status(&self) -> ClientStatus {
        let state = self.state.lock();
        let watch = |(ty, progress): &(TypeUrl, Progress)| {
            let watch = WatchStatus {
                nonce_sent: progress.sent.clone(),
                nonce_acked: progress.acked.clone(),
                generation_sent: progress.sent_generation,
                generation_acked: progress.acked_generation,
                wildcard: progress.wildcard,
                names: progress.names,
                error: progress.error.clone(),
            };
            (ty.to_string(), watch)
        };
        let report = |report: &ResourceReport| ReportStatus {
            type_url: report.type_url.clone(),
            name: report.name.clone(),
            version: report.version.clone(),
            grade: report.grade().as_str_name(),
            field_path: report.field_path.clone(),
            reason: report.reason.clone(),
        };
        ClientStatus {
            connection_id: format!("{}-{}", self.node.id, self.id),
            proxy: self.proxy(),
            address: self.peer.clone(),
            on_demand: self.node.has_feature(mesh_api::lateen::ON_DEMAND_FEATURE),
            watches: state.progress.iter().map(watch).collect(),
            reports: state.reports.values().map(report).collect(),
        }
    }
}

/// The oldest generation acknowledged of any type; 0 when there is none.
fn oldest(progress: &[(TypeUrl, Progress)]) -> u64 {
    progress.iter().map(|(_, progress)| progress.acked_generation).min().unwrap_or(0)
}
