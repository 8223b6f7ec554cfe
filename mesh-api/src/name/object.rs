//! Names of Kubernetes and Istio objects: namespaces, objects, ports and subsets.

use std::borrow::Cow;

use crate::text::{dns_label, text_newtype};

text_newtype! {
    /// A Kubernetes namespace: a DNS-1123 label.
    ///
    /// ```
    /// use mesh_api::name::Namespace;
    ///
    /// assert_eq!(Namespace::parse("default")?, "default");
    /// assert!(Namespace::parse("a.b").is_err());
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    Namespace, "namespace", |text| dns_label(text).map(|()| Cow::Borrowed(text))
}

text_newtype! {
    /// The name of a Kubernetes object: a DNS-1123 subdomain of at most 253 characters.
    ///
    /// ```
    /// use mesh_api::name::ObjectName;
    ///
    /// assert_eq!(ObjectName::parse("gateway.v2")?, "gateway.v2");
    /// assert!(ObjectName::parse("Gateway").is_err());
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    ObjectName, "object name", object
}

text_newtype! {
    /// The name of a port of a Gateway server or a service. Unlike Kubernetes, Istio lets a
    /// gateway's be nearly anything; a name with `.` or `|` would make the names it becomes part
    /// of ambiguous and is refused.
    PortName, "port name", port
}

text_newtype! {
    /// The name of a DestinationRule subset: a DNS-1123 label, upper case allowed.
    SubsetName, "subset", subset
}

fn object(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 253 {
        return Err("is longer than 253 characters");
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !text.bytes().all(inner) {
        return Err("may hold only lower-case letters, digits, '-' and '.'");
    }
    let edge = |label: &str| label.is_empty() || label.starts_with('-') || label.ends_with('-');
    if text.split('.').any(edge) {
        return Err("must begin and end each part with a letter or digit");
    }
    Ok(Cow::Borrowed(text))
}

fn port(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 63 {
        return Err("is longer than 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'.' && b != b'|') {
        return Err("may not hold blanks, '.' or '|'");
    }
    Ok(Cow::Borrowed(text))
}

fn subset(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 63 {
        return Err("is longer than 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("may hold only letters, digits and '-'");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("must begin and end with a letter or digit");
    }
    Ok(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_what_is_broken() {
        let reason = |e: crate::text::NameError| e.reason();
        assert_eq!(Namespace::parse("").map_err(reason), Err("is empty"));
        assert!(Namespace::parse(&"a".repeat(63)).is_ok());
        assert!(Namespace::parse(&"a".repeat(64)).is_err());
        assert!(Namespace::parse("-a").is_err());
        assert!(ObjectName::parse("a..b").is_err());
        assert!(ObjectName::parse("a-.b").is_err());
        assert!(PortName::parse("http.web").is_err());
        assert!(PortName::parse("HTTP_web").is_ok());
        assert!(SubsetName::parse("V1-canary").is_ok());
        assert!(SubsetName::parse("v1_").is_err());
    }

    #[test]
    fn serde_refuses_what_parse_refuses() {
        let good: Namespace = serde_json::from_str("\"prod\"").unwrap();
        assert_eq!(serde_json::to_string(&good).unwrap(), "\"prod\"");
        let error = serde_json::from_str::<Namespace>("\"Prod\"").unwrap_err();
        assert!(error.to_string().contains("namespace \"Prod\" may hold only"), "{error}");
    }
}
