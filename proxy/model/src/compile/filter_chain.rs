//! `FilterChain`: its match, transport and network filters.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::any::{holds, message_name};
use mesh_api::envoy::listener::{
    Filter, FilterChain as PbChain, FilterChainMatch, filter,
    filter_chain_match::ConnectionSourceType,
};
use mesh_api::envoy::network::connection_limit::ConnectionLimit;
use mesh_api::envoy::network::http_connection_manager::HttpConnectionManager;
use mesh_api::envoy::network::tcp_proxy::{TcpProxy as PbTcp, tcp_proxy::ClusterSpecifier};
use mesh_api::envoy::protobuf::Any;
use mesh_api::envoy::types::hash_policy::PolicySpecifier;
use mesh_api::istio::filter::{metadata_exchange, stats};
use prost::Name;

use super::notes::{Flaw, Notes, Path, unpack, untyped};
use super::{access_log, http_filter, manager, tls, units};
use crate::facts::DetectedTransport;
use crate::filter_chain::{ChainMatch, FilterChain, NetworkFilter, SourceType, Terminal};
use crate::http::hash_policy::{HashPolicy, HashSource};
use crate::tcp_proxy::{MetadataExchange, TcpProxy, WeightedClusters};

/// A filter chain.
pub(super) fn chain(
    value: &PbChain,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<FilterChain, Flaw> {
    let (transport, transport_hash) =
        tls::downstream(value.transport_socket.as_ref(), &path.field("transport_socket"), notes)?;
    let (filters, terminal) = filters(&value.filters, path, notes)?;
    Ok(FilterChain {
        name: value.name.as_str().into(),
        matching: match &value.filter_chain_match {
            Some(matching) => chain_match(matching, &path.field("filter_chain_match"), notes)?,
            None => ChainMatch::default(),
        },
        transport,
        filters,
        terminal,
        transport_hash,
        transport_socket_connect_timeout: units::limit(
            value.transport_socket_connect_timeout.as_ref(),
            None,
            path,
            "transport_socket_connect_timeout",
        )?,
    })
}

fn chain_match(
    value: &FilterChainMatch,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<ChainMatch, Flaw> {
    notes.ignored(path, "address_suffix", !value.address_suffix.is_empty());
    let port = |number: u32, field: &str| units::port(number, &path.field(field));
    Ok(ChainMatch {
        destination_port: match &value.destination_port {
            Some(number) => Some(port(number.value, "destination_port")?),
            None => None,
        },
        prefix_ranges: units::ranges(&value.prefix_ranges, path, "prefix_ranges")?,
        server_names: value
            .server_names
            .iter()
            .map(|name| {
                if name.strip_prefix('*').unwrap_or(name).contains('*') || name == "*" {
                    let reason = format_args!("{name:?} has a wildcard that is not a first label");
                    return Err(path.field("server_names").flaw(reason));
                }
                Ok(name.to_ascii_lowercase().into())
            })
            .collect::<Result<_, _>>()?,
        transport: match value.transport_protocol.as_str() {
            "" => None,
            "tls" => Some(DetectedTransport::Tls),
            "raw_buffer" => Some(DetectedTransport::Raw),
            other => {
                let reason = format_args!("{other:?} is neither tls nor raw_buffer");
                return Err(path.field("transport_protocol").flaw(reason));
            }
        },
        application_protocols: units::texts(&value.application_protocols),
        direct_source_prefix_ranges: units::ranges(
            &value.direct_source_prefix_ranges,
            path,
            "direct_source_prefix_ranges",
        )?,
        source_type: match value.source_type() {
            ConnectionSourceType::Any => SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
            ConnectionSourceType::External => SourceType::External,
        },
        source_prefix_ranges: units::ranges(
            &value.source_prefix_ranges,
            path,
            "source_prefix_ranges",
        )?,
        source_ports: value
            .source_ports
            .iter()
            .map(|number| port(*number, "source_ports"))
            .collect::<Result<_, _>>()?,
    })
}

fn filters(
    values: &[Filter],
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<(Vec<NetworkFilter>, Terminal), Flaw> {
    let mut filters = Vec::new();
    let mut exchange = None;
    for (index, value) in values.iter().enumerate() {
        let here = path.item("filters", index);
        let config = match &value.config_type {
            Some(filter::ConfigType::TypedConfig(any)) => untyped(any, &here)?,
            Some(filter::ConfigType::ConfigDiscovery(_)) => {
                let reason = "filters are not configured by discovery here";
                filters.push(NetworkFilter::Refuse(notes.refuse(&here, &value.name, reason)));
                continue;
            }
            None => return Err(here.field("typed_config").flaw("is missing")),
        };
        let last = index + 1 == values.len();
        let config_path = here.field("typed_config");
        if let Some(terminal) = terminal(&config, exchange.as_ref(), &config_path, notes)? {
            if !last {
                return Err(here.flaw("ends the chain, and is not its last filter"));
            }
            return Ok((filters, terminal));
        }
        if message_name(&config.type_url) == metadata_exchange::MetadataExchange::full_name() {
            let held: metadata_exchange::MetadataExchange = unpack(&config, &config_path)?;
            exchange = Some(MetadataExchange {
                protocol: held.protocol.as_str().into(),
                discovery: held.enable_discovery,
            });
            continue;
        }
        filters.push(network_filter(value, &config, &here, notes)?);
    }
    // Envoy closes connections of a chain without filters at once.
    if values.is_empty() {
        return Ok((filters, Terminal::Refuse { reason: "the chain has no filters".into() }));
    }
    if filters.iter().any(|filter| matches!(filter, NetworkFilter::Refuse(_))) {
        let reason = "the chain's last filter is not known".into();
        return Ok((filters, Terminal::Refuse { reason }));
    }
    Err(path.field("filters").flaw("the last filter does not end the chain"))
}

fn network_filter(
    value: &Filter,
    config: &Any,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<NetworkFilter, Flaw> {
    let here = path.field("typed_config");
    let name = message_name(&config.type_url);
    if name == stats::PluginConfig::full_name() {
        let stats = http_filter::istio_stats(&unpack(config, &here)?, &here, notes)?;
        return Ok(NetworkFilter::IstioStats(Arc::new(stats)));
    }
    if holds::<ConnectionLimit>(config) {
        let limit: ConnectionLimit = unpack(config, &here)?;
        return Ok(NetworkFilter::ConnectionLimit {
            max: limit.max_connections.as_ref().map_or(u64::MAX, |max| max.value),
            delay: units::duration(limit.delay.as_ref(), &here, "delay")?,
        });
    }
    let reason = format!("the filter {name} is not known");
    Ok(NetworkFilter::Refuse(notes.refuse(path, &value.name, reason)))
}

fn terminal(
    config: &Any,
    exchange: Option<&MetadataExchange>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<Terminal>, Flaw> {
    if holds::<HttpConnectionManager>(config) {
        let manager = manager::manager(&unpack(config, path)?, path, notes)?;
        return Ok(Some(Terminal::Http(Arc::new(manager))));
    }
    if holds::<PbTcp>(config) {
        let tcp = tcp_proxy(&unpack(config, path)?, exchange, path, notes)?;
        return Ok(Some(Terminal::Tcp(Arc::new(tcp))));
    }
    Ok(None)
}

/// Envoy's time without bytes after which a connection is closed.
const TCP_IDLE: Duration = Duration::from_secs(3600);

fn tcp_proxy(
    value: &PbTcp,
    exchange: Option<&MetadataExchange>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<TcpProxy, Flaw> {
    let clusters = match &value.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            WeightedClusters::one(name.as_str())
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let rows = weighted.clusters.iter();
            let rows = rows.map(|row| (row.name.as_str().into(), row.weight)).collect();
            WeightedClusters::new(rows)
                .ok_or_else(|| path.field("weighted_clusters").flaw("no weight is positive"))?
        }
        _ => return Err(path.field("cluster").flaw("names no cluster")),
    };
    if value.tunneling_config.is_some() {
        return Err(path.field("tunneling_config").flaw("connections are not tunnelled here"));
    }
    notes.ignored(path, "metadata_match", value.metadata_match.is_some());
    let attempts = value.max_connect_attempts.as_ref().map_or(1, |attempts| attempts.value);
    Ok(TcpProxy {
        stat_prefix: value.stat_prefix.as_str().into(),
        clusters,
        idle_timeout: units::limit(
            value.idle_timeout.as_ref(),
            Some(TCP_IDLE),
            path,
            "idle_timeout",
        )?,
        max_duration: units::limit(
            value.max_downstream_connection_duration.as_ref(),
            None,
            path,
            "max_downstream_connection_duration",
        )?,
        max_connect_attempts: attempts.max(1),
        access_logs: access_log::logs(&value.access_log, path, notes)?,
        hash_policies: value
            .hash_policy
            .iter()
            .filter(|policy| matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_))))
            .map(|_| HashPolicy { source: HashSource::SourceIp, terminal: false })
            .collect(),
        metadata_exchange: exchange.cloned(),
    })
}
