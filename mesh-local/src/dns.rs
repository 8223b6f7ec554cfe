//! The cluster's DNS server: authoritative for `cluster.local` and the reverse names of cluster
//! addresses, forwarding everything else to the host's resolvers.
//!
//! It listens on the DNS service address in the node's namespace, over UDP and TCP. The zone is
//! made from the same table as the packet rules ([`crate::service_proxy`]). Names are those of
//! the Kubernetes DNS specification, version 1.1.0, for IPv4:
//!
//! | name | records |
//! |---|---|
//! | `svc.ns.svc.cluster.local` | A: the cluster IP, or the ready endpoints of a headless service; CNAME for ExternalName; SRV for all ports |
//! | `_port._proto.svc.ns.svc.cluster.local` | SRV |
//! | `host.svc.ns.svc.cluster.local` | A: an endpoint of a headless service, by its hostname or its address with dashes |
//! | `10-244-0-5.ns.pod.cluster.local` | A: that pod address |
//! | `5.0.244.10.in-addr.arpa` | PTR |

mod answer;
mod forward;
mod resolvers;
mod serve;
mod zone;

pub use self::answer::{Decision, decide, encode};
pub use self::forward::Forwarder;
pub use self::resolvers::{Upstreams, name_servers};
pub use self::serve::DnsServer;
pub use self::zone::{CLUSTER_DOMAIN, Data, Lookup, Zone};
