//! Ending a cluster: pods first, while the API still answers; then the API; then the file.

use std::time::Duration;

use mesh_rt::signal::{ProcessSignals, drain_on_signal};
use mesh_rt::tasks::{Tasks, spawn_blocking};

use super::ClusterError;
use super::parts::Parts;

/// How long pods may take to end.
const PODS: Duration = Duration::from_secs(2);
/// How long pods and requests under way may take together.
const DEADLINE: Duration = Duration::from_secs(3);

/// Waits for SIGTERM or for a part that the cluster cannot do without to fail, then ends the rest.
pub(super) async fn wait(parts: Parts, tasks: &Tasks) -> Result<(), ClusterError> {
    let signals = ProcessSignals::install()
        .map_err(|source| ClusterError::Part { what: "handle signals", source })?;
    let guard = tasks.drain().guard("pods");
    let stop = async {
        tasks.drain().draining().await;
        // Pods that do not end in time end with this process.
        let _late = tokio::time::timeout(PODS, parts.kubelet.stop_pods()).await;
        parts.api.shutdown();
        drop(guard);
    };
    tokio::join!(drain_on_signal(signals, tasks.trigger(), DEADLINE), stop);
    let api = parts.api.clone();
    let flushed = spawn_blocking("flush", move || api.flush()).await;
    let part = |text: String| ClusterError::Part {
        what: "write the store to its file",
        source: std::io::Error::other(text),
    };
    flushed.map_err(|error| part(error.to_string()))?.map_err(|error| part(error.to_string()))?;
    match tasks.failures().first() {
        None => Ok(()),
        Some(failure) => Err(ClusterError::Part {
            what: "a part of the cluster failed",
            source: std::io::Error::other(failure.to_string()),
        }),
    }
}
