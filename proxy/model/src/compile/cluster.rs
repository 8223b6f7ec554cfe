//! `Cluster`.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::any::message_name;
use mesh_api::envoy::cluster::{
    CircuitBreakers as PbBreakers, Cluster as PbCluster, OutlierDetection as PbOutlier,
    circuit_breakers::Thresholds as PbThresholds,
    cluster::{
        ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbConfig, LbPolicy as PbPolicy,
        common_lb_config::LocalityConfigSpecifier,
    },
};
use mesh_api::envoy::core::RoutingPriority;
use mesh_api::envoy::protobuf::{UInt32Value, value::Kind};
use mesh_api::envoy::upstream::http_protocol_options::{
    HttpProtocolOptions,
    http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
};

use super::notes::{Flaw, Notes, Path, unpack};
use super::{endpoint, manager, tls, units};
use crate::cluster::{
    CircuitBreakers, Cluster, ClusterMetadata, Discovery, DnsFamily, DnsSettings, Http1Options,
    LbPolicy, OutlierDetection, RetryBudget, ServiceMetadata, SlowStart, Thresholds,
    TransportMatch, UpstreamProtocol, UpstreamTransport, UpstreamTransports,
};
use crate::endpoint::EndpointSet;
use crate::http::hash_policy::fnv;

/// The key of the HTTP options among a cluster's protocol options.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A cluster.
///
/// # Errors
/// When the message means nothing.
pub fn cluster(
    value: &PbCluster,
    version: &Arc<str>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Cluster, Flaw> {
    for (field, set) in [
        ("health_checks", !value.health_checks.is_empty()),
        ("filters", !value.filters.is_empty()),
        ("lb_subset_config", value.lb_subset_config.is_some()),
        ("preconnect_policy", value.preconnect_policy.is_some()),
        ("transport_socket_matcher", value.transport_socket_matcher.is_some()),
    ] {
        notes.ignored(path, field, set);
    }
    let http = http_options(value, path)?;
    let common = http.as_ref().and_then(|http| http.common_http_protocol_options);
    let common = common.unwrap_or_default();
    let max_requests =
        common.max_requests_per_connection.as_ref().or(value.max_requests_per_connection.as_ref());
    let lb = common_lb(value);
    let connect_timeout = units::duration(value.connect_timeout.as_ref(), path, "connect_timeout")?;
    let options = value.upstream_connection_options.as_ref();
    let mut cluster = Cluster {
        name: value.name.as_str().into(),
        version: Arc::clone(version),
        alt_stat_name: units::non_empty(&value.alt_stat_name),
        discovery: discovery(value, version, lb.weighted_localities, path, notes)?,
        connect_timeout: connect_timeout
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(Duration::from_secs(5)),
        lb: policy(value, path, notes)?,
        slow_start: slow_start(value, path)?,
        panic_threshold: lb.panic_threshold,
        weighted_localities: lb.weighted_localities,
        circuit: breakers(value.circuit_breakers.as_ref()),
        outlier: match &value.outlier_detection {
            Some(outlier) => {
                Some(outlier_detection(outlier, &path.field("outlier_detection"), notes)?)
            }
            None => None,
        },
        transports: transports(value, path, notes)?,
        protocol: protocol(http.as_ref(), path, notes)?,
        max_requests_per_connection: max_requests.map(|max| max.value).filter(|max| *max > 0),
        idle_timeout: units::limit(
            common.idle_timeout.as_ref(),
            Some(Duration::from_secs(3600)),
            path,
            "common_http_protocol_options.idle_timeout",
        )?,
        max_connection_duration: units::limit(
            common.max_connection_duration.as_ref(),
            None,
            path,
            "common_http_protocol_options.max_connection_duration",
        )?,
        max_stream_duration: units::limit(
            common.max_stream_duration.as_ref(),
            None,
            path,
            "common_http_protocol_options.max_stream_duration",
        )?,
        tcp_keepalive: options
            .and_then(|options| options.tcp_keepalive.as_ref())
            .map(units::keepalive),
        bind_source: bind_source(value, path)?,
        per_connection_buffer_limit: number(value.per_connection_buffer_limit_bytes.as_ref()),
        close_on_host_removal: lb.close_on_host_removal,
        metadata: metadata(value),
        hash: 0,
    };
    cluster.hash = hash(&cluster);
    Ok(cluster)
}

fn number(value: Option<&UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

struct CommonLb {
    panic_threshold: u32,
    weighted_localities: bool,
    close_on_host_removal: bool,
}

fn common_lb(value: &PbCluster) -> CommonLb {
    let common = value.common_lb_config.as_ref();
    let threshold = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    // Percentages are between 0 and 100; anything else is cut.
    let percent = threshold.map_or(50.0, |threshold| threshold.value.clamp(0.0, 100.0));
    CommonLb {
        panic_threshold: (0..=100).rev().find(|whole| f64::from(*whole) <= percent).unwrap_or(0),
        weighted_localities: matches!(
            common.and_then(|common| common.locality_config_specifier.as_ref()),
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        close_on_host_removal: common
            .is_some_and(|common| common.close_connections_on_host_set_change),
    }
}

fn discovery(
    value: &PbCluster,
    version: &Arc<str>,
    weighted: bool,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Discovery, Flaw> {
    let kind = match &value.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number)
            .map_err(|_| path.field("type").flaw(format_args!("{number} is not known")))?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let reason = "the kind of cluster is not known";
            return Ok(Discovery::Refuse(notes.refuse(path, &custom.name, reason)));
        }
        None => DiscoveryType::Static,
    };
    let mut given = || -> Result<Arc<EndpointSet>, Flaw> {
        let here = path.field("load_assignment");
        let assignment = value.load_assignment.clone().unwrap_or_default();
        let mut set = endpoint::assignment(&assignment, version, &here, notes)?;
        set.weighted_localities = weighted;
        Ok(Arc::new(set))
    };
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(given()?),
        DiscoveryType::StrictDns => {
            Discovery::StrictDns { endpoints: given()?, dns: dns(value, path)? }
        }
        DiscoveryType::LogicalDns => {
            let endpoints = given()?;
            if endpoints.endpoints().count() != 1 {
                return Err(path.field("load_assignment").flaw("needs exactly one endpoint"));
            }
            Discovery::LogicalDns { endpoints, dns: dns(value, path)? }
        }
        DiscoveryType::Eds => {
            let config = value.eds_cluster_config.as_ref();
            let name = config.and_then(|config| units::non_empty(&config.service_name));
            Discovery::Eds { service_name: name.unwrap_or_else(|| value.name.as_str().into()) }
        }
        DiscoveryType::OriginalDst => original_dst(value, path)?,
    })
}

fn original_dst(value: &PbCluster, path: &Path<'_>) -> Result<Discovery, Flaw> {
    let Some(LbConfig::OriginalDstLbConfig(config)) = &value.lb_config else {
        return Ok(Discovery::OriginalDst { use_header: None, port_override: None });
    };
    let here = path.field("original_dst_lb_config");
    let use_header = config.use_http_header.then(|| {
        units::non_empty(&config.http_header_name.to_ascii_lowercase())
            .unwrap_or_else(|| "x-envoy-original-dst-host".into())
    });
    let port_override = match number(config.upstream_port_override.as_ref()) {
        Some(port) => Some(units::port(port, &here.field("upstream_port_override"))?),
        None => None,
    };
    Ok(Discovery::OriginalDst { use_header, port_override })
}

fn dns(value: &PbCluster, path: &Path<'_>) -> Result<DnsSettings, Flaw> {
    let rate = units::duration(value.dns_refresh_rate.as_ref(), path, "dns_refresh_rate")?;
    Ok(DnsSettings {
        refresh_rate: rate.filter(|rate| !rate.is_zero()).unwrap_or(Duration::from_secs(5)),
        respect_ttl: value.respect_dns_ttl,
        family: match value.dns_lookup_family() {
            DnsLookupFamily::Auto => DnsFamily::Auto,
            DnsLookupFamily::V4Only => DnsFamily::V4Only,
            DnsLookupFamily::V6Only => DnsFamily::V6Only,
            DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
            DnsLookupFamily::All => DnsFamily::All,
        },
    })
}

fn policy(value: &PbCluster, path: &Path<'_>, notes: &mut Notes) -> Result<LbPolicy, Flaw> {
    if let Some(typed) = &value.load_balancing_policy {
        return typed_policy(typed, &path.field("load_balancing_policy"), notes);
    }
    Ok(match value.lb_policy() {
        PbPolicy::RoundRobin => LbPolicy::RoundRobin,
        PbPolicy::LeastRequest => {
            let choices = match &value.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => {
                    number(config.choice_count.as_ref())
                }
                _ => None,
            };
            LbPolicy::LeastRequest { choices: choices.unwrap_or(2).clamp(2, 100) }
        }
        PbPolicy::Random => LbPolicy::Random,
        PbPolicy::RingHash => {
            let config = match &value.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => *config,
                _ => Default::default(),
            };
            let minimum = config.minimum_ring_size.as_ref().map_or(1024, |size| size.value);
            let maximum = config.maximum_ring_size.as_ref().map_or(8 << 20, |size| size.value);
            if minimum > maximum {
                let here = path.field("ring_hash_lb_config.minimum_ring_size");
                return Err(here.flaw("is above the maximum"));
            }
            LbPolicy::RingHash { minimum_ring_size: minimum, maximum_ring_size: maximum }
        }
        PbPolicy::Maglev => {
            let size = match &value.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => {
                    config.table_size.as_ref().map(|size| size.value)
                }
                _ => None,
            };
            LbPolicy::Maglev { table_size: size.unwrap_or(65_537) }
        }
        PbPolicy::ClusterProvided => LbPolicy::ClusterProvided,
        PbPolicy::LoadBalancingPolicyConfig => {
            return Err(path.field("load_balancing_policy").flaw("is missing"));
        }
    })
}

/// The first policy of the list that is known.
fn typed_policy(
    value: &mesh_api::envoy::cluster::LoadBalancingPolicy,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<LbPolicy, Flaw> {
    for (index, policy) in value.policies.iter().enumerate() {
        let config = policy.typed_extension_config.as_ref();
        let Some(config) = config.and_then(|config| config.typed_config.as_ref()) else { continue };
        let name = message_name(&config.type_url);
        notes.ignored(&path.item("policies", index), "typed_config", !config.value.is_empty());
        match name.rsplit('.').next() {
            Some("RoundRobin") => return Ok(LbPolicy::RoundRobin),
            Some("LeastRequest") => return Ok(LbPolicy::LeastRequest { choices: 2 }),
            Some("Random") => return Ok(LbPolicy::Random),
            Some("Maglev") => return Ok(LbPolicy::Maglev { table_size: 65_537 }),
            Some("RingHash") => {
                return Ok(LbPolicy::RingHash {
                    minimum_ring_size: 1024,
                    maximum_ring_size: 8 << 20,
                });
            }
            _ => {}
        }
    }
    Err(path.field("policies").flaw("none of them is known"))
}

fn slow_start(value: &PbCluster, path: &Path<'_>) -> Result<Option<SlowStart>, Flaw> {
    let (config, field) = match &value.lb_config {
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            (config.slow_start_config.as_ref(), "round_robin_lb_config.slow_start_config")
        }
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            (config.slow_start_config.as_ref(), "least_request_lb_config.slow_start_config")
        }
        _ => return Ok(None),
    };
    let Some(config) = config else { return Ok(None) };
    let window = units::duration(config.slow_start_window.as_ref(), &path.field(field), "window")?;
    Ok(window.map(|window| SlowStart {
        window,
        aggression: config.aggression.as_ref().map_or(1.0, |aggression| aggression.default_value),
        min_weight_percent: config.min_weight_percent.as_ref().map_or(10.0, |least| least.value),
    }))
}

fn breakers(value: Option<&PbBreakers>) -> CircuitBreakers {
    let mut breakers = CircuitBreakers::default();
    for thresholds in value.into_iter().flat_map(|value| &value.thresholds) {
        match thresholds.priority() {
            RoutingPriority::Default => breakers.default = self::thresholds(thresholds),
            RoutingPriority::High => breakers.high = self::thresholds(thresholds),
        }
    }
    breakers
}

fn thresholds(value: &PbThresholds) -> Thresholds {
    let default = Thresholds::default();
    let budget = value.retry_budget.as_ref().map(|budget| {
        let percent = budget.budget_percent.as_ref().map_or(20.0, |percent| percent.value);
        let percent = percent.clamp(0.0, 100.0);
        let hundredths = (0..=10_000_u32).rev().find(|n| f64::from(*n) <= percent * 100.0);
        RetryBudget {
            per_ten_thousand: hundredths.unwrap_or(0),
            min_retry_concurrency: number(budget.min_retry_concurrency.as_ref()).unwrap_or(3),
        }
    });
    Thresholds {
        max_connections: number(value.max_connections.as_ref()).unwrap_or(default.max_connections),
        max_pending_requests: number(value.max_pending_requests.as_ref())
            .unwrap_or(default.max_pending_requests),
        max_requests: number(value.max_requests.as_ref()).unwrap_or(default.max_requests),
        max_retries: number(value.max_retries.as_ref()).unwrap_or(default.max_retries),
        retry_budget: budget,
        max_connection_pools: number(value.max_connection_pools.as_ref())
            .unwrap_or(default.max_connection_pools),
    }
}

fn outlier_detection(
    value: &PbOutlier,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<OutlierDetection, Flaw> {
    let default = OutlierDetection::default();
    let or = |value: Option<&UInt32Value>, other: u32| number(value).unwrap_or(other);
    // Ejection by success rate or failure percentage is on only where it is enforced.
    let rate = or(value.enforcing_success_rate.as_ref(), 100) > 0;
    notes.ignored(path, "enforcing_success_rate", rate && value.enforcing_success_rate.is_some());
    let share = or(value.enforcing_failure_percentage.as_ref(), 0) > 0;
    notes.ignored(path, "enforcing_failure_percentage", share);
    let time = |time, other: Duration, field: &str| {
        units::duration(time, path, field).map(|time| time.unwrap_or(other))
    };
    let base =
        time(value.base_ejection_time.as_ref(), default.base_ejection_time, "base_ejection_time")?;
    let most =
        time(value.max_ejection_time.as_ref(), default.max_ejection_time, "max_ejection_time")?;
    Ok(OutlierDetection {
        consecutive_5xx: or(value.consecutive_5xx.as_ref(), default.consecutive_5xx),
        enforcing_consecutive_5xx: or(
            value.enforcing_consecutive_5xx.as_ref(),
            default.enforcing_consecutive_5xx,
        ),
        consecutive_gateway_failure: or(
            value.consecutive_gateway_failure.as_ref(),
            default.consecutive_gateway_failure,
        ),
        enforcing_consecutive_gateway_failure: or(
            value.enforcing_consecutive_gateway_failure.as_ref(),
            default.enforcing_consecutive_gateway_failure,
        ),
        consecutive_local_origin_failure: or(
            value.consecutive_local_origin_failure.as_ref(),
            default.consecutive_local_origin_failure,
        ),
        enforcing_consecutive_local_origin_failure: or(
            value.enforcing_consecutive_local_origin_failure.as_ref(),
            default.enforcing_consecutive_local_origin_failure,
        ),
        split_external_local_origin_errors: value.split_external_local_origin_errors,
        interval: time(value.interval.as_ref(), default.interval, "interval")?,
        base_ejection_time: base,
        max_ejection_time: most.max(base),
        max_ejection_percent: or(value.max_ejection_percent.as_ref(), default.max_ejection_percent)
            .min(100),
    })
}

fn transports(
    value: &PbCluster,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<UpstreamTransports, Flaw> {
    let default = value.transport_socket.as_ref();
    let mut transports = UpstreamTransports {
        matches: Vec::with_capacity(value.transport_socket_matches.len()),
        default: tls::upstream(default, &path.field("transport_socket"), notes)?,
    };
    for (index, row) in value.transport_socket_matches.iter().enumerate() {
        let here = path.item("transport_socket_matches", index);
        let socket = row.transport_socket.as_ref();
        transports.matches.push(TransportMatch {
            name: row.name.as_str().into(),
            matching: units::flat(row.r#match.as_ref()),
            transport: tls::upstream(socket, &here.field("transport_socket"), notes)?,
        });
    }
    Ok(transports)
}

fn http_options(value: &PbCluster, path: &Path<'_>) -> Result<Option<HttpProtocolOptions>, Flaw> {
    let here = path.field("typed_extension_protocol_options");
    let found = value
        .typed_extension_protocol_options
        .iter()
        .find(|(_, any)| message_name(&any.type_url) == HTTP_OPTIONS);
    match found {
        Some((_, any)) => unpack(any, &here).map(Some),
        None => Ok(None),
    }
}

fn protocol(
    value: Option<&HttpProtocolOptions>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<UpstreamProtocol, Flaw> {
    let here = path.field("typed_extension_protocol_options");
    let Some(value) = value else { return Ok(UpstreamProtocol::default()) };
    notes.ignored(&here, "http_filters", value.http_filters.len() > 1);
    Ok(match &value.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match &explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
                    UpstreamProtocol::Http1(manager::http1(Some(http1)))
                }
                Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                    UpstreamProtocol::Http2(manager::http2(Some(http2), &here)?)
                }
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    return Err(here.field("explicit_http_config").flaw("HTTP/3 is not spoken"));
                }
                None => UpstreamProtocol::Http1(Http1Options::default()),
            }
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(both)) => {
            UpstreamProtocol::UseDownstream {
                http1: manager::http1(both.http_protocol_options.as_ref()),
                http2: manager::http2(both.http2_protocol_options.as_ref(), &here)?,
            }
        }
        Some(UpstreamProtocolOptions::AutoConfig(auto)) => UpstreamProtocol::AutoAlpn {
            http1: manager::http1(auto.http_protocol_options.as_ref()),
            http2: manager::http2(auto.http2_protocol_options.as_ref(), &here)?,
        },
        None => UpstreamProtocol::default(),
    })
}

fn bind_source(value: &PbCluster, path: &Path<'_>) -> Result<Option<std::net::IpAddr>, Flaw> {
    let config = value.upstream_bind_config.as_ref();
    let Some(source) = config.and_then(|config| config.source_address.as_ref()) else {
        return Ok(None);
    };
    let here = path.field("upstream_bind_config.source_address");
    source
        .address
        .parse()
        .map(Some)
        .map_err(|_| here.flaw(format_args!("{:?} is no address", source.address)))
}

fn metadata(value: &PbCluster) -> ClusterMetadata {
    let istio = units::namespace(value.metadata.as_ref(), "istio");
    let list = istio.and_then(|istio| istio.fields.get("services"));
    let services = match list.and_then(|list| list.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.as_slice(),
        _ => &[],
    };
    let service = |value: &mesh_api::envoy::protobuf::Value| {
        let Some(Kind::StructValue(service)) = &value.kind else { return None };
        let part = |key| units::text_in(Some(service), key).unwrap_or_default().into();
        Some(ServiceMetadata {
            host: part("host"),
            name: part("name"),
            namespace: part("namespace"),
        })
    };
    let port = istio.and_then(|istio| istio.fields.get("default_original_port"));
    let original_port = match port.and_then(|port| port.kind.as_ref()) {
        Some(Kind::NumberValue(number)) => (1..=u16::MAX).find(|port| f64::from(*port) == *number),
        Some(Kind::StringValue(text)) => text.parse().ok(),
        _ => None,
    };
    ClusterMetadata {
        services: services.iter().filter_map(service).collect(),
        config: units::istio_config(value.metadata.as_ref()),
        subset: units::text_in(istio, "subset").map(Arc::from),
        alpn_override: units::bool_in(istio, "alpn_override").unwrap_or(true),
        external: units::bool_in(istio, "external").unwrap_or(false)
            || units::bool_in(istio, "disable_mx").unwrap_or(false),
        original_port,
    }
}

/// Of everything that connections depend on, and the names that are resolved for them.
fn hash(cluster: &Cluster) -> u64 {
    let names = match &cluster.discovery {
        Discovery::StrictDns { endpoints, dns } | Discovery::LogicalDns { endpoints, dns } => {
            Some((&endpoints.priorities, dns))
        }
        _ => None,
    };
    let transports: Vec<_> = cluster
        .transports
        .matches
        .iter()
        .map(|row| (&row.matching, row.transport.hash()))
        .collect();
    let parts = (
        transports,
        cluster.transports.default.hash(),
        &cluster.protocol,
        cluster.bind_source,
        cluster.tcp_keepalive,
        cluster.max_requests_per_connection,
        (cluster.idle_timeout, cluster.max_connection_duration, cluster.connect_timeout),
        matches!(cluster.transports.default, UpstreamTransport::Raw),
        names,
    );
    fnv(format!("{parts:?}").as_bytes())
}
