//! `Listener`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::any::{holds, message_name};
use mesh_api::envoy::core::{Address, TrafficDirection as PbDirection};
use mesh_api::envoy::listener::{
    Listener as PbListener, ListenerFilter, ListenerFilterChainMatchPredicate, listener_filter,
    listener_filter_chain_match_predicate::Rule,
};
use mesh_api::envoy::listener_filter::{
    http_inspector::HttpInspector, original_dst::OriginalDst as PbOriginalDst,
    original_src::OriginalSrc, proxy_protocol::ProxyProtocol as PbProxyProtocol,
    tls_inspector::TlsInspector,
};

use super::notes::{Flaw, Notes, Path, unpack};
use super::{access_log, filter_chain, units};
use crate::endpoint::EndpointAddress;
use crate::filter_chain::FilterChains;
use crate::http::hash_policy::fnv;
use crate::listener::{
    Inspection, Inspector, Listener, OriginalDst, PortPredicate, ProxyProtocol, TrafficDirection,
};

/// A listener.
///
/// # Errors
/// When the message means nothing.
pub fn listener(
    value: &PbListener,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Listener, Flaw> {
    unsupported(value, path)?;
    let address = socket(value.address.as_ref(), &path.field("address"))?;
    let mut additional = Vec::new();
    for (index, other) in value.additional_addresses.iter().enumerate() {
        let here = path.item("additional_addresses", index);
        additional.push(socket(other.address.as_ref(), &here.field("address"))?);
    }
    let mut chains = Vec::with_capacity(value.filter_chains.len());
    for (index, chain) in value.filter_chains.iter().enumerate() {
        let here = path.item("filter_chains", index);
        chains.push(Arc::new(filter_chain::chain(chain, &here, notes)?));
    }
    let default_chain = match &value.default_filter_chain {
        Some(chain) => {
            let here = path.field("default_filter_chain");
            Some(Arc::new(filter_chain::chain(chain, &here, notes)?))
        }
        None => None,
    };
    let chains =
        FilterChains::new(chains).map_err(|error| path.field("filter_chains").flaw(error))?;
    let found = listener_filters(value, path, notes)?;
    let mut listener = Listener {
        name: value.name.as_str().into(),
        version: Arc::clone(version),
        address,
        additional_addresses: additional,
        bind: binds(value),
        use_original_dst: units::is_true(value.use_original_dst.as_ref()),
        // As in Envoy, handing over by the original destination restores it first.
        original_dst: match units::is_true(value.use_original_dst.as_ref()) {
            true => OriginalDst::Redirected,
            false => found.original_dst,
        },
        direction: match value.traffic_direction() {
            PbDirection::Unspecified => TrafficDirection::Unspecified,
            PbDirection::Inbound => TrafficDirection::Inbound,
            PbDirection::Outbound => TrafficDirection::Outbound,
        },
        inspect: found.inspect,
        chains,
        default_chain,
        access_logs: access_log::logs(&value.access_log, path, notes)?,
        proxy_protocol: found.proxy_protocol,
        per_connection_buffer_limit: value
            .per_connection_buffer_limit_bytes
            .as_ref()
            .map(|limit| limit.value),
        connection_limit: None,
        tcp_backlog: value.tcp_backlog_size.as_ref().map(|size| size.value),
        reuse_port: value.enable_reuse_port.as_ref().is_none_or(|reuse| reuse.value),
        transparent: units::is_true(value.transparent.as_ref()),
        freebind: units::is_true(value.freebind.as_ref()),
        tcp_keepalive: value.tcp_keepalive.as_ref().map(units::keepalive),
        stat_prefix: units::non_empty(&value.stat_prefix),
        config: units::istio_config(value.metadata.as_ref()),
        socket_hash: 0,
    };
    listener.socket_hash = socket_hash(&listener);
    Ok(listener)
}

fn unsupported(value: &PbListener, path: &Path<'_>) -> Result<(), Flaw> {
    let refused = [
        ("api_listener", value.api_listener.is_some()),
        ("udp_listener_config", value.udp_listener_config.is_some()),
        ("listener_specifier", value.listener_specifier.is_some()),
        ("filter_chain_matcher", value.filter_chain_matcher.is_some()),
        ("fcds_config", value.fcds_config.is_some()),
    ];
    match refused.into_iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(path.field(field).flaw("listeners of this kind are not served")),
        None => Ok(()),
    }
}

fn socket(value: Option<&Address>, path: &Path<'_>) -> Result<SocketAddr, Flaw> {
    match units::address(value, path)? {
        Some(EndpointAddress::Socket(address)) => Ok(address),
        Some(other) => Err(path.flaw(format_args!("{other} is not an address and port"))),
        None => Err(path.flaw("internal listeners are not served")),
    }
}

/// Whether a socket is bound, by the newer or the older field.
fn binds(value: &PbListener) -> bool {
    let older = value.deprecated_v1.as_ref().and_then(|older| older.bind_to_port.as_ref());
    value.bind_to_port.as_ref().or(older).is_none_or(|bind| bind.value)
}

#[derive(Default)]
struct Found {
    original_dst: OriginalDst,
    inspect: Inspection,
    proxy_protocol: Option<ProxyProtocol>,
}

fn listener_filters(value: &PbListener, path: &Path<'_>, notes: &mut Notes) -> Result<Found, Flaw> {
    let mut found = Found::default();
    found.inspect.timeout = units::limit(
        value.listener_filters_timeout.as_ref(),
        Some(Duration::from_secs(15)),
        path,
        "listener_filters_timeout",
    )?;
    found.inspect.continue_on_timeout = value.continue_on_listener_filters_timeout;
    for (index, filter) in value.listener_filters.iter().enumerate() {
        listener_filter(filter, &path.item("listener_filters", index), &mut found, notes)?;
    }
    Ok(found)
}

fn listener_filter(
    value: &ListenerFilter,
    path: &Path<'_>,
    found: &mut Found,
    notes: &mut Notes,
) -> Result<(), Flaw> {
    let Some(listener_filter::ConfigType::TypedConfig(config)) = &value.config_type else {
        return Err(path.field("typed_config").flaw("is missing"));
    };
    let here = path.field("filter_disabled");
    let disabled = match &value.filter_disabled {
        Some(predicate) => self::predicate(predicate, &here, 0)?,
        None => PortPredicate::Never,
    };
    if holds::<PbOriginalDst>(config) {
        found.original_dst = OriginalDst::Redirected;
    } else if holds::<TlsInspector>(config) {
        found.inspect.tls = Inspector::On { disabled };
    } else if holds::<HttpInspector>(config) {
        found.inspect.http = Inspector::On { disabled };
    } else if holds::<PbProxyProtocol>(config) {
        let settings: PbProxyProtocol = unpack(config, &path.field("typed_config"))?;
        let allow_without = settings.allow_requests_without_proxy_protocol;
        found.proxy_protocol = Some(ProxyProtocol { allow_without });
    } else if holds::<OriginalSrc>(config) {
        notes.warn(path, "connections are made from the proxy's own address");
    } else {
        let name = message_name(&config.type_url);
        return Err(path.flaw(format_args!("the listener filter {name} is not known")));
    }
    Ok(())
}

/// Predicates in one another at most.
const MAX_DEPTH: usize = 16;

fn predicate(
    value: &ListenerFilterChainMatchPredicate,
    path: &Path<'_>,
    depth: usize,
) -> Result<PortPredicate, Flaw> {
    if depth > MAX_DEPTH {
        return Err(path.flaw("has too many levels"));
    }
    let all = |rules: &[ListenerFilterChainMatchPredicate], field: &str| {
        let one = |(index, rule)| predicate(rule, &path.item(field, index), depth + 1);
        rules.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
    };
    Ok(match &value.rule {
        Some(Rule::OrMatch(set)) => PortPredicate::Or(all(&set.rules, "or_match.rules")?),
        Some(Rule::AndMatch(set)) => PortPredicate::And(all(&set.rules, "and_match.rules")?),
        Some(Rule::NotMatch(rule)) => {
            PortPredicate::Not(Box::new(predicate(rule, &path.field("not_match"), depth + 1)?))
        }
        Some(Rule::AnyMatch(any)) => {
            if *any {
                PortPredicate::Any
            } else {
                PortPredicate::Never
            }
        }
        Some(Rule::DestinationPortRange(range)) => {
            let bound = |value: i32| u32::try_from(value).unwrap_or(0);
            PortPredicate::Range(bound(range.start), bound(range.end))
        }
        None => return Err(path.flaw("has no rule")),
    })
}

/// Of everything a bound socket depends on.
fn socket_hash(listener: &Listener) -> u64 {
    let parts = (
        listener.address,
        &listener.additional_addresses,
        listener.bind,
        listener.reuse_port,
        listener.transparent,
        listener.freebind,
        listener.tcp_backlog,
    );
    fnv(format!("{parts:?}").as_bytes())
}
