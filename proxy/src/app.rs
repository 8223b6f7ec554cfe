//! The only file that knows every part of proxy.

use mesh_rt::admin::Admin;
use mesh_rt::process::{MainError, Process};

use crate::settings::ProxySettings;

/// Starts the parts. The process serves admin and drains; it reports itself not ready, and
/// names what it waits for, as long as nothing serves `configuration`.
pub(crate) async fn start(
    process: Process,
    settings: ProxySettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    tracing::info!(node = %settings.bootstrap.node.id, workers = settings.workers, "proxy");
    let serving = process.readiness.block("configuration");
    process.tasks.spawn_background("configuration", {
        let drain = process.tasks.drain().clone();
        async move {
            drain.draining().await;
            drop(serving);
        }
    });
    Ok(admin)
}
