//! `/certs`: the certificates and roots in use, without keys.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mesh_api::admin::{CertificateDetails, CertificateSet, Certificates};
use mesh_rt::admin::{AdminReply, AdminRequest};
use proxy_model::tls::{DataSource, SecretContent};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use super::config_dump::time;
use super::{Pages, pretty};

const DAY: u64 = 24 * 3600;

/// The page.
pub(super) fn page(pages: &Pages, _: &AdminRequest) -> AdminReply {
    let now = (pages.now)();
    let mut certificates = Vec::new();
    if let Some(current) = pages.live.current() {
        let trust = pages.live.trust();
        certificates.push(CertificateSet {
            ca_cert: details(trust.certificates().iter().map(AsRef::as_ref), "<inline>", now),
            cert_chain: details(current.chain().iter().map(AsRef::as_ref), "<inline>", now),
        });
    }
    let snapshot = pages.world.load();
    let mut secrets: Vec<_> = snapshot.secrets.held.values().collect();
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    for secret in secrets {
        let mut set = CertificateSet::default();
        match &secret.content {
            SecretContent::Certificate { chain, .. } => set.cert_chain = of_source(chain, now),
            SecretContent::Roots { roots, .. } => set.ca_cert = of_source(roots, now),
        }
        certificates.push(set);
    }
    pretty(&Certificates { certificates })
}

fn of_source(source: &DataSource, now: SystemTime) -> Vec<CertificateDetails> {
    match source {
        DataSource::Inline(pem) => {
            let parts: Vec<Pem> = Pem::iter_from_buffer(pem).filter_map(Result::ok).collect();
            details(parts.iter().map(|part| part.contents.as_slice()), "<inline>", now)
        }
        DataSource::File(path) => {
            let path = path.display().to_string();
            vec![CertificateDetails { path, ..CertificateDetails::default() }]
        }
    }
}

fn details<'a>(
    all: impl Iterator<Item = &'a [u8]>,
    path: &str,
    now: SystemTime,
) -> Vec<CertificateDetails> {
    let one = |der: &[u8]| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let at = |seconds: i64| {
            let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            SystemTime::UNIX_EPOCH + seconds
        };
        let validity = certificate.validity();
        let end = at(validity.not_after.timestamp());
        let left = end.duration_since(now).map_or(0, |left| left.as_secs() / DAY);
        Some(CertificateDetails {
            path: path.to_owned(),
            serial_number: format!("{:x}", certificate.serial),
            subject_alt_names: names(&certificate),
            days_until_expiration: left.to_string(),
            valid_from: time(at(validity.not_before.timestamp())),
            expiration_time: time(end),
        })
    };
    all.filter_map(one).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<BTreeMap<String, String>> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let one = |(key, value): (&str, String)| BTreeMap::from([(key.to_owned(), value)]);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(dns) => Some(one(("dns", (*dns).to_owned()))),
        GeneralName::URI(uri) => Some(one(("uri", (*uri).to_owned()))),
        GeneralName::IPAddress(bytes) => {
            let ip = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(std::net::IpAddr::from),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(std::net::IpAddr::from),
            };
            ip.map(|ip| one(("ip_address", ip.to_string())))
        }
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}
