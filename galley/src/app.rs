//! The only file that knows every part of galley.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use mesh_rt::admin::Admin;
use mesh_rt::grpc::Target;
use mesh_rt::identity::{
    CaClient, IdentityManager, IdentityOptions, LiveIdentity, TimeSource, TokenSource, tls,
};
use mesh_rt::net::ListenOptions;
use mesh_rt::process::{MainError, Process};
use mesh_rt::tls::{H2, Reloading};
use tracing::info;

use crate::settings::GalleySettings;
use crate::{trust, webhook};

/// How long dialling the certificate authority may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Starts the parts, with the Kubernetes API of the environment. The process is ready once it has
/// a certificate to serve with.
///
/// # Errors
/// A mesh configuration, a Kubernetes client or a socket that cannot be used.
pub async fn start(
    process: Process,
    settings: GalleySettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    let listener = process.sockets.listen(settings.webhook, ListenOptions::default())?;
    let client = Client::try_default().await?;
    let live = identity(&process, &settings).await?;
    webhook::start(&process, listener, &live)?;
    let (namespace, revision) = (settings.namespace.clone(), settings.revision.clone());
    let keep = trust::run(client, namespace, revision, live);
    let _detached = process.tasks.spawn_background("webhook trust", keep);
    Ok(admin)
}

/// Obtains and keeps galley's own certificate.
async fn identity(process: &Process, settings: &GalleySettings) -> Result<LiveIdentity, MainError> {
    let live = LiveIdentity::new();
    let own = settings.spiffe().await?;
    info!(identity = %own, authority = settings.authority, "validator");
    let config = tls::client_config(&live, tls::ServerCheck::DnsName, &[H2])?;
    let target = Target {
        authority: settings.authority.clone(),
        server_name: None,
        connect_timeout: CONNECT,
    };
    let token = TokenSource::File(settings.token.clone());
    let authority = CaClient::new(target, Reloading::new(config), token)
        .with_cluster_id(settings.cluster.as_str());
    let mut options = IdentityOptions::new(own);
    options.root_file = Some(settings.root.clone());
    let time = TimeSource::system();
    mesh_rt::identity::register_metrics(&process.metrics, live.clone(), time.clone());
    IdentityManager::new(live.clone(), options, vec![Arc::new(authority)], time)
        .start(&process.tasks, Some(&process.readiness));
    Ok(live)
}
