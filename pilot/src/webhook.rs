//! The sidecar injector's webhook: served over HTTPS, its settings followed, its trust published.
//!
//! Read in this order: [`config`] (what pods are injected with), `server` (reviews over HTTPS),
//! [`ca_bundle`] (what makes the API server trust it).

pub mod ca_bundle;
pub mod config;
mod metrics;
mod server;

use std::sync::Arc;

use kube::Client;
use mesh_api::mesh_config::MeshConfig;
use mesh_rt::admin::Admin;
use mesh_rt::identity::LiveIdentity;
use mesh_rt::identity::tls::{ClientCertificates, server_config};
use mesh_rt::process::Process;
use mesh_rt::tls::{Reloading, TlsError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use self::metrics::InjectionMetrics;
use self::server::Injector;

/// Where the webhook listens.
pub const PORT: u16 = 15017;

/// What the webhook belongs to.
#[derive(Clone)]
pub struct WebhookOptions {
    /// The namespace of the control plane, where the injector's ConfigMap is.
    pub namespace: String,
    /// The revision of this control plane; `default` for the one without a name.
    pub revision: String,
    /// The mesh's settings, as they change.
    pub mesh: watch::Receiver<Arc<MeshConfig>>,
    /// The debug pages, which are served beside the reviews.
    pub pages: Admin,
}

/// Serves reviews on `listener` under the certificate of `live`, follows the injector's ConfigMap,
/// and keeps the roots of `live` in the webhook configurations of this revision. The process is
/// not ready before the ConfigMap has been looked for.
///
/// # Errors
/// [`TlsError`] when the provider lacks the usual TLS versions.
pub fn start(
    process: &Process,
    listener: TcpListener,
    live: &LiveIdentity,
    client: Client,
    options: WebhookOptions,
) -> Result<(), TlsError> {
    let tls = Reloading::new(server_config(live, ClientCertificates::None, &[b"http/1.1"])?);
    let WebhookOptions { namespace, revision, mesh, pages } = options;
    info!(address = ?listener.local_addr().ok(), revision, "injection webhook");
    let (publish, config) = watch::channel(None);
    let metrics = Arc::new(InjectionMetrics::new(&process.metrics));
    let injector = Injector { config, mesh, metrics, pages };
    server::serve(&process.tasks, listener, tls, injector);

    let loaded = process.readiness.block("injection settings");
    let name = config::config_map(&revision);
    let follow = config::follow(client.clone(), namespace, name, publish, loaded);
    let _detached = process.tasks.spawn_background("injection settings", follow);
    let patching = ca_bundle::run(client, revision, live.clone());
    let _detached = process.tasks.spawn_background("webhook trust", patching);
    Ok(())
}

#[cfg(test)]
mod tests;
