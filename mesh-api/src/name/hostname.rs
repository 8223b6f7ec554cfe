//! `Hostname`: a DNS name or wildcard, as services, routes and gateways use it.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};

use super::Namespace;
use crate::text::text_newtype;

text_newtype! {
    /// A DNS name in lower case without a trailing dot, or a wildcard: `*`, `*.example.com`,
    /// `*-web.example.com`. At most 255 characters, labels of at most 63. An IP address is not a
    /// hostname (its last label is a number).
    ///
    /// ```
    /// use mesh_api::name::Hostname;
    ///
    /// let host: Hostname = "Reviews.default.svc.cluster.local.".parse()?;
    /// assert_eq!(host, "reviews.default.svc.cluster.local");
    /// let wild: Hostname = "*.default.svc.cluster.local".parse()?;
    /// assert!(wild.covers(&host));
    /// assert!("10.0.0.1".parse::<Hostname>().is_err());
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    Hostname, "hostname", canonical
}

impl Hostname {
    /// The FQDN of a Kubernetes service: `<name>.<namespace>.svc.<domain>`.
    ///
    /// # Errors
    /// When the parts do not make a valid hostname.
    pub fn service(
        name: &str,
        namespace: &Namespace,
        domain: &str,
    ) -> Result<Self, super::NameError> {
        Self::parse(&format!("{name}.{namespace}.svc.{domain}"))
    }

    /// Whether this stands for more than one name.
    pub fn is_wildcard(&self) -> bool {
        self.as_str().starts_with('*')
    }

    /// Whether every name that `other` stands for is one this stands for.
    pub fn covers(&self, other: &Self) -> bool {
        match self.as_str().strip_prefix('*') {
            Some(suffix) => match other.as_str().strip_prefix('*') {
                Some(other_suffix) => other_suffix.ends_with(suffix),
                None => other.as_str().ends_with(suffix),
            },
            None => self == other,
        }
    }

    /// Whether some name is one that both stand for.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Orders the more specific first: exact names, then wildcards with the longest suffix, then
    /// by text. The first of a sorted list that [`covers`](Self::covers) a name is the best match.
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        let rank = |host: &Self| match host.is_wildcard() {
            false => (false, Reverse(0)),
            true => (true, Reverse(host.as_str().len())),
        };
        rank(self).cmp(&rank(other)).then_with(|| self.cmp(other))
    }

    /// Service name and namespace, when this is the FQDN of a Kubernetes service in `domain`.
    ///
    /// ```
    /// use mesh_api::name::Hostname;
    ///
    /// let host = Hostname::parse("reviews.prod.svc.cluster.local")?;
    /// assert_eq!(host.kubernetes_service("cluster.local"), Some(("reviews", "prod")));
    /// assert_eq!(host.kubernetes_service("example.org"), None);
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    pub fn kubernetes_service(&self, domain: &str) -> Option<(&str, &str)> {
        let rest = self.as_str().strip_suffix(domain)?.strip_suffix(".svc.")?;
        let (name, namespace) = rest.split_once('.')?;
        let plain = !namespace.contains('.') && !name.starts_with('*');
        plain.then_some((name, namespace))
    }
}

fn canonical(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 255 {
        return Err("is longer than 255 characters");
    }
    if text == "*" {
        return Ok(Cow::Borrowed(text));
    }
    for (index, label) in text.split('.').enumerate() {
        check_label(label, index == 0)?;
    }
    let top = text.rsplit('.').next().unwrap_or(text);
    if top.bytes().all(|b| b.is_ascii_digit()) {
        return Err("ends in a number: an IP address is not a hostname");
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(text.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(text))
}

fn check_label(label: &str, first: bool) -> Result<(), &'static str> {
    if label.len() > 63 {
        return Err("has a part longer than 63 characters");
    }
    let rest = match label.strip_prefix('*') {
        Some(_) if !first => return Err("may have '*' only at its beginning"),
        Some("") => return Ok(()),
        Some(rest) => rest.strip_prefix('-').unwrap_or(rest),
        None => label,
    };
    if rest.is_empty() {
        return Err("has an empty part");
    }
    if rest.contains('*') {
        return Err("may have '*' only at its beginning");
    }
    if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("may hold only letters, digits, '-' and '.'");
    }
    if rest.starts_with('-') || rest.ends_with('-') {
        return Err("must begin and end each part with a letter or digit");
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::name) mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    pub(in crate::name) fn any_hostname() -> impl Strategy<Value = Hostname> {
        "(\\*\\.|\\*-)?[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z][a-z0-9]{0,5}){1,4}"
            .prop_map(|text| host(&text))
    }

    #[test]
    fn which_texts_are_hostnames() {
        for good in ["a", "*", "a.b", "*.b", "*-a.b", "*a.b", "1.b", "a-1.b", "EXAMPLE.com"] {
            assert!(Hostname::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(64));
        let longer = "a.".repeat(130);
        for bad in
            ["", ".", "a..b", "a.*", "*.*.b", "-a", "a-", "a_b", "a b", "1.2.3.4", "é.com", "a:80"]
                .into_iter()
                .chain([long.as_str(), longer.as_str()])
        {
            assert!(Hostname::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn covering_and_overlap() {
        let table = [
            ("a.com", "a.com", true, true),
            ("a.com", "b.com", false, false),
            ("*.a.com", "x.a.com", true, true),
            ("*.a.com", "x.y.a.com", true, true),
            ("*.a.com", "a.com", false, false),
            ("*.a.com", "*.b.a.com", true, true),
            ("*.b.a.com", "*.a.com", false, true),
            ("*", "*.a.com", true, true),
            ("*", "a", true, true),
            ("a", "*", false, true),
            ("*-web.a.com", "x-web.a.com", true, true),
            ("*.a.com", "*.b.com", false, false),
        ];
        for (left, right, covers, overlaps) in table {
            assert_eq!(host(left).covers(&host(right)), covers, "{left} covers {right}");
            assert_eq!(host(left).overlaps(&host(right)), overlaps, "{left} overlaps {right}");
            assert_eq!(host(right).overlaps(&host(left)), overlaps, "{right} overlaps {left}");
        }
    }

    #[test]
    fn the_most_specific_sorts_first() {
        let mut hosts = ["*", "b.com", "*.com", "*.b.com", "a.com"].map(host);
        hosts.sort_by(Hostname::cmp_specificity);
        assert_eq!(hosts, ["a.com", "b.com", "*.b.com", "*.com", "*"].map(host));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(value in any_hostname()) {
            prop_assert_eq!(Hostname::parse(value.as_str()).unwrap(), value);
        }

        #[test]
        fn parse_never_panics(text in ".{0,300}") {
            let _ = Hostname::parse(&text);
        }

        #[test]
        fn covering_is_reflexive_and_transitive(
            a in any_hostname(), b in any_hostname(), c in any_hostname()
        ) {
            prop_assert!(a.covers(&a));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        }
    }
}
