//! What the environment says to pilot.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mesh_api::key::{ClusterId, Revision};
use mesh_api::mesh_config::MeshConfig;
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::spiffe::SpiffeId;
use mesh_api::trust_domain::{TrustDomain, TrustDomains};
use mesh_rt::settings::Settings;

use crate::debounce::Quiet;

/// Where pilot listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `PILOT_SECURE_GRPC_ADDR`: discovery and certificates over TLS. `0.0.0.0:15012`.
    pub secure: SocketAddr,
    /// `PILOT_GRPC_ADDR`: discovery in clear, where nobody proves who they are. `off`.
    pub plaintext: Option<SocketAddr>,
    /// `PILOT_HTTPS_ADDR`: webhooks, or `off`. `0.0.0.0:15017`.
    pub webhooks: Option<SocketAddr>,
    /// `PILOT_HTTP_ADDR`: readiness and debug pages, or `off`. `0.0.0.0:8080`.
    pub http: Option<SocketAddr>,
}

/// Who may read the debug pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugSettings {
    /// `ENABLE_DEBUG_ON_HTTP`: whether there are debug pages. true.
    pub enabled: bool,
    /// `ENABLE_DEBUG_ENDPOINT_AUTH`: whether callers from elsewhere must bring a token. true.
    pub authenticate: bool,
    /// `DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES`: whose tokens count, besides those of the control
    /// plane's namespace.
    pub namespaces: Vec<String>,
}

/// Pilot's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct PilotSettings {
    /// `POD_NAME`: this replica. `istiod`.
    pub pod: String,
    /// `POD_NAMESPACE`: the control plane's namespace. `istio-system`.
    pub namespace: Namespace,
    /// `SERVICE_ACCOUNT`: pilot's own. `istiod`.
    pub service_account: ObjectName,
    /// `REVISION`: which control plane of several. `default`, which adds nothing to names.
    pub revision: Option<Revision>,
    /// `CLUSTER_ID`: the cluster that pilot runs in. `Kubernetes`.
    pub cluster: ClusterId,
    /// `CLUSTER_DOMAIN`: the cluster's DNS suffix. `cluster.local`.
    pub domain: String,
    /// `TRUST_DOMAIN`: goes before the one of the mesh configuration.
    pub trust_domain: Option<TrustDomain>,
    /// `MESH_CONFIG_FILE`: the mounted key `mesh` of the mesh's ConfigMap, for the trust domains.
    /// `/etc/istio/config/mesh`.
    pub mesh_config: PathBuf,
    /// `CA_ADDR`: the certificate authority. `istio-ca.<namespace>.svc:15012`.
    pub authority: String,
    /// `CA_TOKEN_FILE`: pilot's own token. `/var/run/secrets/tokens/istio-token`.
    pub token: PathBuf,
    /// `CA_ROOT_FILE`: the authority's root. `/var/run/secrets/istio/root-cert.pem`.
    pub root: PathBuf,
    /// `PILOT_DEBOUNCE_AFTER` (100 ms) and `PILOT_DEBOUNCE_MAX` (10 s).
    pub quiet: Quiet,
    /// `PILOT_PUSH_THROTTLE`: pushes computed at the same time. 0: 15 and 5 per processor, at most
    /// 100.
    pub pushes: usize,
    /// `PILOT_ENABLE_XDS_IDENTITY_CHECK`: whether proxies must be who they say. true.
    pub check_node: bool,
    /// Where it listens.
    pub addresses: Addresses,
    /// The debug pages.
    pub debug: DebugSettings,
}

/// A mesh configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mesh configuration {path}: {reason}; correct key mesh of ConfigMap istio[-<revision>]")]
pub struct BadMeshConfig {
    path: String,
    reason: String,
}

impl PilotSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>) -> Self {
        let namespace = named(settings, "POD_NAMESPACE", "istio-system", Namespace::parse);
        let revision = named(settings, "REVISION", "default", Revision::parse);
        let revision = revision.filter(|revision| revision.as_str() != "default");
        let authority =
            namespace.as_ref().map_or_else(String::new, |n| format!("istio-ca.{n}.svc:15012"));
        let after = Quiet::default();
        let after = Quiet {
            after: settings.duration("PILOT_DEBOUNCE_AFTER", after.after),
            max: settings.duration("PILOT_DEBOUNCE_MAX", after.max),
        };
        if after.max < after.after {
            let accepted = "at least PILOT_DEBOUNCE_AFTER";
            settings.reject("PILOT_DEBOUNCE_MAX", Some(format!("{:?}", after.max)), accepted);
        }
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let secure = settings.address("PILOT_SECURE_GRPC_ADDR", Some(any(15012)));
        if secure.is_none() {
            let accepted = "an address: discovery cannot be off";
            settings.reject("PILOT_SECURE_GRPC_ADDR", Some("off".to_owned()), accepted);
        }
        let domain = "lower-case letters, digits, '.', '-' and '_'";
        Self {
            pod: settings.string("POD_NAME", "istiod"),
            service_account: named(settings, "SERVICE_ACCOUNT", "istiod", ObjectName::parse)
                .unwrap_or_else(|| fallback("istiod", ObjectName::parse)),
            cluster: named(settings, "CLUSTER_ID", "Kubernetes", ClusterId::parse)
                .unwrap_or_default(),
            domain: settings.string("CLUSTER_DOMAIN", "cluster.local"),
            trust_domain: settings.parsed("TRUST_DOMAIN", domain),
            mesh_config: settings.path("MESH_CONFIG_FILE", "/etc/istio/config/mesh"),
            authority: settings.string("CA_ADDR", &authority),
            token: settings.path("CA_TOKEN_FILE", "/var/run/secrets/tokens/istio-token"),
            root: settings.path("CA_ROOT_FILE", "/var/run/secrets/istio/root-cert.pem"),
            quiet: after,
            pushes: settings.int("PILOT_PUSH_THROTTLE", 0, 0..=10_000),
            check_node: settings.bool("PILOT_ENABLE_XDS_IDENTITY_CHECK", true),
            addresses: Addresses {
                secure: secure.unwrap_or_else(|| any(15012)),
                plaintext: settings.address("PILOT_GRPC_ADDR", None),
                webhooks: settings.address("PILOT_HTTPS_ADDR", Some(any(15017))),
                http: settings.address("PILOT_HTTP_ADDR", Some(any(8080))),
            },
            debug: DebugSettings {
                enabled: settings.bool("ENABLE_DEBUG_ON_HTTP", true),
                authenticate: settings.bool("ENABLE_DEBUG_ENDPOINT_AUTH", true),
                namespaces: settings.list("DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES"),
            },
            namespace: namespace.unwrap_or_else(|| fallback("istio-system", Namespace::parse)),
            revision,
        }
    }

    /// A name with the revision at its end, unless that is the default one.
    #[must_use]
    pub fn suffixed(&self, name: &str) -> String {
        self.revision.as_ref().map_or_else(|| name.to_owned(), |revision| revision.suffixed(name))
    }

    /// The revision's name.
    #[must_use]
    pub fn revision_name(&self) -> &str {
        self.revision.as_ref().map_or("default", Revision::as_str)
    }

    /// Pushes computed at the same time on a machine with that many processors.
    #[must_use]
    pub fn pushes_at_once(&self, processors: usize) -> usize {
        match self.pushes {
            0 => (15 + 5 * processors).min(100),
            set => set,
        }
    }

    /// Who pilot is.
    #[must_use]
    pub fn spiffe(&self, domains: &TrustDomains) -> SpiffeId {
        SpiffeId {
            trust_domain: domains.primary.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
        }
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

fn named<T, E: std::fmt::Display>(
    settings: &Settings<'_>,
    variable: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let text = settings.string(variable, default);
    match parse(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            settings.reject(variable, Some(text), &error.to_string());
            None
        }
    }
}

/// What stands for a rejected value: the process does not start with it.
#[expect(clippy::expect_used, reason = "the names are constants of this file")]
fn fallback<T, E: std::fmt::Debug>(name: &str, parse: impl Fn(&str) -> Result<T, E>) -> T {
    parse(name).expect("a default is valid")
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn defaults_are_istios() {
        let env: [(&str, &str); 0] = [];
        let settings = Settings::new(&env);
        let read = PilotSettings::read(&settings);
        assert!(settings.finish().is_ok());
        assert_eq!(read.authority, "istio-ca.istio-system.svc:15012");
        assert_eq!(read.addresses.plaintext, None);
        assert_eq!(read.quiet, Quiet::default());
        assert_eq!((read.pushes_at_once(4), read.pushes_at_once(64)), (35, 100));
        assert_eq!(read.suffixed("istio"), "istio");
        assert_eq!(read.revision_name(), "default");
        let id = "spiffe://cluster.local/ns/istio-system/sa/istiod";
        let read = PilotSettings::read(&settings);
        assert_eq!(read.spiffe(&TrustDomains::default()).to_string(), id);
    }

    #[test]
    fn values_count_and_bad_ones_are_named() {
        let env = [
            ("REVISION", "canary"),
            ("PILOT_PUSH_THROTTLE", "7"),
            ("PILOT_DEBOUNCE_AFTER", "1s"),
            ("PILOT_GRPC_ADDR", "0.0.0.0:15010"),
            ("PILOT_HTTP_ADDR", "off"),
            ("DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES", "a, b"),
        ];
        let settings = Settings::new(&env);
        let read = PilotSettings::read(&settings);
        assert!(settings.finish().is_ok());
        assert_eq!(read.suffixed("istio"), "istio-canary");
        assert_eq!(read.pushes_at_once(4), 7);
        assert_eq!(read.quiet.after, Duration::from_secs(1));
        assert_eq!(read.addresses.plaintext.map(|address| address.port()), Some(15010));
        assert_eq!(read.addresses.http, None);
        assert_eq!(read.debug.namespaces, ["a", "b"]);

        let env = [
            ("REVISION", "Not One"),
            ("CLUSTER_ID", ""),
            ("POD_NAMESPACE", "a b"),
            ("PILOT_DEBOUNCE_MAX", "1ms"),
            ("PILOT_SECURE_GRPC_ADDR", "off"),
        ];
        let settings = Settings::new(&env);
        let _read = PilotSettings::read(&settings);
        let bad = settings.finish().unwrap_err().to_string();
        for name in ["REVISION", "POD_NAMESPACE", "PILOT_DEBOUNCE_MAX", "PILOT_SECURE_GRPC_ADDR"] {
            assert!(bad.contains(name), "{name}: {bad}");
        }
        assert!(!bad.contains("CLUSTER_ID"), "{bad}");
    }
}
