//! SPIFFE ids of workloads.

use std::fmt;
use std::sync::Arc;

use crate::name::{Namespace, ObjectName};
use crate::text::{NameError, text_serde};
use crate::trust_domain::{TrustDomain, TrustDomains};

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID §2.3: implementations must support, and may stop at, this many bytes.
const MAX: usize = 2048;

/// The identity of a Kubernetes workload: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
///
/// ```
/// use mesh_api::spiffe::SpiffeId;
///
/// let id: SpiffeId = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews".parse()?;
/// assert_eq!(id.namespace.as_str(), "default");
/// assert_eq!(id.principal(), "cluster.local/ns/default/sa/bookinfo-reviews");
/// assert!("spiffe://cluster.local/ns/default".parse::<SpiffeId>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The domain that vouches for the identity.
    pub trust_domain: TrustDomain,
    /// The workload's namespace.
    pub namespace: Namespace,
    /// The workload's service account.
    pub service_account: ObjectName,
}

impl SpiffeId {
    /// Parses the URI form.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        text.strip_prefix(SCHEME).and_then(Self::parts).ok_or_else(|| {
            NameError::new(
                "SPIFFE id",
                text,
                "is not spiffe://<domain>/ns/<namespace>/sa/<account>",
            )
        })
    }

    /// Parses the form policies use, without the scheme.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn parse_principal(text: &str) -> Result<Self, NameError> {
        Self::parts(text).ok_or_else(|| {
            NameError::new("principal", text, "is not <domain>/ns/<namespace>/sa/<account>")
        })
    }

    /// The form policies use: the URI without the scheme.
    pub fn principal(&self) -> String {
        let Self { trust_domain, namespace, service_account } = self;
        format!("{trust_domain}/ns/{namespace}/sa/{service_account}")
    }

    /// Whether the two are one workload identity, when the mesh's trust domains count as one.
    pub fn same(&self, other: &Self, domains: &TrustDomains) -> bool {
        self.namespace == other.namespace
            && self.service_account == other.service_account
            && domains.same(&self.trust_domain, &other.trust_domain)
    }

    /// This identity in every domain of the mesh when its own is one of them, else alone: what a
    /// client accepts from a server that may still present an alias.
    pub fn in_every_domain(&self, domains: &TrustDomains) -> Vec<Self> {
        if !domains.contains(&self.trust_domain) {
            return vec![self.clone()];
        }
        domains.iter().map(|td| Self { trust_domain: td.clone(), ..self.clone() }).collect()
    }

    fn parts(text: &str) -> Option<Self> {
        if text.len() > MAX {
            return None;
        }
        let mut parts = text.split('/');
        let trust_domain = TrustDomain::parse(parts.next()?).ok()?;
        parts.next().filter(|part| *part == "ns")?;
        let namespace = Namespace::parse(parts.next()?).ok()?;
        parts.next().filter(|part| *part == "sa")?;
        let service_account = ObjectName::parse(parts.next()?).ok()?;
        match parts.next() {
            None => Some(Self { trust_domain, namespace, service_account }),
            Some(_) => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

text_serde!(SpiffeId);

/// Any SPIFFE id, such as a peer of another mesh may present.
///
/// ```
/// use mesh_api::spiffe::SpiffeUri;
///
/// let id: SpiffeUri = "spiffe://other.example/billing/api".parse()?;
/// assert_eq!(id.trust_domain(), "other.example");
/// assert_eq!(id.workload(), None);
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeUri {
    trust_domain: TrustDomain,
    path: Arc<str>,
}

impl SpiffeUri {
    /// Parses a SPIFFE id by the rules of SPIFFE-ID §2: no empty, `.` or `..` path segments, and
    /// only letters, digits, `.`, `-` and `_` in them.
    ///
    /// # Errors
    /// When the text breaks one of those rules or is longer than 2048 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let misfit = |reason| NameError::new("SPIFFE id", text, reason);
        if text.len() > MAX {
            return Err(misfit("is longer than 2048 bytes"));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| misfit("does not begin spiffe://"))?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let trust_domain =
            TrustDomain::parse(domain).map_err(|_| misfit("has no valid trust domain"))?;
        let segment = |segment: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
        };
        if !path.is_empty() && !path[1..].split('/').all(segment) {
            return Err(misfit("has a path segment that is empty, relative or not plain"));
        }
        Ok(Self { trust_domain, path: path.into() })
    }

    /// The domain that vouches for the identity.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path: empty, or with a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The Kubernetes workload it names, if it is of that form.
    pub fn workload(&self) -> Option<SpiffeId> {
        SpiffeId::parts(&format!("{}{}", self.trust_domain, self.path))
    }
}

impl From<SpiffeId> for SpiffeUri {
    fn from(id: SpiffeId) -> Self {
        let path = format!("/ns/{}/sa/{}", id.namespace, id.service_account).into();
        Self { trust_domain: id.trust_domain, path }
    }
}

impl fmt::Display for SpiffeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

text_serde!(SpiffeUri);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    fn any_id() -> impl Strategy<Value = SpiffeId> {
        ("[a-z0-9._-]{1,20}", "[a-z0-9]{1,10}", "[a-z0-9]{1,5}(\\.[a-z0-9]{1,5}){0,2}").prop_map(
            |(domain, namespace, account)| SpiffeId {
                trust_domain: TrustDomain::parse(&domain).unwrap(),
                namespace: Namespace::parse(&namespace).unwrap(),
                service_account: ObjectName::parse(&account).unwrap(),
            },
        )
    }

    #[test]
    fn what_is_not_a_workload() {
        for text in [
            "",
            "spiffe://",
            "cluster.local/ns/a/sa/b",
            "http://cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/sa/b/ns/a",
            "spiffe://td/ns/a/sa/b?x",
            "spiffe://TD/ns/a/sa/b",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn general_ids_follow_the_specification() {
        for text in ["spiffe://td", "spiffe://td/a", "spiffe://td/A.b-c_d/e"] {
            assert_eq!(SpiffeUri::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "spiffe://td/",
            "spiffe://td//a",
            "spiffe://td/a/",
            "spiffe://td/.",
            "spiffe://td/../a",
        ]
        .into_iter()
        .chain(["spiffe://td/%41", "spiffe://td/a?b", "spiffe://td:80/a", "SPIFFE://td/a"])
        {
            assert!(SpiffeUri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn aliases_make_identities_one() {
        let domains = TrustDomains {
            primary: TrustDomain::parse("new").unwrap(),
            aliases: vec![TrustDomain::parse("old").unwrap()],
        };
        let (new, old) = (id("spiffe://new/ns/a/sa/b"), id("spiffe://old/ns/a/sa/b"));
        assert!(new.same(&old, &domains));
        assert!(!new.same(&id("spiffe://old/ns/a/sa/c"), &domains));
        assert!(!new.same(&id("spiffe://else/ns/a/sa/b"), &domains));
        assert_eq!(old.in_every_domain(&domains), [new, old.clone()]);
        let foreign = id("spiffe://else/ns/a/sa/b");
        assert_eq!(foreign.in_every_domain(&domains), std::slice::from_ref(&foreign));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(id in any_id()) {
            prop_assert_eq!(SpiffeId::parse(&id.to_string()).unwrap(), id.clone());
            prop_assert_eq!(SpiffeId::parse_principal(&id.principal()).unwrap(), id.clone());
            let uri = SpiffeUri::parse(&id.to_string()).unwrap();
            prop_assert_eq!(uri.workload(), Some(id.clone()));
            prop_assert_eq!(uri, SpiffeUri::from(id));
        }

        #[test]
        fn parse_never_panics(text in "(spiffe://)?.{0,60}") {
            let _ = SpiffeId::parse(&text);
            let _ = SpiffeUri::parse(&text);
        }
    }
}
