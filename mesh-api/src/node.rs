//! `NodeId`: how a proxy names itself to the control plane.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::{Namespace, ObjectName};
use crate::text::{NameError, text_serde};

/// What kind of proxy a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// Beside one application.
    Sidecar,
    /// A gateway.
    Router,
    /// A namespace's or service's proxy of an ambient mesh.
    Waypoint,
    /// A node's proxy of an ambient mesh.
    Ztunnel,
    /// A gateway for agents' protocols.
    AgentGateway,
}

const TYPES: [(NodeType, &str); 5] = [
    (NodeType::Sidecar, "sidecar"),
    (NodeType::Router, "router"),
    (NodeType::Waypoint, "waypoint"),
    (NodeType::Ztunnel, "ztunnel"),
    (NodeType::AgentGateway, "agentgateway"),
];

impl NodeType {
    /// Istio's name.
    pub fn as_str(self) -> &'static str {
        TYPES.into_iter().find(|(ty, _)| *ty == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A proxy's id: `<type>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>`.
///
/// ```
/// use mesh_api::node::{NodeId, NodeType};
///
/// let id: NodeId =
///     "sidecar~10.1.0.7~reviews-v1-6d8f.default~default.svc.cluster.local".parse()?;
/// assert_eq!(id.node_type, NodeType::Sidecar);
/// assert_eq!((id.name.as_str(), id.namespace.as_str()), ("reviews-v1-6d8f", "default"));
/// assert_eq!(id.cluster_domain(), "cluster.local");
/// assert!("sidecar~10.1.0.7~reviews~default.svc.cluster.local".parse::<NodeId>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// What kind of proxy.
    pub node_type: NodeType,
    /// Its primary address.
    pub ip: IpAddr,
    /// Its pod, or machine.
    pub name: ObjectName,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its DNS domain, by which short service names are completed:
    /// `<namespace>.svc.<cluster domain>`, or any other outside Kubernetes.
    pub domain: String,
}

const MAX: usize = 1024;
const WHAT: &str = "node id";

impl NodeId {
    /// Parses a node id.
    ///
    /// # Errors
    /// Says which of the four parts is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let misfit = |reason| NameError::new(WHAT, text, reason);
        if text.len() > MAX {
            return Err(misfit("is longer than 1024 bytes"));
        }
        let mut parts = text.split('~');
        let mut next =
            || parts.next().ok_or_else(|| misfit("is not <type>~<ip>~<pod>.<namespace>~<domain>"));
        let (node_type, ip, workload, domain) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(misfit("has more than four parts"));
        }
        let node_type = TYPES.into_iter().find(|(_, name)| *name == node_type);
        let (node_type, _) = node_type.ok_or_else(|| {
            misfit("begins with no type of sidecar, router, waypoint, ztunnel, agentgateway")
        })?;
        let ip = ip.parse().map_err(|_| misfit("has no IP address as its second part"))?;
        let (name, namespace) = workload
            .rsplit_once('.')
            .ok_or_else(|| misfit("has no <pod>.<namespace> as its third part"))?;
        if domain.is_empty() || !domain.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(misfit("has no domain as its fourth part"));
        }
        Ok(Self {
            node_type,
            ip,
            name: ObjectName::parse(name).map_err(|_| misfit("has no valid pod name"))?,
            namespace: Namespace::parse(namespace).map_err(|_| misfit("has no valid namespace"))?,
            domain: domain.to_owned(),
        })
    }

    /// The cluster's domain: what follows `<namespace>.svc.`, or the whole domain when it is not
    /// of that form.
    pub fn cluster_domain(&self) -> &str {
        let service = self.domain.strip_prefix(self.namespace.as_str());
        service.and_then(|rest| rest.strip_prefix(".svc.")).unwrap_or(&self.domain)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node_type, ip, name, namespace, domain } = self;
        write!(f, "{node_type}~{ip}~{name}.{namespace}~{domain}")
    }
}

text_serde!(NodeId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn any_id() -> impl Strategy<Value = NodeId> {
        let name = "[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){0,2}";
        (0..TYPES.len(), any::<IpAddr>(), name, "[a-z0-9]{1,8}", "[a-z.]{1,20}").prop_map(
            |(ty, ip, name, namespace, domain)| NodeId {
                node_type: TYPES[ty].0,
                ip,
                name: ObjectName::parse(&name).unwrap(),
                namespace: Namespace::parse(&namespace).unwrap(),
                domain,
            },
        )
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for (text, reason) in [
            ("", "is not <type>~<ip>~<pod>.<namespace>~<domain>"),
            ("sidecar~10.0.0.1~a.b", "is not <type>~<ip>~<pod>.<namespace>~<domain>"),
            ("sidecar~10.0.0.1~a.b~c~d", "has more than four parts"),
            (
                "ingress~10.0.0.1~a.b~c",
                "begins with no type of sidecar, router, waypoint, ztunnel, agentgateway",
            ),
            ("sidecar~~a.b~c", "has no IP address as its second part"),
            ("sidecar~10.0.0.1~a~c", "has no <pod>.<namespace> as its third part"),
            ("sidecar~10.0.0.1~.b~c", "has no valid pod name"),
            ("sidecar~10.0.0.1~a.B~c", "has no valid namespace"),
            ("sidecar~10.0.0.1~a.b~", "has no domain as its fourth part"),
        ] {
            assert_eq!(NodeId::parse(text).map_err(|e| e.reason()), Err(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(id in any_id()) {
            prop_assert_eq!(NodeId::parse(&id.to_string()).unwrap(), id);
        }

        #[test]
        fn parse_never_panics(text in "(sidecar|router)?.{0,60}") {
            let _ = NodeId::parse(&text);
        }
    }
}
