//! Protobuf JSON of nested configuration, both ways, and of what is not configuration.

use proptest::prelude::{any, proptest};
use serde_json::json;

use super::*;
use crate::any::{pack, unpack};
use crate::envoy::listener::{Filter, FilterChain, Listener, filter::ConfigType};
use crate::envoy::network::http_connection_manager::HttpConnectionManager;

fn listener_json() -> Json {
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "0.0.0.0_9080",
        "address": { "socket_address": { "address": "0.0.0.0", "port_value": 9080 } },
        "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "outbound_0.0.0.0_9080",
                    "rds": { "config_source": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" }, "route_config_name": "9080" },
                    "http_filters": [
                        {
                            "name": "envoy.filters.http.fault",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                                "abort": { "http_status": 503, "percentage": { "numerator": 10 } }
                            }
                        },
                        {
                            "name": "istio.stats",
                            "typed_config": {
                                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                                "type_url": "type.googleapis.com/stats.PluginConfig",
                                "value": { "metrics": [{ "name": "requests_total" }] }
                            }
                        },
                        {
                            "name": "envoy.filters.http.router",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                            }
                        }
                    ]
                }
            }]
        }],
        "connection_balance_config": { "exact_balance": {} },
        "traffic_direction": "OUTBOUND"
    })
}

#[test]
fn a_listener_goes_through_json_and_back() {
    let any = from_json(&listener_json()).unwrap();
    let listener: Listener = unpack(&any).unwrap();
    assert_eq!(listener.filter_chains[0].filters.len(), 1);
    let Some(ConfigType::TypedConfig(hcm)) = &listener.filter_chains[0].filters[0].config_type
    else {
        panic!("no typed config")
    };
    let hcm: HttpConnectionManager = unpack(hcm).unwrap();
    assert_eq!(hcm.http_filters.len(), 3);
    assert_eq!(to_json(&any, JsonStyle::Proto).unwrap(), listener_json());
    assert_eq!(to_json(&pack(&listener), JsonStyle::Proto).unwrap(), listener_json());

    let camel = to_json(&any, JsonStyle::Camel).unwrap();
    assert_eq!(
        camel["filterChains"][0]["filters"][0]["typedConfig"]["statPrefix"],
        "outbound_0.0.0.0_9080"
    );
    assert_eq!(from_json(&camel).unwrap(), any);
}

#[test]
fn istios_messages_are_in_the_pool() {
    for name in [
        "istio.v1.auth.IstioCertificateRequest",
        "istio.networking.nds.v1.NameTable",
        "istio.workload.Address",
        "istio.security.Authorization",
        "istio.mesh.v1alpha1.ProxyConfig",
        "xds.type.v3.TypedStruct",
        "udpa.type.v1.TypedStruct",
        "envoy.admin.v3.ConfigDump",
        "envoy.config.bootstrap.v3.Bootstrap",
    ] {
        assert!(descriptor(name).is_some(), "{name}");
    }
    let table: crate::istio::nds::NameTable = message_from_json(&json!({
        "table": { "reviews.default.svc.cluster.local": { "ips": ["10.96.0.10", "fd00::10"] } }
    }))
    .unwrap();
    assert_eq!(table.table.len(), 1);
    let json = message_to_json(&table, JsonStyle::Proto).unwrap();
    assert_eq!(json["table"]["reviews.default.svc.cluster.local"]["ips"][1], "fd00::10");
}

#[test]
fn an_unknown_type_is_named_with_its_path() {
    let typed = Any { type_url: "type.googleapis.com/acme.Filter".to_owned(), value: vec![] };
    let error = to_json(&typed, JsonStyle::Proto).unwrap_err().to_string();
    assert_eq!(error, "acme.Filter: unknown message type \"type.googleapis.com/acme.Filter\"");

    let filter = Filter { name: "acme".into(), config_type: Some(ConfigType::TypedConfig(typed)) };
    let chain = FilterChain { filters: vec![filter], ..Default::default() };
    let listener = Listener { filter_chains: vec![chain], ..Default::default() };
    let error = to_json(&pack(&listener), JsonStyle::Proto).unwrap_err().to_string();
    assert_eq!(
        error,
        "envoy.config.listener.v3.Listener.filter_chains.filters.typed_config: unknown message \
         type \"type.googleapis.com/acme.Filter\""
    );

    let error = from_json(&json!({ "@type": "x/acme.Filter" })).unwrap_err().to_string();
    assert_eq!(error, "acme.Filter: unknown message type \"x/acme.Filter\"");
    assert!(matches!(from_json(&json!({ "name": "a" })), Err(PoolError::NoType)));
}

#[test]
fn unknown_fields_and_wrong_values_are_errors() {
    let mut json = listener_json();
    json["nmae"] = json!("typo");
    let error = from_json(&json).unwrap_err().to_string();
    assert!(
        error.contains("envoy.config.listener.v3.Listener") && error.contains("nmae"),
        "{error}"
    );
    let mut json = listener_json();
    json["traffic_direction"] = json!("SIDEWAYS");
    assert!(matches!(from_json(&json), Err(PoolError::Json { .. })));
}

#[test]
fn packing_without_end_is_refused() {
    let mut any = pack(&Listener::default());
    for _ in 0..500 {
        any = pack(&any);
    }
    assert!(matches!(to_json(&any, JsonStyle::Proto), Err(PoolError::Depth { .. })));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..4usize) {
        let names = [
            "envoy.config.listener.v3.Listener",
            "google.protobuf.Any",
            "google.protobuf.Struct",
            "istio.workload.Address",
        ];
        let any = Any { type_url: format!("x/{}", names[which]), value: bytes };
        let _ = to_json(&any, JsonStyle::Proto);
    }
}
