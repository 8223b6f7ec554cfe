//! Envoy's protobuf messages that the mesh speaks, under one name each. The only file that names
//! the crate they come from.

use envoy_types::pb;

pub use pb::google::{protobuf, rpc};

pub use pb::envoy::admin::v3 as admin;
pub use pb::envoy::config::{
    accesslog::v3 as accesslog, bootstrap::v3 as bootstrap, cluster::v3 as cluster,
    core::v3 as core, endpoint::v3 as endpoint, listener::v3 as listener, metrics::v3 as metrics,
    overload::v3 as overload, rbac::v3 as rbac, route::v3 as route, trace::v3 as trace,
};
pub use pb::envoy::r#type::{
    http::v3 as http_types, matcher::v3 as matcher, metadata::v3 as metadata,
    tracing::v3 as tracing, v3 as types,
};

/// Services and their requests and responses.
pub mod service {
    pub use super::pb::envoy::service::{
        accesslog::v3 as accesslog, auth::v3 as auth, discovery::v3 as discovery,
        ext_proc::v3 as ext_proc, health::v3 as health, ratelimit::v3 as ratelimit,
        status::v3 as status,
    };
}

/// HTTP filters.
pub mod http {
    pub use super::pb::envoy::extensions::filters::http::{
        bandwidth_limit::v3 as bandwidth_limit, buffer::v3 as buffer, compressor::v3 as compressor,
        cors::v3 as cors, csrf::v3 as csrf, dynamic_forward_proxy::v3 as dynamic_forward_proxy,
        ext_authz::v3 as ext_authz, ext_proc::v3 as ext_proc, fault::v3 as fault,
        grpc_stats::v3 as grpc_stats, grpc_web::v3 as grpc_web,
        header_mutation::v3 as header_mutation, header_to_metadata::v3 as header_to_metadata,
        health_check::v3 as health_check, jwt_authn::v3 as jwt_authn,
        local_ratelimit::v3 as local_ratelimit, lua::v3 as lua, on_demand::v3 as on_demand,
        original_src::v3 as original_src, ratelimit::v3 as ratelimit, rbac::v3 as rbac,
        router::v3 as router, set_filter_state::v3 as set_filter_state,
        set_metadata::v3 as set_metadata, stateful_session::v3 as stateful_session,
        upstream_codec::v3 as upstream_codec, wasm::v3 as wasm,
    };
    pub use super::pb::envoy::extensions::http::stateful_session::{
        cookie::v3 as stateful_session_cookie, header::v3 as stateful_session_header,
    };
}

/// Faults, as the HTTP filter and others hold them.
pub use pb::envoy::extensions::filters::common::fault::v3 as http_fault;

/// Network filters.
pub mod network {
    pub use super::pb::envoy::extensions::filters::network::{
        connection_limit::v3 as connection_limit, direct_response::v3 as direct_response,
        echo::v3 as echo, ext_authz::v3 as ext_authz,
        http_connection_manager::v3 as http_connection_manager,
        local_ratelimit::v3 as local_ratelimit, mongo_proxy::v3 as mongo_proxy,
        ratelimit::v3 as ratelimit, rbac::v3 as rbac, redis_proxy::v3 as redis_proxy,
        set_filter_state::v3 as set_filter_state, sni_cluster::v3 as sni_cluster,
        sni_dynamic_forward_proxy::v3 as sni_dynamic_forward_proxy, tcp_proxy::v3 as tcp_proxy,
        wasm::v3 as wasm,
    };
}

/// Listener filters.
pub mod listener_filter {
    pub use super::pb::envoy::extensions::filters::listener::{
        http_inspector::v3 as http_inspector, local_ratelimit::v3 as local_ratelimit,
        original_dst::v3 as original_dst, original_src::v3 as original_src,
        proxy_protocol::v3 as proxy_protocol, set_filter_state::v3 as set_filter_state,
        tls_inspector::v3 as tls_inspector,
    };
}

/// Transport sockets.
pub mod transport_socket {
    pub use super::pb::envoy::extensions::transport_sockets::{
        http_11_proxy::v3 as http_11_proxy, internal_upstream::v3 as internal_upstream,
        proxy_protocol::v3 as proxy_protocol, quic::v3 as quic, raw_buffer::v3 as raw_buffer,
        starttls::v3 as starttls, tcp_stats::v3 as tcp_stats, tls::v3 as tls,
    };
}

/// Access loggers.
pub mod access_log {
    pub use super::pb::envoy::extensions::access_loggers::{
        file::v3 as file, filters::cel::v3 as cel_filter, grpc::v3 as grpc,
        open_telemetry::v3 as open_telemetry, stream::v3 as stream, wasm::v3 as wasm,
    };
}

/// Upstream protocol options, cluster types, load balancing and retry extensions.
pub mod upstream {
    pub use super::pb::envoy::extensions::clusters::{
        aggregate::v3 as aggregate, common::dns::v3 as dns_common, dns::v3 as dns,
        dynamic_forward_proxy::v3 as dynamic_forward_proxy, original_dst::v3 as original_dst,
    };
    pub use super::pb::envoy::extensions::load_balancing_policies::{
        common::v3 as lb_common, least_request::v3 as least_request, maglev::v3 as maglev,
        override_host::v3 as override_host, random::v3 as random, ring_hash::v3 as ring_hash,
        round_robin::v3 as round_robin, wrr_locality::v3 as wrr_locality,
    };
    pub use super::pb::envoy::extensions::retry::{
        host::omit_canary_hosts::v3 as omit_canary_hosts,
        host::previous_hosts::v3 as previous_hosts,
        priority::previous_priorities::v3 as previous_priorities,
    };
    pub use super::pb::envoy::extensions::upstreams::{
        http::v3 as http_protocol_options, tcp::v3 as tcp_protocol_options,
    };
}

/// Configuration that several extensions share, and the generic matcher.
pub mod common {
    pub use super::pb::envoy::config::common::mutation_rules::v3 as mutation_rules;
    pub use super::pb::envoy::extensions::bootstrap::internal_listener::v3 as internal_listener;
    pub use super::pb::envoy::extensions::common::{
        dynamic_forward_proxy::v3 as dynamic_forward_proxy, matching::v3 as matching,
        ratelimit::v3 as ratelimit,
    };
    pub use super::pb::envoy::extensions::http::header_formatters::preserve_case::v3 as preserve_case;
    pub use super::pb::envoy::extensions::http::original_ip_detection::xff::v3 as xff;
    pub use super::pb::envoy::extensions::matching::{
        common_inputs::network::v3 as network_inputs, common_inputs::ssl::v3 as ssl_inputs,
        input_matchers::ip::v3 as ip_matcher,
    };
    pub use super::pb::envoy::extensions::request_id::uuid::v3 as request_id;
    pub use super::pb::envoy::extensions::wasm::v3 as wasm;
    pub use super::pb::xds::core::v3 as xds_core;
    pub use super::pb::xds::r#type::matcher::v3 as xds_matcher;
}
