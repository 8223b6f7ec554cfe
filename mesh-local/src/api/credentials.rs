//! The cluster's certificate authority, the server's and the administrator's certificates, and
//! the key that signs service-account tokens.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

/// Names under which clients reach the server, besides those given.
const SERVER_NAMES: [&str; 8] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster",
    "kubernetes.default.svc.cluster.local",
];
const CA_YEARS: i64 = 10;
const LEAF_YEARS: i64 = 1;

/// Why there are no usable credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read or written.
    #[error("cannot use the credentials file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "the credentials file {} is damaged ({detail}); remove the folder it is in to make new \
         credentials (kubeconfigs and tokens given out before then stop working)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A key or certificate could not be made.
    #[error("cannot make credentials: {0}")]
    Crypto(String),
}

/// Keys and certificates of one cluster.
pub struct Credentials {
    ca_pem: String,
    ca: Issuer<'static, KeyPair>,
    server_chain: Vec<CertificateDer<'static>>,
    server_key: PrivateKeyDer<'static>,
    pub(super) token_key: KeyPair,
}

/// Where keys are kept between runs.
struct Folder<'a>(Option<&'a Path>);

impl Credentials {
    /// The credentials kept in `folder`, made when missing; `None` keeps nothing. The
    /// authority and the token key are kept; certificates are issued anew at each start.
    /// `names` are further names and addresses of the server.
    ///
    /// # Errors
    /// When files cannot be read or written or are damaged.
    pub fn open(
        folder: Option<&Path>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, CredentialsError> {
        let folder = Folder(folder);
        let (ca_pem, ca) = folder.authority(now)?;
        let token_key = folder.key("sa.key")?;
        let mut sans: Vec<String> = SERVER_NAMES.iter().map(|n| (*n).to_owned()).collect();
        sans.extend(names.iter().filter(|n| !SERVER_NAMES.contains(&n.as_str())).cloned());
        let mut params = CertificateParams::new(sans).map_err(crypto)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = issue(params, &ca, now)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self {
            ca_pem,
            ca,
            server_chain: vec![certificate.der().clone()],
            server_key: PrivateKeyDer::Pkcs8(key),
            token_key,
        })
    }

    /// The authority's certificate, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A client certificate and its key for a user in groups, as PEM.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn client_certificate(
        &self,
        user: &str,
        groups: &[&str],
        now: Timestamp,
    ) -> Result<(String, String), CredentialsError> {
        let mut params = CertificateParams::default();
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, user);
        for group in groups {
            name.push(DnType::OrganizationName, *group);
        }
        params.distinguished_name = name;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = issue(params, &self.ca, now)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// A kubeconfig for the administrator (group `system:masters`), with everything inline.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn admin_kubeconfig(
        &self,
        cluster: &str,
        server: &str,
        now: Timestamp,
    ) -> Result<String, CredentialsError> {
        let (certificate, key) =
            self.client_certificate("kubernetes-admin", &["system:masters"], now)?;
        let user = format!("{cluster}-admin");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": cluster,
            "clusters": [{"name": cluster, "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(&self.ca_pem),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": STANDARD.encode(certificate),
                "client-key-data": STANDARD.encode(key),
            }}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        });
        serde_saphyr::to_string(&config).map_err(crypto)
    }

    /// TLS for the server: its certificate, and client certificates of the authority when the
    /// client sends one.
    ///
    /// # Errors
    /// When the keys do not fit together.
    pub fn server_tls(&self) -> Result<rustls::ServerConfig, CredentialsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for certificate in pem_certificates(&self.ca_pem) {
            roots.add(certificate).map_err(crypto)?;
        }
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .map_err(crypto)?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(crypto)?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.server_chain.clone(), self.server_key.clone_key())
            .map_err(crypto)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Folder<'_> {
    fn authority(
        &self,
        now: Timestamp,
    ) -> Result<(String, Issuer<'static, KeyPair>), CredentialsError> {
        let key = self.key("ca.key")?;
        if let Some((path, pem)) = self.read("ca.crt")? {
            let damaged =
                |e: rcgen::Error| CredentialsError::Damaged { path, detail: e.to_string() };
            let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(damaged)?;
            return Ok((pem, issuer));
        }
        let mut params = CertificateParams::default();
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CommonName, "kubernetes");
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, now, CA_YEARS);
        let pem = params.self_signed(&key).map_err(crypto)?.pem();
        self.write("ca.crt", &pem)?;
        Ok((pem, Issuer::new(params, key)))
    }

    fn key(&self, name: &str) -> Result<KeyPair, CredentialsError> {
        if let Some((path, pem)) = self.read(name)? {
            return KeyPair::from_pem(&pem)
                .map_err(|e| CredentialsError::Damaged { path, detail: e.to_string() });
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        self.write(name, &key.serialize_pem())?;
        Ok(key)
    }

    fn read(&self, name: &str) -> Result<Option<(PathBuf, String)>, CredentialsError> {
        let Some(folder) = self.0 else { return Ok(None) };
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialsError::File { path, source }),
        }
    }

    /// Writes beside and renames, so that a crash never leaves half a key.
    fn write(&self, name: &str, content: &str) -> Result<(), CredentialsError> {
        let Some(folder) = self.0 else { return Ok(()) };
        let path = folder.join(name);
        let beside = folder.join(format!(".{name}.new"));
        let run = || {
            std::fs::create_dir_all(folder)?;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&beside)?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)
        };
        run().map_err(|source| CredentialsError::File { path: path.clone(), source })
    }
}

fn issue(
    mut params: CertificateParams,
    ca: &Issuer<'static, KeyPair>,
    now: Timestamp,
) -> Result<(rcgen::Certificate, KeyPair), CredentialsError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_YEARS);
    let certificate = params.signed_by(&key, ca).map_err(crypto)?;
    Ok((certificate, key))
}

/// Valid from yesterday, so that a clock that is a little behind does not matter.
fn set_validity(params: &mut CertificateParams, now: Timestamp, years: i64) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let ymd = |date: jiff::civil::Date| {
        let part = |n: i8| u8::try_from(n).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = ymd(today.saturating_sub(1.day()));
    params.not_after = ymd(today.saturating_add(years.years()));
}

/// The certificates of a PEM bundle; other blocks are passed over.
pub(super) fn pem_certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

fn crypto(error: impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Crypto(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::Timestamp;

    use super::{Credentials, CredentialsError};

    #[test]
    fn the_authority_is_kept_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pki");
        let now = Timestamp::now();
        let first = Credentials::open(Some(&folder), &[], now).unwrap();
        let second = Credentials::open(Some(&folder), &[], now).unwrap();
        assert_eq!(first.ca_pem(), second.ca_pem());
        assert_eq!(first.token_key.serialized_der(), second.token_key.serialized_der());
        second.server_tls().unwrap();
        for file in std::fs::read_dir(&folder).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(folder.join("ca.key"), "hello").unwrap();
        let error = Credentials::open(Some(&folder), &[], now).err();
        assert!(matches!(error, Some(CredentialsError::Damaged { .. })), "{error:?}");
    }
}
