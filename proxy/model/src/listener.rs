//! A listener: where connections are accepted, what is looked at, and which chains there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::access_log::AccessLog;
use crate::facts::ConnFacts;
use crate::filter_chain::{FilterChain, FilterChains};

/// A listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// The version pilot gave it.
    pub version: Arc<str>,
    /// What it listens on.
    pub address: SocketAddr,
    /// What else it listens on.
    pub additional_addresses: Vec<SocketAddr>,
    /// Whether a socket is bound; otherwise connections are handed over by another listener.
    pub bind: bool,
    /// Whether connections are handed to the listener of their original destination, if there is
    /// one.
    pub use_original_dst: bool,
    /// How the destination before capture is restored.
    pub original_dst: OriginalDst,
    /// Which way its traffic goes.
    pub direction: TrafficDirection,
    /// What is read of a connection before a chain is chosen.
    pub inspect: Inspection,
    /// The chains.
    pub chains: FilterChains,
    /// The chain of connections that match none.
    pub default_chain: Option<Arc<FilterChain>>,
    /// Logs of connections, also those that match no chain.
    pub access_logs: Vec<AccessLog>,
    /// Whether connections begin with a PROXY protocol header, and must.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Bytes buffered per connection and direction before reading stops; `None` is Envoy's 1 MiB.
    pub per_connection_buffer_limit: Option<u32>,
    /// Connections it holds at most.
    pub connection_limit: Option<u64>,
    /// Length of the queue of connections not accepted yet.
    pub tcp_backlog: Option<u32>,
    /// Whether each worker has a socket of its own.
    pub reuse_port: bool,
    /// Whether the socket accepts connections to foreign addresses (TPROXY).
    pub transparent: bool,
    /// Whether an address may be bound that the machine does not have.
    pub freebind: bool,
    /// Keep-alive of accepted connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Prefix of its metrics' names; otherwise its address.
    pub stat_prefix: Option<Arc<str>>,
    /// The object it was made from: `istio.config` of its metadata.
    pub config: Option<Arc<str>>,
    /// Hash of what a bound socket depends on: a change binds again, other changes do not.
    pub socket_hash: u64,
}

impl Listener {
    /// The chain for a connection: the one that matches best, else the default one.
    pub fn chain_for(&self, facts: &ConnFacts) -> Option<&Arc<FilterChain>> {
        self.chains.find(facts).or(self.default_chain.as_ref())
    }

    /// All chains, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// All addresses it listens on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.address).chain(self.additional_addresses.iter().copied())
    }
}

/// How a listener learns where a captured connection wanted to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OriginalDst {
    /// It does not: the socket's own address is the destination.
    #[default]
    Local,
    /// It asks the kernel (`SO_ORIGINAL_DST`), for connections that REDIRECT captured.
    Redirected,
}

/// Which way a listener's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrafficDirection {
    /// A gateway's, for example.
    #[default]
    Unspecified,
    /// Towards the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// PROXY protocol at the start of accepted connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether connections without the header are accepted too.
    pub allow_without: bool,
}

/// Keep-alive probes of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dropped.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// What is read of a connection before a filter chain is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whether, and for which destination ports, TLS is looked for.
    pub tls: Inspector,
    /// Whether, and for which destination ports, HTTP is looked for.
    pub http: Inspector,
    /// How long to wait for the bytes; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// Whether a connection goes on when the time is over, with what is known.
    pub continue_on_timeout: bool,
}

impl Default for Inspection {
    fn default() -> Self {
        Self {
            tls: Inspector::Off,
            http: Inspector::Off,
            timeout: Some(Duration::from_secs(15)),
            continue_on_timeout: false,
        }
    }
}

/// Whether something is looked for in the first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Inspector {
    /// Never.
    #[default]
    Off,
    /// Except for connections that match the predicate.
    On {
        /// Where it is not looked for.
        disabled: PortPredicate,
    },
}

impl Inspector {
    /// Whether a connection to this port is inspected.
    pub fn wants(&self, destination_port: u16) -> bool {
        match self {
            Self::Off => false,
            Self::On { disabled } => !disabled.matches(destination_port),
        }
    }
}

/// A predicate over destination ports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum PortPredicate {
    /// No port.
    #[default]
    Never,
    /// Any port.
    Any,
    /// From the first up to, not including, the second.
    Range(u32, u32),
    /// Not those.
    Not(Box<PortPredicate>),
    /// One of them.
    Or(Vec<PortPredicate>),
    /// All of them.
    And(Vec<PortPredicate>),
}

impl PortPredicate {
    /// Whether the predicate holds.
    pub fn matches(&self, port: u16) -> bool {
        match self {
            Self::Never => false,
            Self::Any => true,
            Self::Range(start, end) => (*start..*end).contains(&u32::from(port)),
            Self::Not(inner) => !inner.matches(port),
            Self::Or(inner) => inner.iter().any(|predicate| predicate.matches(port)),
            Self::And(inner) => inner.iter().all(|predicate| predicate.matches(port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspector_skips_the_ports_of_its_predicate() {
        let disabled = PortPredicate::Or(vec![
            PortPredicate::Range(9080, 9081),
            PortPredicate::And(vec![
                PortPredicate::Range(0, 100),
                PortPredicate::Not(Box::new(PortPredicate::Range(80, 81))),
            ]),
        ]);
        let inspector = Inspector::On { disabled };
        for (port, wanted) in [(9080, false), (9081, true), (79, false), (80, true)] {
            assert_eq!(inspector.wants(port), wanted, "{port}");
        }
        assert!(!Inspector::Off.wants(80));
        assert!(Inspector::On { disabled: PortPredicate::Never }.wants(80));
    }
}
