//! A public-key infrastructure for tests: roots, intermediates and leaves with any fault wanted.

use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};

/// An authority of a test, with the chain up to its root.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
    /// This authority's certificate first, its root last.
    chain: Vec<String>,
}

/// What a leaf says.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// URI names, usually one SPIFFE id.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// The beginning of its validity.
    pub not_before: SystemTime,
    /// The end of its validity.
    pub not_after: SystemTime,
}

impl Leaf {
    /// A leaf for a SPIFFE id, valid from a minute ago for an hour.
    pub fn spiffe(id: &str) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![id.to_owned()],
            dns: Vec::new(),
            not_before: now - Duration::from_secs(60),
            not_after: now + Duration::from_secs(3600),
        }
    }

    /// A leaf for a server with these DNS names, valid from a minute ago for an hour.
    pub fn server(names: &[&str]) -> Self {
        let dns = names.iter().map(|name| (*name).to_owned()).collect();
        Self { uris: Vec::new(), dns, ..Self::spiffe("") }
    }

    /// Also names `dns`.
    #[must_use]
    pub fn with_dns(mut self, dns: &str) -> Self {
        self.dns.push(dns.to_owned());
        self
    }

    /// Valid between these instants.
    #[must_use]
    pub fn between(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let text = |text: &String| Ia5String::try_from(text.as_str()).expect("an ASCII name");
        let uris = self.uris.iter().map(|uri| SanType::URI(text(uri)));
        let dns = self.dns.iter().map(|name| SanType::DnsName(text(name)));
        params.subject_alt_names = uris.chain(dns).collect();
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        params.not_before = epoch + since(self.not_before);
        params.not_after = epoch + since(self.not_after);
        params
    }
}

impl TestCa {
    /// A self-signed root called `name`.
    pub fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let key_pem = key.serialize_pem();
        let params = authority(name);
        let certificate = params.self_signed(&key).expect("a root");
        Self { issuer: Issuer::new(params, key), key_pem, chain: vec![certificate.pem()] }
    }

    /// An intermediate of this authority.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let key_pem = key.serialize_pem();
        let params = authority(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("an intermediate");
        let chain = std::iter::once(certificate.pem()).chain(self.chain.clone()).collect();
        Self { issuer: Issuer::new(params, key), key_pem, chain }
    }

    /// This authority's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.chain[0]
    }

    /// This authority's key.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The root it goes back to.
    pub fn root_pem(&self) -> &str {
        self.chain.last().expect("a root")
    }

    /// This authority's certificate and those above it, without the root.
    pub fn intermediates_pem(&self) -> String {
        self.chain[..self.chain.len() - 1].concat()
    }

    /// A leaf with a key of its own: the chain (leaf and intermediates) and the key, PEM.
    pub fn leaf(&self, leaf: &Leaf) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.certify(leaf, &key);
        (certificate + &self.intermediates_pem(), key.serialize_pem())
    }

    /// Answers a signing request as an authority of Istio's protocol does: the leaf first, the
    /// root last.
    ///
    /// # Errors
    /// A request that cannot be read.
    pub fn sign(&self, csr_pem: &str, leaf: &Leaf) -> Result<Vec<String>, String> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|error| error.to_string())?;
        let certificate = self.certify(leaf, &request.public_key);
        Ok(std::iter::once(certificate).chain(self.chain.clone()).collect())
    }

    fn certify(&self, leaf: &Leaf, key: &impl PublicKeyData) -> String {
        leaf.params().signed_by(key, &self.issuer).expect("a leaf").pem()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
