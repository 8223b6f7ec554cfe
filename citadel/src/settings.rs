//! What the environment says to citadel.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_api::mesh_config::MeshConfig;
use mesh_api::trust_domain::{TrustDomain, TrustDomains};
use mesh_rt::settings::Settings;

const HOUR: Duration = Duration::from_hours(1);

/// Citadel's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct CitadelSettings {
    /// `POD_NAMESPACE`: the control plane's namespace. `istio-system`.
    pub namespace: String,
    /// `SERVICE_ACCOUNT`: citadel's own. `istio-ca`.
    pub service_account: String,
    /// `TRUST_DOMAIN`: goes before the one of the mesh configuration.
    pub trust_domain: Option<TrustDomain>,
    /// `MESH_CONFIG_FILE`: the mounted key `mesh` of ConfigMap `istio`. `/etc/istio/config/mesh`.
    pub mesh_config: PathBuf,
    /// `CLUSTER_DOMAIN`: the cluster's DNS suffix. `cluster.local`.
    pub cluster_domain: String,
    /// `CITADEL_LISTEN`: where the certificate service listens. `0.0.0.0:15012`.
    pub listen: SocketAddr,
    /// `CA_TOKEN_AUDIENCE`: the audience tokens must have. `istio-ca`.
    pub audience: String,
    /// `DEFAULT_WORKLOAD_CERT_TTL`: a certificate's lifetime when none is asked for. 24 h.
    pub default_ttl: Duration,
    /// `MAX_WORKLOAD_CERT_TTL`: the longest lifetime. 90 days.
    pub max_ttl: Duration,
    /// `CITADEL_SELF_SIGNED_CA_CERT_TTL`: the lifetime of a root made here. 10 years.
    pub root_ttl: Duration,
}

/// A mesh configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mesh configuration {path}: {reason}; correct key mesh of ConfigMap istio")]
pub struct BadMeshConfig {
    path: String,
    reason: String,
}

impl CitadelSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15012));
        let domain = "lower-case letters, digits, '.', '-' and '_'";
        let read = Self {
            namespace: settings.string("POD_NAMESPACE", "istio-system"),
            service_account: settings.string("SERVICE_ACCOUNT", "istio-ca"),
            trust_domain: settings.parsed("TRUST_DOMAIN", domain),
            mesh_config: settings.path("MESH_CONFIG_FILE", "/etc/istio/config/mesh"),
            cluster_domain: settings.string("CLUSTER_DOMAIN", "cluster.local"),
            listen: settings.address("CITADEL_LISTEN", Some(listen)).unwrap_or(listen),
            audience: settings.string("CA_TOKEN_AUDIENCE", "istio-ca"),
            default_ttl: settings.duration("DEFAULT_WORKLOAD_CERT_TTL", 24 * HOUR),
            max_ttl: settings.duration("MAX_WORKLOAD_CERT_TTL", 90 * 24 * HOUR),
            root_ttl: settings.duration("CITADEL_SELF_SIGNED_CA_CERT_TTL", 10 * 365 * 24 * HOUR),
        };
        if read.default_ttl.is_zero() || read.default_ttl > read.max_ttl {
            let value = format!("{:?}", read.default_ttl);
            let accepted = "more than 0 and at most MAX_WORKLOAD_CERT_TTL";
            settings.reject("DEFAULT_WORKLOAD_CERT_TTL", Some(value), accepted);
        }
        read
    }

    /// The mesh's trust domains: of the mesh configuration, if its file is there; `TRUST_DOMAIN`
    /// replaces the primary one.
    ///
    /// # Errors
    /// [`BadMeshConfig`] when the file is there and cannot be used.
    pub async fn trust_domains(&self) -> Result<TrustDomains, BadMeshConfig> {
        let mut domains = match mesh_rt::files::read_bounded(&self.mesh_config).await {
            Ok(content) => parse(&self.mesh_config, &content)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => TrustDomains::default(),
            Err(error) => return Err(bad(&self.mesh_config, &error)),
        };
        if let Some(primary) = &self.trust_domain {
            domains.primary = primary.clone();
        }
        Ok(domains)
    }
}

fn parse(path: &Path, content: &[u8]) -> Result<TrustDomains, BadMeshConfig> {
    let text = std::str::from_utf8(content).map_err(|error| bad(path, &error))?;
    let config: MeshConfig = serde_saphyr::from_str(text).map_err(|error| bad(path, &error))?;
    let domain = |text: &String| TrustDomain::parse(text).map_err(|error| bad(path, &error));
    let primary = domain(&config.trust_domain)?;
    let aliases = config.trust_domain_aliases.iter().map(domain).collect::<Result<_, _>>()?;
    Ok(TrustDomains { primary, aliases })
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> BadMeshConfig {
    BadMeshConfig { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_trust_domain_comes_from_the_mesh_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mesh");
        let file_text = file.display().to_string();
        let env = [("MESH_CONFIG_FILE", file_text.as_str())];
        let settings = CitadelSettings::read(&Settings::new(&env));
        assert_eq!(settings.trust_domains().await.unwrap(), TrustDomains::default());
        std::fs::write(&file, "trustDomain: td\ntrustDomainAliases: [old]\n").unwrap();
        let found = settings.trust_domains().await.unwrap();
        assert_eq!((found.primary.as_str(), found.aliases[0].as_str()), ("td", "old"));
        std::fs::write(&file, "trustDomain: Upper\n").unwrap();
        let error = settings.trust_domains().await.unwrap_err().to_string();
        assert!(error.contains("ConfigMap istio"), "{error}");
    }

    #[test]
    fn lifetimes_must_fit() {
        let env = [("DEFAULT_WORKLOAD_CERT_TTL", "48h"), ("MAX_WORKLOAD_CERT_TTL", "24h")];
        let settings = Settings::new(&env);
        let _read = CitadelSettings::read(&settings);
        assert!(settings.finish().is_err());
    }
}
