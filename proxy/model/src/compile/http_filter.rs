//! HTTP filters, and what routes change of them.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_api::any::{holds, message_name};
use mesh_api::envoy::http::{cors, fault, grpc_stats, grpc_web, router};
use mesh_api::envoy::network::http_connection_manager::{HttpFilter as PbFilter, http_filter};
use mesh_api::envoy::protobuf::Any;
use mesh_api::envoy::route::FilterConfig;
use mesh_api::istio::filter::{alpn, peer_metadata, stats};
use prost::Name;

use super::notes::{Flaw, Notes, Path, unpack, untyped};
use super::{header, units};
use crate::http::filter::{
    AbortWith, Alpn, CorsPolicy, Fault, FilterOverride, FilterOverrides, GrpcStats, HttpFilter,
    HttpFilterConfig, IstioStats, MetricOverride, PeerMetadata, Percentage, Router,
};

/// The filters of a connection manager. The last one, and only that, is the router.
pub(super) fn filters(
    values: &[PbFilter],
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<HttpFilterConfig>, Flaw> {
    let mut filters = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let here = path.item("http_filters", index);
        let Some(filter) = filter(value, &here, notes)? else { continue };
        if matches!(filter, HttpFilter::Router(_)) && index + 1 < values.len() {
            return Err(here.flaw("the router must be the last filter"));
        }
        let name = value.name.as_str().into();
        filters.push(HttpFilterConfig { name, disabled: value.disabled, filter });
    }
    match filters.last().map(|last| &last.filter) {
        Some(HttpFilter::Router(_) | HttpFilter::Refuse(_)) => Ok(filters),
        _ => Err(path.field("http_filters").flaw("the last filter is not the router")),
    }
}

fn filter(
    value: &PbFilter,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<HttpFilter>, Flaw> {
    let config = match &value.config_type {
        Some(http_filter::ConfigType::TypedConfig(any)) => untyped(any, path)?,
        Some(http_filter::ConfigType::ConfigDiscovery(_)) => {
            let reason = "filters are not configured by discovery here";
            return Ok(Some(HttpFilter::Refuse(notes.refuse(path, &value.name, reason))));
        }
        None => return Err(path.field("typed_config").flaw("is missing")),
    };
    let here = path.field("typed_config");
    let name = message_name(&config.type_url);
    Ok(Some(if holds::<router::Router>(&config) {
        let router: router::Router = unpack(&config, &here)?;
        notes.ignored(&here, "upstream_log", !router.upstream_log.is_empty());
        notes.ignored(&here, "upstream_http_filters", !router.upstream_http_filters.is_empty());
        HttpFilter::Router(Router {
            start_child_span: router.start_child_span,
            suppress_envoy_headers: router.suppress_envoy_headers,
            respect_expected_rq_timeout: router.respect_expected_rq_timeout,
        })
    } else if holds::<fault::HttpFault>(&config) {
        HttpFilter::Fault(Arc::new(faults(&unpack(&config, &here)?, &here, notes)?))
    } else if holds::<cors::Cors>(&config) {
        HttpFilter::Cors
    } else if holds::<grpc_web::GrpcWeb>(&config) {
        HttpFilter::GrpcWeb
    } else if holds::<grpc_stats::FilterConfig>(&config) {
        let stats: grpc_stats::FilterConfig = unpack(&config, &here)?;
        use grpc_stats::filter_config::PerMethodStatSpecifier as S;
        HttpFilter::GrpcStats(GrpcStats {
            emit_filter_state: stats.emit_filter_state,
            stats_for_all_methods: matches!(
                &stats.per_method_stat_specifier,
                Some(S::StatsForAllMethods(all)) if all.value
            ),
        })
    } else if name == alpn::FilterConfig::full_name() {
        HttpFilter::Alpn(Arc::new(alpns(&unpack(&config, &here)?)))
    } else if name == stats::PluginConfig::full_name() {
        HttpFilter::IstioStats(Arc::new(istio_stats(&unpack(&config, &here)?, &here, notes)?))
    } else if name == peer_metadata::Config::full_name() {
        HttpFilter::PeerMetadata(Arc::new(peers(&unpack(&config, &here)?)))
    } else if value.is_optional {
        notes.warn(path, format_args!("the optional filter {name} is left out"));
        return Ok(None);
    } else {
        let reason = format!("the filter {name} is not known");
        HttpFilter::Refuse(notes.refuse(path, &value.name, reason))
    }))
}

fn faults(value: &fault::HttpFault, path: &Path<'_>, notes: &mut Notes) -> Result<Fault, Flaw> {
    use fault::fault_abort::ErrorType;
    use mesh_api::envoy::http::fault::HttpFault;
    let HttpFault { delay, abort, response_rate_limit, .. } = value;
    notes.ignored(path, "response_rate_limit", response_rate_limit.is_some());
    let share = |share: &Option<_>| share.as_ref().map_or(NONE, units::percentage);
    let mut fault = Fault {
        headers: header::matchers(&value.headers, path, "headers")?,
        upstream_cluster: units::non_empty(&value.upstream_cluster),
        downstream_nodes: units::texts(&value.downstream_nodes),
        max_active_faults: value.max_active_faults.as_ref().map(|max| max.value),
        ..Fault::default()
    };
    if let Some(delay) = delay {
        let here = path.field("delay");
        match delay.fault_delay_secifier.as_ref().and_then(fixed_delay) {
            Some(fixed) => {
                let time = units::duration(Some(&fixed), &here, "fixed_delay")?;
                fault.delay = time.map(|time| (time, share(&delay.percentage)));
            }
            None => notes.warn(&here, "only a fixed delay is injected"),
        }
    }
    if let Some(abort) = abort {
        let here = path.field("abort");
        let with = match abort.error_type {
            Some(ErrorType::HttpStatus(status)) => u16::try_from(status)
                .ok()
                .filter(|status| (200..600).contains(status))
                .map(AbortWith::Http)
                .ok_or_else(|| here.field("http_status").flaw("is no status"))?,
            Some(ErrorType::GrpcStatus(status)) => AbortWith::Grpc(status),
            Some(ErrorType::HeaderAbort(_)) | None => {
                notes.warn(&here, "only a fixed status is injected");
                return Ok(fault);
            }
        };
        fault.abort = Some((with, share(&abort.percentage)));
    }
    Ok(fault)
}

/// Envoy's default of an absent percentage.
const NONE: Percentage = Percentage { numerator: 0, denominator: 100 };

/// Envoy's field is spelled so.
fn fixed_delay(
    value: &mesh_api::envoy::http_fault::fault_delay::FaultDelaySecifier,
) -> Option<mesh_api::envoy::protobuf::Duration> {
    use mesh_api::envoy::http_fault::fault_delay::FaultDelaySecifier as S;
    match value {
        S::FixedDelay(fixed) => Some(*fixed),
        S::HeaderDelay(_) => None,
    }
}

fn alpns(value: &alpn::FilterConfig) -> Alpn {
    use alpn::filter_config::Protocol;
    let mut alpns = Alpn::default();
    for row in &value.alpn_override {
        let protocols = units::texts(&row.alpn_override);
        match row.upstream_protocol() {
            Protocol::Http10 => alpns.http10 = protocols,
            Protocol::Http11 => alpns.http11 = protocols,
            Protocol::Http2 => alpns.http2 = protocols,
        }
    }
    alpns
}

/// Istio's metrics; also of the network filter.
pub(super) fn istio_stats(
    value: &stats::PluginConfig,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<IstioStats, Flaw> {
    notes.ignored(path, "definitions", !value.definitions.is_empty());
    Ok(IstioStats {
        disable_host_header_fallback: value.disable_host_header_fallback,
        tcp_reporting_duration: units::duration(
            value.tcp_reporting_duration.as_ref(),
            path,
            "tcp_reporting_duration",
        )?,
        reporter_server_gateway: value.reporter() == stats::Reporter::ServerGateway,
        overrides: value
            .metrics
            .iter()
            .map(|metric| MetricOverride {
                name: metric.name.as_str().into(),
                drop: metric.drop,
                dimensions: metric
                    .dimensions
                    .iter()
                    .map(|(label, expression)| (label.as_str().into(), expression.as_str().into()))
                    .collect(),
                tags_to_remove: units::texts(&metric.tags_to_remove),
            })
            .collect(),
    })
}

fn peers(value: &peer_metadata::Config) -> PeerMetadata {
    use peer_metadata::config::discovery_method::MethodSpecifier as D;
    use peer_metadata::config::propagation_method::MethodSpecifier as P;
    let discovers = |methods: &[peer_metadata::config::DiscoveryMethod]| {
        methods.iter().any(|method| matches!(method.method_specifier, Some(D::IstioHeaders(_))))
    };
    let looks_up = |methods: &[peer_metadata::config::DiscoveryMethod]| {
        methods
            .iter()
            .any(|method| matches!(method.method_specifier, Some(D::WorkloadDiscovery(_))))
    };
    let headers = |methods: &[peer_metadata::config::PropagationMethod]| {
        methods.iter().find_map(|method| {
            method
                .method_specifier
                .as_ref()
                .map(|P::IstioHeaders(headers)| headers.skip_external_clusters)
        })
    };
    let upstream = headers(&value.upstream_propagation);
    PeerMetadata {
        downstream_discovery: discovers(&value.downstream_discovery),
        upstream_discovery: discovers(&value.upstream_discovery),
        downstream_propagation: headers(&value.downstream_propagation).is_some(),
        upstream_propagation: upstream.is_some(),
        skip_external_clusters: upstream == Some(true),
        workload_discovery: looks_up(&value.downstream_discovery)
            || looks_up(&value.upstream_discovery),
        additional_labels: units::texts(&value.additional_labels),
    }
}

/// What a table, virtual host, route or weighted cluster changes of filters.
pub(super) fn overrides(
    values: &HashMap<String, Any>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<FilterOverrides, Flaw> {
    let mut names: Vec<&String> = values.keys().collect();
    names.sort();
    let mut overrides = FilterOverrides::default();
    for name in names {
        let field = format!("typed_per_filter_config[{name:?}]");
        let here = path.field(&field);
        if let Some(change) = change(name, &untyped(&values[name], &here)?, &here, notes)? {
            overrides.0.push((name.as_str().into(), change));
        }
    }
    Ok(overrides)
}

fn change(
    name: &str,
    config: &Any,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<FilterOverride>, Flaw> {
    if holds::<FilterConfig>(config) {
        let wrapper: FilterConfig = unpack(config, path)?;
        if wrapper.disabled {
            return Ok(Some(FilterOverride::Disabled));
        }
        return match &wrapper.config {
            Some(inner) if holds::<FilterConfig>(inner) => {
                Err(path.field("config").flaw("wraps another FilterConfig"))
            }
            Some(inner) if !inner.type_url.is_empty() => {
                change(name, &untyped(inner, path)?, path, notes)
            }
            _ => Ok(Some(FilterOverride::Enabled)),
        };
    }
    Ok(Some(if holds::<fault::HttpFault>(config) {
        FilterOverride::Fault(Arc::new(faults(&unpack(config, path)?, path, notes)?))
    } else if holds::<cors::CorsPolicy>(config) {
        FilterOverride::Cors(Arc::new(cors_policy(&unpack(config, path)?, path)?))
    } else {
        let reason = format!("{} is not known", message_name(&config.type_url));
        FilterOverride::Refuse(notes.refuse(path, name, reason))
    }))
}

fn cors_policy(value: &cors::CorsPolicy, path: &Path<'_>) -> Result<CorsPolicy, Flaw> {
    let origin = |(index, matcher)| {
        units::string_matcher(matcher, &path.item("allow_origin_string_match", index))
    };
    Ok(CorsPolicy {
        allow_origins: value
            .allow_origin_string_match
            .iter()
            .enumerate()
            .map(origin)
            .collect::<Result<_, _>>()?,
        allow_methods: units::non_empty(&value.allow_methods),
        allow_headers: units::non_empty(&value.allow_headers),
        expose_headers: units::non_empty(&value.expose_headers),
        max_age: units::non_empty(&value.max_age),
        allow_credentials: units::is_true(value.allow_credentials.as_ref()),
        forward_not_matching_preflights: value
            .forward_not_matching_preflights
            .as_ref()
            .is_none_or(|forward| forward.value),
    })
}
