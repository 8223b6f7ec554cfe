//! Trust domains and the aliases under which a mesh's identities are also accepted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::text::text_newtype;

text_newtype! {
    /// A SPIFFE trust domain: at most 255 of `a-z0-9.-_` (SPIFFE-ID §2.1).
    ///
    /// ```
    /// use mesh_api::trust_domain::TrustDomain;
    ///
    /// assert_eq!(TrustDomain::default(), "cluster.local");
    /// assert!(TrustDomain::parse("Cluster.Local").is_err());
    /// ```
    TrustDomain, "trust domain", check
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(LOCAL.into())
    }
}

/// Istio's default, which in policies stands for the mesh's own domain whatever that is.
const LOCAL: &str = "cluster.local";

/// A mesh's trust domain with its aliases. An identity of any of them is an identity of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrustDomains {
    /// The domain certificates are issued in.
    pub primary: TrustDomain,
    /// Former or other names of the mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<TrustDomain>,
}

impl TrustDomains {
    /// The mesh's domains, the primary first, without duplicates.
    pub fn iter(&self) -> impl Iterator<Item = &TrustDomain> {
        let first = &self.primary;
        let rest = self.aliases.iter().enumerate().filter(move |(index, alias)| {
            *alias != first && !self.aliases[..*index].contains(alias)
        });
        std::iter::once(first).chain(rest.map(|(_, alias)| alias))
    }

    /// Whether the domain is the mesh's or an alias of it.
    pub fn contains(&self, domain: &TrustDomain) -> bool {
        self.iter().any(|ours| ours == domain)
    }

    /// Whether the two name one domain: they are equal or both the mesh's.
    pub fn same(&self, a: &TrustDomain, b: &TrustDomain) -> bool {
        a == b || (self.contains(a) && self.contains(b))
    }

    /// The principals a policy's value stands for. A value is `<domain>/ns/…`, and may begin or
    /// end with `*`. Where its domain is the mesh's (or `cluster.local`), the value stands for
    /// the same identity in every domain of the mesh; other values stand for themselves.
    ///
    /// ```
    /// use mesh_api::trust_domain::TrustDomains;
    ///
    /// let domains: TrustDomains =
    ///     serde_json::from_str(r#"{"primary": "new", "aliases": ["old"]}"#).expect("JSON");
    /// assert_eq!(domains.expand("old/ns/a/sa/b"), ["new/ns/a/sa/b", "old/ns/a/sa/b"]);
    /// assert_eq!(domains.expand("other/ns/a/sa/b"), ["other/ns/a/sa/b"]);
    /// assert_eq!(domains.expand("*/sa/b"), ["*/sa/b"]);
    /// ```
    pub fn expand(&self, principal: &str) -> Vec<String> {
        let Some((domain, path)) = principal.split_once('/') else {
            return vec![principal.to_owned()];
        };
        let ours = domain == LOCAL || self.iter().any(|td| matches_pattern(domain, td.as_str()));
        if domain == "*" || !ours {
            return vec![principal.to_owned()];
        }
        let mut all: Vec<String> = Vec::new();
        for td in self.iter() {
            // A pattern such as `prod-*/ns/…` already covers the domains it matches.
            let value = match matches_pattern(domain, td.as_str()) {
                true => principal.to_owned(),
                false => format!("{td}/{path}"),
            };
            if !all.contains(&value) {
                all.push(value);
            }
        }
        all
    }
}

fn matches_pattern(pattern: &str, text: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        return text.ends_with(suffix);
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == pattern,
    }
}

fn check(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 255 {
        return Err("is longer than 255 characters");
    }
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if !text.bytes().all(allowed) {
        return Err("may hold only lower-case letters, digits, '.', '-' and '_'");
    }
    Ok(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> TrustDomain {
        TrustDomain::parse(text).unwrap()
    }

    fn mesh() -> TrustDomains {
        TrustDomains {
            primary: domain("new"),
            aliases: ["old", "older", "old", "new"].map(domain).into(),
        }
    }

    #[test]
    fn identities_match_across_aliases() {
        assert_eq!(
            mesh().iter().map(TrustDomain::as_str).collect::<Vec<_>>(),
            ["new", "old", "older"]
        );
        assert!(mesh().same(&domain("old"), &domain("new")));
        assert!(mesh().same(&domain("else"), &domain("else")));
        assert!(!mesh().same(&domain("else"), &domain("new")));
    }

    #[test]
    fn principals_expand_to_every_domain_of_the_mesh() {
        let table: [(&str, &[&str]); 8] = [
            ("new/ns/a/sa/b", &["new/ns/a/sa/b", "old/ns/a/sa/b", "older/ns/a/sa/b"]),
            ("cluster.local/ns/a/*", &["new/ns/a/*", "old/ns/a/*", "older/ns/a/*"]),
            ("old*/ns/a/sa/b", &["new/ns/a/sa/b", "old*/ns/a/sa/b"]),
            ("*ew/ns/a/sa/b", &["*ew/ns/a/sa/b", "old/ns/a/sa/b", "older/ns/a/sa/b"]),
            ("else/ns/a/sa/b", &["else/ns/a/sa/b"]),
            ("*", &["*"]),
            ("*/ns/a/sa/b", &["*/ns/a/sa/b"]),
            ("", &[""]),
        ];
        for (principal, want) in table {
            assert_eq!(mesh().expand(principal), want, "{principal}");
        }
    }
}
