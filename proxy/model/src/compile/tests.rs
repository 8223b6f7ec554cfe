//! Envoy's messages against the model they become.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::pool::message_from_json;
use proptest::prelude::{any, prop, proptest};
use prost::{Message, Name};
use serde_json::{Value as Json, json};

use super::notes::{Flaw, Notes, Path};
use super::{cluster, endpoint, listener, name_table, route, secret};
use crate::cluster::{Discovery, LbPolicy, UpstreamProtocol, UpstreamTransport};
use crate::endpoint::Health;
use crate::facts::{ConnFacts, DetectedTransport, RequestHead};
use crate::filter_chain::{DownstreamTransport, Terminal};
use crate::http::action::{Action, ClusterChoice};
use crate::http::filter::{FilterOverride, HttpFilter};
use crate::http::manager::RouteSource;
use crate::listener::{OriginalDst, TrafficDirection};
use crate::lookup::Lookup;

type Compile<M, T> = fn(&M, &Arc<str>, &Path<'_>, &mut Notes) -> Result<T, Flaw>;

/// Compiles a message written as JSON; the warnings' paths come with it.
fn compile<M, T>(json: Json, with: Compile<M, T>) -> (Result<T, Flaw>, Vec<String>)
where
    M: Message + Name + Default,
{
    let message: M = message_from_json(&json).unwrap();
    let mut notes = Notes::default();
    let result = with(&message, &"v1".into(), &Path::ROOT, &mut notes);
    (result, notes.warnings.into_iter().map(|warning| warning.path).collect())
}

fn clean<M: Message + Name + Default, T>(json: Json, with: Compile<M, T>) -> T {
    let (result, warnings) = compile(json, with);
    assert!(warnings.is_empty(), "{warnings:?}");
    result.unwrap()
}

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";
const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";

#[test]
fn a_path_reads_from_the_resource_downwards() {
    let chain = Path::ROOT.item("filter_chains", 2);
    let filter = chain.item("filters", 0);
    let path = filter.field("typed_config").to_string();
    assert_eq!(path, "filter_chains[2].filters[0].typed_config");
}

fn tcp(cluster: &str) -> Json {
    json!({"name": "envoy.filters.network.tcp_proxy", "typedConfig": {
        "@type": format!("{NETWORK}.tcp_proxy.v3.TcpProxy"),
        "statPrefix": cluster, "cluster": cluster}})
}

fn http(extra: Json) -> Json {
    let mut filters = vec![
        json!({"name": "istio.metadata_exchange", "typedConfig": {
            "@type": "type.googleapis.com/io.istio.http.peer_metadata.Config",
            "downstreamDiscovery": [{"istioHeaders": {}}, {"workloadDiscovery": {}}],
            "upstreamPropagation": [{"istioHeaders": {"skipExternalClusters": true}}]}}),
        json!({"name": "istio.alpn", "typedConfig": {
            "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
            "alpnOverride": [
                {"upstreamProtocol": "HTTP11", "alpnOverride": ["istio-http/1.1", "istio"]},
                {"upstreamProtocol": "HTTP2", "alpnOverride": ["istio-h2", "istio", "h2"]}]}}),
        json!({"name": "istio.stats", "typedConfig": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "typeUrl": "type.googleapis.com/stats.PluginConfig",
            "value": {"disable_host_header_fallback": true}}}),
    ];
    filters.extend(extra.as_array().cloned().unwrap_or_default());
    filters.push(json!({"name": "envoy.filters.http.router", "typedConfig": {
        "@type": format!("{HTTP}.router.v3.Router")}}));
    json!({"name": "envoy.filters.network.http_connection_manager", "typedConfig": {
        "@type": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "statPrefix": "outbound_0.0.0.0_9080",
        "rds": {"configSource": {"ads": {}}, "routeConfigName": "9080"},
        "streamIdleTimeout": "0s",
        "normalizePath": true,
        "forwardClientCertDetails": "APPEND_FORWARD",
        "setCurrentClientCertDetails": {"subject": true, "dns": true, "uri": true},
        "accessLog": [{"name": "envoy.access_loggers.file", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/stdout",
            "logFormat": {"textFormatSource": {"inlineString": "%PROTOCOL%\n"}}}}],
        "httpFilters": filters}})
}

fn server_tls() -> Json {
    json!({"name": "envoy.transport_sockets.tls", "typedConfig": {
        "@type": format!("{TLS}.DownstreamTlsContext"),
        "requireClientCertificate": true,
        "commonTlsContext": {
            "alpnProtocols": ["istio-peer-exchange", "h2", "http/1.1"],
            "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2"},
            "tlsCertificateSdsSecretConfigs": [{"name": "default"}],
            "combinedValidationContext": {
                "defaultValidationContext": {
                    "matchSubjectAltNames": [{"prefix": "spiffe://cluster.local/"}]},
                "validationContextSdsSecretConfig": {"name": "ROOTCA"}}}}})
}

/// What pilot sends of the inbound side.
#[test]
fn an_inbound_listener() {
    let listener = clean(
        json!({
            "name": "virtualInbound",
            "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 15006}},
            "trafficDirection": "INBOUND",
            "continueOnListenerFiltersTimeout": true,
            "listenerFilters": [
                {"name": "envoy.filters.listener.original_dst", "typedConfig": {"@type":
                    "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}},
                {"name": "envoy.filters.listener.tls_inspector", "typedConfig": {"@type":
                    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
                {"name": "envoy.filters.listener.http_inspector",
                 "filterDisabled": {"destinationPortRange": {"start": 9080, "end": 9081}},
                 "typedConfig": {"@type":
                    "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}},
            ],
            "filterChains": [
                {"name": "0.0.0.0_9080", "filterChainMatch": {"destinationPort": 9080,
                    "transportProtocol": "tls", "applicationProtocols": ["istio-h2"]},
                 "transportSocket": server_tls(), "filters": [http(json!([]))]},
                {"name": "0.0.0.0_9080", "filterChainMatch": {"destinationPort": 9080,
                    "transportProtocol": "raw_buffer"}, "filters": [http(json!([]))]},
                {"name": "virtualInbound-blackhole",
                 "filterChainMatch": {"destinationPort": 15006}, "filters": [tcp("BlackHoleCluster")]},
            ],
            "defaultFilterChain": {"name": "catchall", "filters": [
                {"name": "istio.metadata_exchange", "typedConfig": {
                    "@type": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
                    "protocol": "istio-peer-exchange"}},
                tcp("InboundPassthroughCluster")]},
        }),
        listener::listener,
    );
    assert_eq!(listener.direction, TrafficDirection::Inbound);
    assert_eq!(listener.original_dst, OriginalDst::Redirected);
    assert!(
        listener.bind && listener.inspect.tls.wants(9080) && !listener.inspect.http.wants(9080)
    );

    let mut facts =
        ConnFacts::plain("10.0.0.1:9080".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
    facts.transport = DetectedTransport::Tls;
    facts.application_protocols = vec!["istio-h2".into()];
    let chain = listener.chain_for(&facts).unwrap();
    let DownstreamTransport::Tls(tls) = &chain.transport else { panic!("{chain:?}") };
    assert!(tls.require_client_certificate);
    assert_eq!(&*tls.certificates[0].name, "default");
    assert_eq!(&*tls.validation.roots.as_ref().unwrap().name, "ROOTCA");
    assert!(tls.validation.sans[0].matcher.matches("spiffe://cluster.local/ns/a/sa/b"));
    let Terminal::Http(manager) = &chain.terminal else { panic!("{chain:?}") };
    assert_eq!(manager.timeouts.stream_idle, None, "zero is no limit");
    assert!(matches!(&manager.route, RouteSource::Rds(name) if &**name == "9080"));
    let [peers, alpn, stats, router] = manager.filters.as_slice() else { panic!() };
    assert!(matches!(&peers.filter, HttpFilter::PeerMetadata(p)
        if p.downstream_discovery && p.upstream_propagation && p.skip_external_clusters));
    assert!(matches!(&alpn.filter, HttpFilter::Alpn(a) if &*a.http2[0] == "istio-h2"));
    assert!(matches!(&stats.filter, HttpFilter::IstioStats(s) if s.disable_host_header_fallback));
    assert!(matches!(&router.filter, HttpFilter::Router(_)));

    facts.destination.set_port(1);
    let Terminal::Tcp(proxy) = &listener.chain_for(&facts).unwrap().terminal else { panic!() };
    assert_eq!(&*proxy.metadata_exchange.as_ref().unwrap().protocol, "istio-peer-exchange");
}

#[test]
fn an_unknown_filter_refuses_its_traffic_only() {
    let lua = json!([{"name": "lua", "typedConfig": {"@type": format!("{HTTP}.lua.v3.Lua")}}]);
    let (listener, warnings) = compile(
        json!({"name": "a",
            "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
            "filterChains": [{"name": "c", "filters": [http(lua)]}]}),
        listener::listener,
    );
    assert_eq!(warnings, ["filter_chains[0].filters[0].typed_config.http_filters[3]"]);
    let listener = listener.unwrap();
    let chain = listener.chains.iter().next().unwrap();
    let Terminal::Http(manager) = &chain.terminal else { panic!() };
    assert!(matches!(&manager.filters[3].filter, HttpFilter::Refuse(r) if &*r.name == "lua"));
}

#[test]
fn what_means_nothing_is_rejected_with_its_path() {
    let address = json!({"socketAddress": {"address": "0.0.0.0", "portValue": 80}});
    let table = [
        (json!({"name": "a"}), "address"),
        (
            json!({"name": "a", "address": address, "filterChains": [
                {"filters": [tcp("a")]}, {"filters": [tcp("b")]}]}),
            "filter_chains",
        ),
        (
            json!({"name": "a", "address": address, "filterChains": [
                {"filters": [tcp("a"), tcp("b")]}]}),
            "filter_chains[0].filters[0]",
        ),
        (
            json!({"name": "a", "address": address, "filterChains": [
                {"filterChainMatch": {"transportProtocol": "x"}, "filters": [tcp("a")]}]}),
            "filter_chains[0].filter_chain_match.transport_protocol",
        ),
    ];
    for (json, path) in table {
        let (result, _) = compile(json, listener::listener);
        assert_eq!(result.unwrap_err().path, path);
    }
}

#[test]
fn a_route_table() {
    let table = clean(
        json!({
            "name": "9080",
            "validateClusters": false,
            "ignorePortInHostMatching": true,
            "virtualHosts": [{
                "name": "reviews.default.svc.cluster.local:9080",
                "domains": ["reviews.default.svc.cluster.local", "Reviews", "10.96.0.5"],
                "includeRequestAttemptCount": true,
                "routes": [
                    {"name": "canary",
                     "match": {"prefix": "/", "headers": [{"name": "end-user",
                        "stringMatch": {"exact": "jason"}}]},
                     "metadata": {"filterMetadata": {"istio": {"config": "/apis/x"}}},
                     "decorator": {"operation": "reviews:9080/*"},
                     "typedPerFilterConfig": {"envoy.filters.http.fault": {
                        "@type": format!("{HTTP}.fault.v3.HTTPFault"),
                        "delay": {"fixedDelay": "7s", "percentage": {"numerator": 100}}}},
                     "route": {"cluster": "outbound|9080|v2|reviews.default.svc.cluster.local",
                        "timeout": "0s",
                        "retryPolicy": {"retryOn": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                            "numRetries": 2, "retriableStatusCodes": [503],
                            "retryHostPredicate": [{"name": "envoy.retry_host_predicates.previous_hosts",
                                "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
                            "hostSelectionRetryMaxAttempts": "5"},
                        "maxStreamDuration": {"maxStreamDuration": "0s", "grpcTimeoutHeaderMax": "0s"}}},
                    {"name": "default", "match": {"prefix": "/"},
                     "requestHeadersToAdd": [{"header": {"key": "x-a", "value": "%REQ(:path)%"},
                        "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}],
                     "route": {"weightedClusters": {"clusters": [
                        {"name": "a", "weight": 80}, {"name": "b", "weight": 20}]}}},
                ]},
                {"name": "allow_any", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "redirect": {"httpsRedirect": true}}]}],
        }),
        route::table,
    );
    let mut headers = http::HeaderMap::new();
    headers.insert("end-user", "jason".parse().unwrap());
    let head = RequestHead {
        method: "GET",
        scheme: "http",
        authority: "REVIEWS:9080",
        path: "/reviews/0",
        headers: &headers,
        is_grpc: false,
    };
    let Lookup::Found(host) = table.find_host(head.authority) else { panic!() };
    let matched = host.find_route(&head, 0).unwrap();
    assert_eq!(&*matched.route.name, "canary");
    assert_eq!(matched.route.config.as_deref(), Some("/apis/x"));
    let Action::Forward(forward) = &matched.route.action else { panic!() };
    assert_eq!(forward.timeout, None);
    assert_eq!(forward.max_stream_duration, Some(None));
    let retry = forward.retry.as_ref().unwrap();
    assert!(retry.avoid_previous_hosts && retry.host_selection_attempts == 5);
    assert!(matches!(
        table.filter_override("envoy.filters.http.fault", &matched, None),
        Some(FilterOverride::Fault(fault)) if fault.delay.unwrap().0 == Duration::from_secs(7)
    ));
    let none = http::HeaderMap::new();
    let matched = host.find_route(&RequestHead { headers: &none, ..head }, 0).unwrap();
    let Action::Forward(forward) = &matched.route.action else { panic!() };
    assert_eq!(forward.timeout, Some(Duration::from_secs(15)));
    let ClusterChoice::Weighted(weighted) = &forward.clusters else { panic!() };
    assert_eq!(&*weighted.pick(80).name, "b");
    assert_eq!(table.request_mutations(&matched, None).count(), 1);
}

#[test]
fn a_criterion_that_cannot_be_evaluated_refuses() {
    let (host, warnings) = compile(
        json!({"name": "a", "domains": ["a"], "routes": [{"name": "r",
            "match": {"prefix": "/", "dynamicMetadata": [{"filter": "istio"}]},
            "route": {"cluster": "a"}}]}),
        route::virtual_host,
    );
    assert_eq!(warnings, ["routes[0].match.dynamic_metadata"]);
    assert!(matches!(host.unwrap().routes[0].action, Action::Refuse(_)));
}

#[test]
fn a_cluster() {
    let name = "outbound|9080||reviews.default.svc.cluster.local";
    let cluster = clean(
        json!({
            "name": name, "type": "EDS", "lbPolicy": "LEAST_REQUEST", "connectTimeout": "10s",
            "edsClusterConfig": {"edsConfig": {"ads": {}}, "serviceName": name},
            "circuitBreakers": {"thresholds": [{"maxConnections": 4294967295_u32,
                "maxRetries": 4294967295_u32, "trackRemaining": false}]},
            "commonLbConfig": {"healthyPanicThreshold": {}},
            "typedExtensionProtocolOptions": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "useDownstreamProtocolConfig": {"httpProtocolOptions": {}, "http2ProtocolOptions": {}}}},
            "transportSocketMatches": [
                {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transportSocket": {
                    "name": "envoy.transport_sockets.tls", "typedConfig": {
                        "@type": format!("{TLS}.UpstreamTlsContext"),
                        "sni": "outbound_.9080_._.reviews.default.svc.cluster.local",
                        "commonTlsContext": {"alpnProtocols": ["istio-peer-exchange", "istio"],
                            "tlsCertificateSdsSecretConfigs": [{"name": "default"}],
                            "combinedValidationContext": {
                                "defaultValidationContext": {"matchSubjectAltNames": [
                                    {"exact": "spiffe://cluster.local/ns/default/sa/reviews"}]},
                                "validationContextSdsSecretConfig": {"name": "ROOTCA"}}}}}},
                {"name": "tlsMode-disabled", "match": {}, "transportSocket": {
                    "name": "envoy.transport_sockets.raw_buffer", "typedConfig": {"@type":
                    "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}],
            "metadata": {"filterMetadata": {"istio": {"services": [
                {"host": "reviews.default.svc.cluster.local", "name": "reviews", "namespace": "default"}]}}},
        }),
        cluster::cluster,
    );
    assert_eq!(cluster.eds_name().map(|name| &**name), Some(name));
    assert_eq!(cluster.lb, LbPolicy::LeastRequest { choices: 2 });
    assert_eq!((cluster.panic_threshold, cluster.circuit.default.max_connections), (0, u32::MAX));
    assert!(matches!(cluster.protocol, UpstreamProtocol::UseDownstream { .. }));
    assert_eq!(&*cluster.metadata.services[0].name, "reviews");
    assert!(cluster.metadata.alpn_override && !cluster.metadata.external);
    let UpstreamTransport::Tls(tls) = &cluster.transports.matches[0].transport else { panic!() };
    assert!(tls.sni.starts_with("outbound_.9080") && tls.hash > 1);
    assert!(matches!(cluster.transports.matches[1].transport, UpstreamTransport::Raw));
}

#[test]
fn inbound_passthrough_and_custom_clusters() {
    let cluster = clean(
        json!({"name": "InboundPassthroughCluster", "type": "ORIGINAL_DST",
            "lbPolicy": "CLUSTER_PROVIDED",
            "upstreamBindConfig": {"sourceAddress": {"address": "127.0.0.6", "portValue": 0}}}),
        cluster::cluster,
    );
    assert_eq!(cluster.bind_source, Some("127.0.0.6".parse().unwrap()));
    assert!(matches!(cluster.discovery, Discovery::OriginalDst { .. }));
    let (cluster, warnings) = compile(
        json!({"name": "a", "clusterType": {"name": "envoy.clusters.redis"}}),
        cluster::cluster,
    );
    assert!(matches!(cluster.unwrap().discovery, Discovery::Refuse(_)));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn endpoints_keep_their_priority_and_metadata() {
    let set = clean(
        json!({"clusterName": "a", "endpoints": [
            {"priority": 2, "locality": {"region": "r"}, "loadBalancingWeight": 3, "lbEndpoints": [
                {"healthStatus": "UNHEALTHY", "loadBalancingWeight": 2,
                 "endpoint": {"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 9080}}},
                 "metadata": {"filterMetadata": {
                    "envoy.transport_socket_match": {"tlsMode": "istio"},
                    "istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"}}}}]}]}),
        endpoint::assignment,
    );
    assert_eq!(set.priorities.len(), 3);
    let held = set.endpoints().next().unwrap();
    assert_eq!((held.priority, held.weight, held.health), (2, 2, Health::Unhealthy));
    assert_eq!(held.metadata.transport_match.get("tlsMode").map(|mode| &**mode), Some("istio"));
    assert_eq!(&*held.metadata.workload.as_ref().unwrap().name, "reviews-v1");
}

#[test]
fn a_secrets_bytes_are_never_shown() {
    let held = clean(
        json!({"name": "kubernetes://a", "tlsCertificate": {
            "certificateChain": {"inlineString": "chain"},
            "privateKey": {"inlineString": "very-secret"}}}),
        secret::secret,
    );
    assert!(!format!("{held:?}").contains("very-secret"));
}

/// Bytes that are nearly a message: whatever decodes must compile or be refused.
macro_rules! never_panics {
    ($bytes:expr, $message:ty, $compile:path) => {
        if let Ok(message) = <$message>::decode($bytes) {
            let _ = $compile(&message, &"v".into(), &Path::ROOT, &mut Notes::default());
        }
    };
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use mesh_api::envoy;
        let bytes = bytes.as_slice();
        never_panics!(bytes, envoy::listener::Listener, listener::listener);
        never_panics!(bytes, envoy::cluster::Cluster, cluster::cluster);
        never_panics!(bytes, envoy::route::RouteConfiguration, route::table);
        never_panics!(bytes, envoy::route::VirtualHost, route::virtual_host);
        never_panics!(bytes, envoy::endpoint::ClusterLoadAssignment, endpoint::assignment);
        never_panics!(bytes, envoy::transport_socket::tls::Secret, secret::secret);
        if let Ok(table) = mesh_api::istio::nds::NameTable::decode(bytes) {
            name_table::names(&table, &Path::ROOT, &mut Notes::default());
        }
    }

    /// A good message with bytes changed reaches deeper than noise does.
    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let message: mesh_api::envoy::listener::Listener = message_from_json(&json!({
            "name": "a", "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
            "filterChains": [{"transportSocket": server_tls(), "filters": [http(json!([]))]}],
        })).unwrap();
        let mut bytes = message.encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        never_panics!(bytes.as_slice(), mesh_api::envoy::listener::Listener, listener::listener);
    }
}
