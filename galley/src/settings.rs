//! What the environment says to galley.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mesh_api::key::ClusterId;
use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::spiffe::SpiffeId;
use mesh_api::trust_domain::TrustDomain;
use mesh_rt::settings::Settings;

/// Galley's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct GalleySettings {
    /// `POD_NAMESPACE`: the control plane's namespace. `istio-system`.
    pub namespace: String,
    /// `SERVICE_ACCOUNT`: galley's own. `istio-galley`.
    pub service_account: String,
    /// `REVISION`: which control plane of several. `default`.
    pub revision: String,
    /// `CLUSTER_ID`: the cluster that galley runs in. `Kubernetes`.
    pub cluster: ClusterId,
    /// `TRUST_DOMAIN`: goes before the one of the mesh configuration.
    pub trust_domain: Option<TrustDomain>,
    /// `MESH_CONFIG_FILE`: the mounted key `mesh` of ConfigMap `istio`. `/etc/istio/config/mesh`.
    pub mesh_config: PathBuf,
    /// `CA_ADDR`: the certificate authority. `istio-ca.<namespace>.svc:15012`.
    pub authority: String,
    /// `CA_TOKEN_FILE`: galley's own token. `/var/run/secrets/tokens/istio-token`.
    pub token: PathBuf,
    /// `CA_ROOT_FILE`: the authority's root. `/var/run/secrets/istio/root-cert.pem`.
    pub root: PathBuf,
    /// `GALLEY_HTTPS_ADDR`: the webhook. `0.0.0.0:15017`.
    pub webhook: SocketAddr,
}

/// Settings that cannot be used together with the cluster they are for.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The mesh configuration cannot be read.
    #[error("mesh configuration {path}: {reason}; correct key mesh of ConfigMap istio")]
    MeshConfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `POD_NAMESPACE` or `SERVICE_ACCOUNT` is no name.
    #[error("the identity of galley: {0}; correct POD_NAMESPACE or SERVICE_ACCOUNT")]
    Identity(#[from] mesh_api::name::NameError),
}

impl GalleySettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let namespace = settings.string("POD_NAMESPACE", "istio-system");
        let authority = format!("istio-ca.{namespace}.svc:15012");
        let webhook = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15017));
        let cluster = settings.string("CLUSTER_ID", "Kubernetes");
        let cluster = ClusterId::parse(&cluster).unwrap_or_else(|error| {
            settings.reject("CLUSTER_ID", Some(cluster), &error.to_string());
            ClusterId::default()
        });
        Self {
            service_account: settings.string("SERVICE_ACCOUNT", "istio-galley"),
            revision: settings.string("REVISION", "default"),
            cluster,
            trust_domain: settings
                .parsed("TRUST_DOMAIN", "lower-case letters, digits, '.', '-', '_'"),
            mesh_config: settings.path("MESH_CONFIG_FILE", "/etc/istio/config/mesh"),
            authority: settings.string("CA_ADDR", &authority),
            token: settings.path("CA_TOKEN_FILE", "/var/run/secrets/tokens/istio-token"),
            root: settings.path("CA_ROOT_FILE", "/var/run/secrets/istio/root-cert.pem"),
            webhook: settings.address("GALLEY_HTTPS_ADDR", Some(webhook)).unwrap_or(webhook),
            namespace,
        }
    }

    /// Who galley is: its account in the mesh's trust domain, which `TRUST_DOMAIN` says, or the
    /// mesh configuration, if its file is there.
    ///
    /// # Errors
    /// [`BadSettings`] when the file is there and cannot be used, or a name is none.
    pub async fn spiffe(&self) -> Result<SpiffeId, BadSettings> {
        let trust_domain = match &self.trust_domain {
            Some(domain) => domain.clone(),
            None => match mesh_rt::files::read_bounded(&self.mesh_config).await {
                Ok(content) => domain(&self.mesh_config, &content)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    TrustDomain::default()
                }
                Err(error) => return Err(bad(&self.mesh_config, &error)),
            },
        };
        Ok(SpiffeId {
            trust_domain,
            namespace: Namespace::parse(&self.namespace)?,
            service_account: ObjectName::parse(&self.service_account)?,
        })
    }
}

fn domain(path: &Path, content: &[u8]) -> Result<TrustDomain, BadSettings> {
    let text = std::str::from_utf8(content).map_err(|error| bad(path, &error))?;
    let config: MeshConfig = serde_saphyr::from_str(text).map_err(|error| bad(path, &error))?;
    TrustDomain::parse(&config.trust_domain).map_err(|error| bad(path, &error))
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> BadSettings {
    BadSettings::MeshConfig { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(env: [(&str, &str); N]) -> GalleySettings {
        let settings = Settings::new(&env);
        let read = GalleySettings::read(&settings);
        assert!(settings.finish().is_ok());
        read
    }

    #[tokio::test]
    async fn galley_is_its_account_in_the_meshs_trust_domain() {
        let absent = [("MESH_CONFIG_FILE", "/nonexistent/mesh")];
        let id = read(absent).spiffe().await.unwrap().to_string();
        assert_eq!(id, "spiffe://cluster.local/ns/istio-system/sa/istio-galley");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh");
        std::fs::write(&path, "trustDomain: example.org\n").unwrap();
        let file = path.display().to_string();
        let settings = read([("MESH_CONFIG_FILE", &file), ("POD_NAMESPACE", "mesh")]);
        assert_eq!(settings.authority, "istio-ca.mesh.svc:15012");
        let id = settings.spiffe().await.unwrap().to_string();
        assert_eq!(id, "spiffe://example.org/ns/mesh/sa/istio-galley");
        std::fs::write(&path, "[").unwrap();
        let error = settings.spiffe().await.unwrap_err().to_string();
        assert!(error.contains(&file) && error.contains("key mesh"), "{error}");
    }
}
