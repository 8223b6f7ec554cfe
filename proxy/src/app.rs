//! The only file that knows every part of proxy.

use mesh_rt::admin::Admin;
use mesh_rt::process::{MainError, Process};
use tracing::info;

use crate::settings::ProxySettings;
use crate::{identity, status};

/// Starts the parts. The process obtains its certificate, answers for its readiness and drains; it
/// reports itself not ready, and names what it waits for, as long as nothing serves
/// `configuration`.
pub async fn start(
    process: Process,
    settings: ProxySettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    let document = &settings.bootstrap;
    info!(node = %document.node.id, workers = settings.workers, "proxy");
    let serving = process.readiness.block("configuration");
    process.tasks.spawn_background("configuration", {
        let drain = process.tasks.drain().clone();
        async move {
            drain.draining().await;
            drop(serving);
        }
    });
    let _live = identity::start(&process, document)?;
    status::hold_drain(&process.tasks, &document.drain);
    let addresses = status::serve(&process, &document.status)?;
    info!(?addresses, "readiness and agent");
    Ok(admin)
}
