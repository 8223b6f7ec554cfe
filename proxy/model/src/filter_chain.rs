//! Filter chains, and which of them a connection gets: Envoy's match order.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::facts::{ConnFacts, DetectedTransport};
use crate::http::manager::HttpConnectionManager;
use crate::problem::Refusal;
use crate::tcp_proxy::TcpProxy;
use crate::tls::DownstreamTls;

#[cfg(test)]
mod tests;

/// What happens to connections of one kind.
#[derive(Clone, Debug)]
pub struct FilterChain {
    /// Its name.
    pub name: Arc<str>,
    /// Which connections.
    pub matching: ChainMatch,
    /// How they are protected.
    pub transport: DownstreamTransport,
    /// Filters before the last one.
    pub filters: Vec<NetworkFilter>,
    /// What happens to their bytes.
    pub terminal: Terminal,
    /// Hash of the transport: a chain whose hash changed drains.
    pub transport_hash: u64,
    /// How long the TLS handshake may take; `None` is unlimited.
    pub transport_socket_connect_timeout: Option<Duration>,
}

/// How a downstream connection is protected.
#[derive(Clone, Debug)]
pub enum DownstreamTransport {
    /// Not.
    Raw,
    /// With TLS.
    Tls(Arc<DownstreamTls>),
    /// By a transport that is not spoken: connections are closed.
    Refuse(Refusal),
}

/// A network filter before the last one.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// Istio's TCP metrics.
    IstioStats(Arc<crate::http::filter::IstioStats>),
    /// At most so many connections at once.
    ConnectionLimit {
        /// So many.
        max: u64,
        /// How long a refused one stays open.
        delay: Option<Duration>,
    },
    /// A filter that is not spoken: connections are closed.
    Refuse(Refusal),
}

/// The last filter of a chain.
#[derive(Clone, Debug)]
pub enum Terminal {
    /// Bytes go to a cluster.
    Tcp(Arc<TcpProxy>),
    /// Requests are routed.
    Http(Arc<HttpConnectionManager>),
    /// Connections are closed, with this reason in the log.
    Refuse {
        /// Why.
        reason: Arc<str>,
    },
}

/// Which connections a chain takes. An empty criterion takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Destination addresses.
    pub prefix_ranges: Vec<IpNet>,
    /// SNI, exact or `*.domain`, in lower case.
    pub server_names: Vec<Arc<str>>,
    /// What the first bytes are.
    pub transport: Option<DetectedTransport>,
    /// ALPN, or what the HTTP inspector saw.
    pub application_protocols: Vec<Arc<str>>,
    /// Addresses of the other end of the socket.
    pub direct_source_prefix_ranges: Vec<IpNet>,
    /// Whether the client is on the same machine.
    pub source_type: SourceType,
    /// Addresses of the client.
    pub source_prefix_ranges: Vec<IpNet>,
    /// Ports of the client.
    pub source_ports: Vec<u16>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// On this machine.
    SameIpOrLoopback,
    /// Elsewhere.
    External,
}

/// Two chains would take the same connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter chains {first:?} and {second:?} match the same connections")]
pub struct Ambiguous {
    /// The first one.
    pub first: Arc<str>,
    /// The other one.
    pub second: Arc<str>,
}

/// The chains of a listener, indexed by Envoy's order of criteria: destination port, destination
/// address, server name, transport, application protocol, direct source address, source type,
/// source address, source port. At each one the most specific value that fits is taken, and there
/// is no way back.
#[derive(Clone, Debug, Default)]
pub struct FilterChains {
    chains: Vec<Arc<FilterChain>>,
    ports: HashMap<Option<u16>, ByAddress>,
}

/// By destination range, the longest prefix first; `None` is any, and last.
type ByAddress = Vec<(Option<IpNet>, ByName)>;
/// By SNI: exact, `.suffix`, or empty for any.
type ByName = HashMap<Arc<str>, ByTransport>;
type ByTransport = HashMap<Option<DetectedTransport>, ByProtocol>;
/// By protocol, empty for any; the last criteria are few and tried one by one.
type ByProtocol = HashMap<Arc<str>, Vec<Source>>;

#[derive(Clone, Debug)]
struct Source {
    direct: Option<IpNet>,
    kind: SourceType,
    address: Option<IpNet>,
    port: Option<u16>,
    chain: usize,
}

impl FilterChains {
    /// Indexes chains.
    ///
    /// # Errors
    /// When two of them match the same connections.
    pub fn new(chains: Vec<Arc<FilterChain>>) -> Result<Self, Ambiguous> {
        let mut index = Self { chains, ports: HashMap::new() };
        for number in 0..index.chains.len() {
            index.add(number)?;
        }
        for addresses in index.ports.values_mut() {
            addresses.sort_by_key(|(range, _)| std::cmp::Reverse(prefix_length(*range)));
        }
        Ok(index)
    }

    /// The chain for a connection, without the listener's default one.
    pub fn find(&self, facts: &ConnFacts) -> Option<&Arc<FilterChain>> {
        let addresses =
            self.ports.get(&Some(facts.destination.port())).or_else(|| self.ports.get(&None))?;
        let destination = facts.destination.ip().to_canonical();
        let (_, names) = addresses.iter().find(|(range, _)| holds(*range, destination))?;
        let transports = by_name(names, facts.server_name.as_deref().unwrap_or_default())?;
        let protocols = transports.get(&Some(facts.transport)).or_else(|| transports.get(&None))?;
        let sources = facts
            .application_protocols
            .iter()
            .find_map(|protocol| protocols.get(protocol))
            .or_else(|| protocols.get(""))?;
        find_source(sources, facts).map(|chain| &self.chains[chain])
    }

    /// All chains, in the order pilot gave them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter()
    }

    fn add(&mut self, number: usize) -> Result<(), Ambiguous> {
        let chain = Arc::clone(&self.chains[number]);
        let matching = &chain.matching;
        let addresses = self.ports.entry(matching.destination_port).or_default();
        for range in or_any(&matching.prefix_ranges) {
            let range = range.map(|range| range.trunc());
            let at = addresses.iter().position(|(held, _)| *held == range).unwrap_or_else(|| {
                addresses.push((range, HashMap::new()));
                addresses.len() - 1
            });
            for name in or_any(&matching.server_names) {
                let name = name.map_or_else(Arc::default, |name| index_name(&name));
                let protocols =
                    addresses[at].1.entry(name).or_default().entry(matching.transport).or_default();
                for protocol in or_any(&matching.application_protocols) {
                    let sources = protocols.entry(protocol.unwrap_or_default()).or_default();
                    add_sources(sources, matching, number).map_err(|other| Ambiguous {
                        first: Arc::clone(&self.chains[other].name),
                        second: Arc::clone(&chain.name),
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Adds a chain's sources, or says which chain has one of them already.
fn add_sources(
    sources: &mut Vec<Source>,
    matching: &ChainMatch,
    chain: usize,
) -> Result<(), usize> {
    let kind = matching.source_type;
    for direct in or_any(&matching.direct_source_prefix_ranges) {
        for address in or_any(&matching.source_prefix_ranges) {
            for port in or_any(&matching.source_ports) {
                let direct = direct.map(|range| range.trunc());
                let address = address.map(|range| range.trunc());
                let same = |held: &&Source| {
                    (held.direct, held.kind, held.address, held.port)
                        == (direct, kind, address, port)
                };
                if let Some(held) = sources.iter().find(same) {
                    if held.chain == chain {
                        continue; // The same value twice in one chain.
                    }
                    return Err(held.chain);
                }
                sources.push(Source { direct, kind, address, port, chain });
            }
        }
    }
    Ok(())
}

/// The values, or one that stands for any.
fn or_any<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
}

/// `*.domain` is indexed as `.domain`.
fn index_name(name: &Arc<str>) -> Arc<str> {
    name.strip_prefix('*').map_or_else(|| Arc::clone(name), Arc::from)
}

fn by_name<'a>(names: &'a ByName, server_name: &str) -> Option<&'a ByTransport> {
    if let Some(found) = names.get(server_name) {
        return Some(found);
    }
    let suffixes = server_name.char_indices().skip(1).filter(|(_, letter)| *letter == '.');
    for (at, _) in suffixes {
        if let Some(found) = names.get(&server_name[at..]) {
            return Some(found);
        }
    }
    names.get("")
}

/// Narrows the candidates criterion by criterion.
fn find_source(sources: &[Source], facts: &ConnFacts) -> Option<usize> {
    let direct = best_range(sources.iter().map(|source| source.direct), facts.direct_peer)?;
    let mut left: Vec<&Source> = sources.iter().filter(|source| source.direct == direct).collect();

    let peer = facts.peer.ip().to_canonical();
    let local = peer.is_loopback() || peer == facts.destination.ip().to_canonical();
    let wanted = if local { SourceType::SameIpOrLoopback } else { SourceType::External };
    let kind = [wanted, SourceType::Any]
        .into_iter()
        .find(|kind| left.iter().any(|source| source.kind == *kind))?;
    left.retain(|source| source.kind == kind);

    let address = best_range(left.iter().map(|source| source.address), facts.peer)?;
    left.retain(|source| source.address == address);

    [Some(facts.peer.port()), None]
        .into_iter()
        .find_map(|port| left.iter().find(|source| source.port == port))
        .map(|source| source.chain)
}

/// The longest of the ranges that holds the address; the inner `None` is any.
fn best_range(
    ranges: impl Iterator<Item = Option<IpNet>>,
    address: SocketAddr,
) -> Option<Option<IpNet>> {
    let address = address.ip().to_canonical();
    ranges.filter(|range| holds(*range, address)).max_by_key(|range| prefix_length(*range))
}

fn holds(range: Option<IpNet>, address: IpAddr) -> bool {
    range.is_none_or(|range| range.contains(&address))
}

/// Any address counts as the empty prefix.
fn prefix_length(range: Option<IpNet>) -> u8 {
    range.map_or(0, |range| range.prefix_len())
}
