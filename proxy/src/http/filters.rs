//! The HTTP filters: a closed set, run in order on the request and in reverse on the response.

pub mod alpn;
pub mod cors;
pub mod fault;
pub mod peer_metadata;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use proxy_model::cluster::Cluster;
use proxy_model::http::action::WeightedCluster;
use proxy_model::http::filter::{FilterOverride, HttpFilter, HttpFilterConfig};
use proxy_model::http::manager::HttpConnectionManager;
use proxy_model::http::table::RouteTable;
use proxy_model::http::virtual_host::Matched;

use super::context::Stream;
use super::reply::LocalReply;
use super::request::Head;

/// What was found for a request.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The table.
    pub table: &'a RouteTable,
    /// The virtual host and the route.
    pub matched: &'a Matched<'a>,
    /// The cluster's entry, when clusters share the route by weight.
    pub weighted: Option<&'a Arc<WeightedCluster>>,
    /// The cluster, when the route forwards to one that exists.
    pub cluster: Option<&'a Arc<Cluster>>,
    /// The cluster's name.
    pub cluster_name: &'a str,
}

/// What filters keep between request and response.
#[derive(Debug, Default)]
pub struct FilterState {
    /// The response's headers for an allowed origin.
    pub cors: Option<cors::Allowed>,
    /// ALPN towards the endpoint.
    pub alpn: Option<Arc<[Arc<str>]>>,
}

/// Whether a filter runs for the request, and what the most specific level changes of it.
enum Setting<'a> {
    Off,
    On(Option<&'a FilterOverride>),
}

fn setting<'a>(config: &HttpFilterConfig, found: &Found<'a>) -> Setting<'a> {
    let weighted = found.weighted.map(|cluster| &**cluster);
    match found.table.filter_override(&config.name, found.matched, weighted) {
        Some(FilterOverride::Disabled) => Setting::Off,
        Some(change) => Setting::On(Some(change)),
        None if config.disabled => Setting::Off,
        None => Setting::On(None),
    }
}

/// Runs the filters on a request.
///
/// # Errors
/// The reply of the filter that ends the request.
pub async fn on_request(
    stream: &Stream,
    found: &Found<'_>,
    head: &mut Head,
    state: &mut FilterState,
) -> Result<(), LocalReply> {
    let manager = &stream.connection.manager;
    for config in &manager.filters {
        let change = match setting(config, found) {
            Setting::Off => continue,
            Setting::On(Some(FilterOverride::Refuse(refusal))) => {
                return Err(LocalReply::refused(refusal));
            }
            Setting::On(change) => change,
        };
        match &config.filter {
            HttpFilter::PeerMetadata(settings) => {
                peer_metadata::on_request(settings, stream, found, &mut head.headers);
            }
            HttpFilter::Alpn(settings) => {
                state.alpn = alpn::choose(settings, found.cluster, head.version);
            }
            HttpFilter::Fault(settings) => {
                let settings = match change {
                    Some(FilterOverride::Fault(own)) => own,
                    _ => settings,
                };
                fault::on_request(settings, stream, found, head).await?;
            }
            HttpFilter::Cors => {
                if let Some(FilterOverride::Cors(policy)) = change {
                    state.cors = cors::on_request(policy, head)?;
                }
            }
            HttpFilter::Refuse(refusal) => return Err(LocalReply::refused(refusal)),
            HttpFilter::GrpcWeb if is_grpc_web(&head.headers) => {
                return Err(LocalReply::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Cow::Owned(format!("filter_not_supported{{{}:grpc-web_framing}}", config.name)),
                ));
            }
            // Statistics are made of the record when it is finished.
            HttpFilter::GrpcWeb
            | HttpFilter::GrpcStats(_)
            | HttpFilter::IstioStats(_)
            | HttpFilter::Router(_) => {}
        }
    }
    Ok(())
}

/// Runs the filters on a response, the last one first.
pub fn on_response(stream: &Stream, state: &FilterState, headers: &mut HeaderMap) {
    for config in stream.connection.manager.filters.iter().rev() {
        match &config.filter {
            HttpFilter::PeerMetadata(settings) => {
                peer_metadata::on_response(settings, stream, headers);
            }
            HttpFilter::Cors => {
                if let Some(allowed) = &state.cors {
                    allowed.apply(headers);
                }
            }
            _ => {}
        }
    }
}

/// Whether the manager counts gRPC messages.
pub fn counts_grpc(manager: &HttpConnectionManager) -> bool {
    manager.filters.iter().any(|config| matches!(config.filter, HttpFilter::GrpcStats(_)))
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"))
}
