//! A client for the cluster that a kubeconfig names.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::error::Error;

/// A client for the current context of the kubeconfig at `path`.
pub async fn client(path: &Path) -> Result<Client, Error> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::Failed(format!("cannot use the kubeconfig {}: {error}", path.display()))
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(&error))?;
    Client::try_from(config).map_err(|error| unusable(&error))
}
