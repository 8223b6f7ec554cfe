//! `meshctl proxy-config secret`. Private keys are not in a dump, and would not be shown.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use super::dump::text;
use super::table::Table;

/// The table of secrets; `now` decides whether a certificate is valid.
pub fn table(secrets: &[(&Value, &'static str)], now: Timestamp) -> Table {
    let mut table = Table::new([
        "RESOURCE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ]);
    for (secret, state) in secrets {
        let (kind, pem) = certificate(secret);
        let facts = pem.as_deref().and_then(|pem| Facts::of(pem, now));
        let facts = facts.unwrap_or_default();
        let name = text(secret, &["name"]).to_owned();
        let valid = facts.valid.to_string();
        let (kind, state) = (kind.to_owned(), (*state).to_owned());
        table.row([name, kind, state, valid, facts.serial, facts.not_after, facts.not_before]);
    }
    table
}

/// What sort of secret it is, and its certificates in PEM where they are inline.
fn certificate(secret: &Value) -> (&'static str, Option<Vec<u8>>) {
    let inline = |path: [&str; 2]| {
        let bytes = text(secret, &[path[0], path[1], "inline_bytes"]);
        if bytes.is_empty() {
            let text = text(secret, &[path[0], path[1], "inline_string"]);
            return (!text.is_empty()).then(|| text.as_bytes().to_vec());
        }
        BASE64_STANDARD.decode(bytes).ok()
    };
    if secret.get("tls_certificate").is_some() {
        ("Cert Chain", inline(["tls_certificate", "certificate_chain"]))
    } else if secret.get("validation_context").is_some() {
        ("CA", inline(["validation_context", "trusted_ca"]))
    } else {
        ("UNKNOWN", None)
    }
}

/// What is shown of the first certificate of a chain.
#[derive(Default)]
struct Facts {
    valid: bool,
    serial: String,
    not_after: String,
    not_before: String,
}

impl Facts {
    fn of(pem: &[u8], now: Timestamp) -> Option<Self> {
        let first = Pem::iter_from_buffer(pem).next()?.ok()?;
        let (_rest, certificate) = X509Certificate::from_der(&first.contents).ok()?;
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let shown = |second| Timestamp::from_second(second).map(|at| at.to_string());
        Some(Self {
            valid: (from..=to).contains(&now.as_second()),
            serial: format!("{:x}", certificate.serial),
            not_after: shown(to).ok()?,
            not_before: shown(from).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_without_a_readable_certificate_is_listed_as_not_valid() {
        let broken = json!({"name": "default",
            "tls_certificate": {"certificate_chain": {"inline_bytes": "bm90IGEgY2VydA=="}}});
        let other = json!({"name": "ticket"});
        let text = table(&[(&broken, "ACTIVE"), (&other, "WARMING")], Timestamp::UNIX_EPOCH).text();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[1], "default Cert Chain ACTIVE false");
        assert_eq!(lines[2], "ticket UNKNOWN WARMING false");
    }
}
