//! Connections of pods to the outside: TCP, relayed in user space by the server process.
//!
//! The node's namespace has no route to the real network, and the host's gets no rule. So one
//! packet rule of the node hands connections to outside addresses to a listener of the node, and
//! the server, which lives in the host's network, makes the same connection from there: the
//! outside sees the host.
//!
//! * Inside stays inside: pod and service addresses are never relayed, so an unused one is
//!   refused or unreachable at once, as before.
//! * The host's loopback (`127.0.0.0/8`, and `0.0.0.0/8`, which Linux takes for it), link-local
//!   addresses (`169.254.0.0/16`, where clouds answer with credentials), multicast and reserved
//!   addresses are not reached: "network is unreachable". Other addresses of the host are.
//! * A relay accepts before it knows whether the other side will: a connection that the outside
//!   refuses is seen to open and is then reset.
//! * UDP and IPv6 have no way out.

mod scope;
mod serve;

pub use self::scope::Scope;
pub use self::serve::{Egress, EgressError, HostConnector};
