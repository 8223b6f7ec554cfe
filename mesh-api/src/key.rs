//! Keys by which the registries hold services, endpoints and secrets: they carry the cluster and
//! the network, so that two clusters' objects of one name never meet by accident.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::name::{Hostname, Namespace, ObjectName};
use crate::text::{dns_label, text_newtype};

text_newtype! {
    /// The id of a Kubernetes cluster in the mesh, `Kubernetes` unless configured.
    ClusterId, "cluster id", identifier
}

text_newtype! {
    /// The id of a network: endpoints of one network reach each other directly. The empty id is
    /// the default network.
    NetworkId, "network id", |text| match text {
        "" => Ok(Cow::Borrowed(text)),
        _ => identifier(text),
    }
}

text_newtype! {
    /// The revision of a control plane: part of every name it generates.
    ///
    /// ```
    /// use mesh_api::key::Revision;
    ///
    /// assert_eq!(Revision::default().suffixed("istiod"), "istiod");
    /// assert_eq!(Revision::parse("canary")?.suffixed("istiod"), "istiod-canary");
    /// # Ok::<(), mesh_api::name::NameError>(())
    /// ```
    Revision, "revision", |text| dns_label(text).map(|()| Cow::Borrowed(text))
}

impl Default for ClusterId {
    fn default() -> Self {
        Self("Kubernetes".into())
    }
}

impl Default for NetworkId {
    fn default() -> Self {
        Self("".into())
    }
}

impl NetworkId {
    /// Whether this is the default network.
    pub fn is_default(&self) -> bool {
        self.as_str().is_empty()
    }

    /// Whether endpoints of the two networks reach each other without a gateway. The default
    /// network is reachable from everywhere.
    pub fn reaches(&self, other: &Self) -> bool {
        self.is_default() || other.is_default() || self == other
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Revision {
    /// Whether this is the revision named `default`, which names leave out.
    pub fn is_default(&self) -> bool {
        self.as_str() == "default"
    }

    /// `<base>-<revision>`, or `<base>` for the default revision.
    pub fn suffixed(&self, base: &str) -> String {
        match self.is_default() {
            true => base.to_owned(),
            false => format!("{base}-{self}"),
        }
    }
}

/// A service as one cluster defines it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The cluster that defines it.
    pub cluster: ClusterId,
    /// The network its addresses belong to.
    #[serde(default)]
    pub network: NetworkId,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name in the mesh.
    pub host: Hostname,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.namespace, self.host)
    }
}

/// An endpoint: one address and port in one network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointKey {
    /// The cluster it runs in.
    pub cluster: ClusterId,
    /// The network its address belongs to.
    #[serde(default)]
    pub network: NetworkId,
    /// Where it listens.
    pub address: Address,
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.network, self.address)
    }
}

/// A Secret or ConfigMap that holds certificates, keys or roots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretKey {
    /// The cluster that holds it.
    pub cluster: ClusterId,
    /// The network of the proxies it is for.
    #[serde(default)]
    pub network: NetworkId,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.namespace, self.name)
    }
}

fn identifier(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 253 {
        return Err("is longer than 253 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'~' | b'|' | b',')) {
        return Err("may not hold blanks, '/', '~', '|' or ','");
    }
    Ok(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_clusters_differ() {
        let key = |cluster: &str| ServiceKey {
            cluster: ClusterId::parse(cluster).unwrap(),
            network: NetworkId::default(),
            namespace: Namespace::parse("default").unwrap(),
            host: Hostname::parse("a.default.svc.cluster.local").unwrap(),
        };
        assert_ne!(key("east"), key("west"));
        assert_eq!(key("east").to_string(), "east/default/a.default.svc.cluster.local");
        let text = serde_json::to_string(&key("east")).unwrap();
        assert_eq!(serde_json::from_str::<ServiceKey>(&text).unwrap(), key("east"));
    }

    #[test]
    fn the_default_network_reaches_every_network() {
        let network = |id| NetworkId::parse(id).unwrap();
        assert!(network("").reaches(&network("a")));
        assert!(network("a").reaches(&network("")));
        assert!(network("a").reaches(&network("a")));
        assert!(!network("a").reaches(&network("b")));
    }

    #[test]
    fn what_is_not_an_id() {
        assert!(ClusterId::parse("").is_err());
        assert!(ClusterId::parse("a/b").is_err());
        assert!(Revision::parse("1.20").is_err());
        assert_eq!(ClusterId::default(), "Kubernetes");
    }
}
