//! The only file that knows every part of pilot.

use mesh_rt::admin::Admin;
use mesh_rt::process::{MainError, Process};

/// Starts the parts. The process serves admin and drains; it reports itself not ready, and
/// names what it waits for, as long as nothing serves `discovery`.
pub(crate) async fn start(process: Process, (): (), admin: Admin) -> Result<Admin, MainError> {
    let serving = process.readiness.block("discovery");
    process.tasks.spawn_background("discovery", {
        let drain = process.tasks.drain().clone();
        async move {
            drain.draining().await;
            drop(serving);
        }
    });
    Ok(admin)
}
