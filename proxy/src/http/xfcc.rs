//! `x-forwarded-client-cert`, in Envoy's form: elements separated by commas, each of
//! `By`, `Hash`, `Cert`, `Chain`, `Subject`, `URI` and `DNS`.

use std::fmt::Write;
use std::sync::Arc;

/// What the header says of one certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Element<'a> {
    /// The URI names of the certificate this proxy showed.
    pub by: &'a [Arc<str>],
    /// SHA-256 of the client's certificate, in lower-case hexadecimal digits.
    pub hash: &'a str,
    /// The client certificate in URL-encoded PEM, when it is to be sent.
    pub cert: Option<&'a str>,
    /// The distinguished name, when it is to be sent; may be empty.
    pub subject: Option<&'a str>,
    /// The URI names, when they are to be sent.
    pub uris: &'a [Arc<str>],
    /// The DNS names, when they are to be sent.
    pub dns: &'a [Arc<str>],
}

impl Element<'_> {
    /// The element's text.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(160);
        let mut pair = |key: &str, value: &str| {
            if !out.is_empty() {
                out.push(';');
            }
            let _ = write!(out, "{key}={value}");
        };
        for by in self.by {
            pair("By", by);
        }
        pair("Hash", self.hash);
        if let Some(cert) = self.cert {
            pair("Cert", &format!("\"{cert}\""));
        }
        if let Some(subject) = self.subject {
            pair("Subject", &format!("\"{}\"", escape(subject)));
        }
        for uri in self.uris {
            pair("URI", uri);
        }
        for name in self.dns {
            pair("DNS", name);
        }
        out
    }
}

/// Quotes and backslashes inside a quoted value.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Element;

    #[test]
    fn elements_are_envoys() {
        let by: [Arc<str>; 1] = ["spiffe://cluster.local/ns/default/sa/reviews".into()];
        let uris: [Arc<str>; 1] = ["spiffe://cluster.local/ns/default/sa/productpage".into()];
        let dns: [Arc<str>; 2] = ["a.example".into(), "b.example".into()];
        let base = Element { by: &by, hash: "ab12", uris: &uris, ..Element::default() };
        for (element, text) in [
            (
                Element { subject: Some(""), ..base },
                "By=spiffe://cluster.local/ns/default/sa/reviews;Hash=ab12;Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/productpage",
            ),
            (
                Element { subject: Some("CN=\"x\",O=y"), uris: &[], dns: &dns, ..base },
                "By=spiffe://cluster.local/ns/default/sa/reviews;Hash=ab12;Subject=\"CN=\\\"x\\\",O=y\";DNS=a.example;DNS=b.example",
            ),
            (Element { hash: "ab12", ..Element::default() }, "Hash=ab12"),
        ] {
            assert_eq!(element.render(), text);
        }
    }
}
