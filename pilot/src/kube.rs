//! What pilot reads of a Kubernetes API: the kinds, and the watches that follow them.

pub mod kinds;
pub mod watch;

use std::time::Duration;

use kube::{Client, Config};

/// Longer than a watch that nothing happens in, so that only what hangs is cut off.
const READ: Duration = Duration::from_secs(300);

/// The client of the cluster that pilot runs in.
///
/// # Errors
/// kube's, when the environment has no usable settings.
pub async fn client() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = Config::infer().await?;
    config.read_timeout = config.read_timeout.or(Some(READ));
    // Watches have a backoff of their own, which tells of failures; a review should fail early.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
