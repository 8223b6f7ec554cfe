//! `HttpConnectionManager`.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::envoy::core::{
    Http1ProtocolOptions, Http2ProtocolOptions,
    http_protocol_options::HeadersWithUnderscoresAction, http1_protocol_options::header_key_format,
    scheme_header_transformation,
};
use mesh_api::envoy::network::http_connection_manager::{
    HttpConnectionManager as PbManager,
    http_connection_manager::{
        CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
        ServerHeaderTransformation, StripPortMode, Tracing as PbTracing, UpgradeConfig,
    },
};
use mesh_api::envoy::tracing::custom_tag;
use mesh_api::envoy::types::Percent;

use super::notes::{Flaw, Notes, Path};
use super::{access_log, http_filter, route, units};
use crate::cluster::{Http1Options, Http2Options};
use crate::http::manager::{
    CertDetails, Codec, EscapedSlashes, ForwardClientCert, ForwardClientCertMode,
    HttpConnectionManager, HttpTimeouts, PathPolicy, RouteSource, ServerHeader, StripPort,
    TagValue, Tracing, Underscores, Upgrade,
};

/// A connection manager.
pub(super) fn manager(
    value: &PbManager,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<HttpConnectionManager, Flaw> {
    unsupported(value, path, notes);
    let common = value.common_http_protocol_options.as_ref();
    let strip_port = match &value.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(true)) => StripPort::Any,
        _ if value.strip_matching_host_port => StripPort::Matching,
        _ => StripPort::Keep,
    };
    let underscores = common.map(|common| common.headers_with_underscores_action());
    let scheme = value.scheme_header_transformation.as_ref();
    Ok(HttpConnectionManager {
        stat_prefix: value.stat_prefix.as_str().into(),
        codec: match value.codec_type() {
            CodecType::Auto => Codec::Auto,
            CodecType::Http1 => Codec::Http1,
            CodecType::Http2 => Codec::Http2,
            CodecType::Http3 => {
                return Err(path.field("codec_type").flaw("HTTP/3 is not spoken"));
            }
        },
        route: routes(value, path, notes)?,
        filters: http_filter::filters(&value.http_filters, path, notes)?,
        server_name: units::non_empty(&value.server_name).unwrap_or_else(|| "envoy".into()),
        server_header: match value.server_header_transformation() {
            ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
            ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
            ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
        },
        use_remote_address: units::is_true(value.use_remote_address.as_ref()),
        xff_trusted_hops: value.xff_num_trusted_hops,
        skip_xff_append: value.skip_xff_append,
        forward_client_cert: client_cert(value),
        path: path_policy(value),
        timeouts: timeouts(value, path)?,
        http1: http1(value.http_protocol_options.as_ref()),
        http2: http2(value.http2_protocol_options.as_ref(), path)?,
        upgrades: value.upgrade_configs.iter().map(upgrade).collect(),
        generate_request_id: value.generate_request_id.as_ref().is_none_or(|value| value.value),
        preserve_external_request_id: value.preserve_external_request_id,
        always_set_request_id_in_response: value.always_set_request_id_in_response,
        access_logs: access_log::logs(&value.access_log, path, notes)?,
        tracing: value.tracing.as_ref().map(|value| tracing(value, path, notes)),
        strip_port,
        strip_trailing_host_dot: value.strip_trailing_host_dot,
        max_request_headers_kb: value.max_request_headers_kb.as_ref().map(|value| value.value),
        max_headers_count: common
            .and_then(|common| common.max_headers_count.as_ref())
            .map(|value| value.value),
        max_requests_per_connection: common
            .and_then(|common| common.max_requests_per_connection.as_ref())
            .map(|value| value.value)
            .filter(|max| *max > 0),
        underscores: match underscores {
            None | Some(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
            Some(HeadersWithUnderscoresAction::RejectRequest) => Underscores::RejectRequest,
            Some(HeadersWithUnderscoresAction::DropHeader) => Underscores::DropHeader,
        },
        stream_error_on_invalid_message: units::is_true(
            value.stream_error_on_invalid_http_message.as_ref(),
        ),
        scheme_overwrite: scheme.and_then(|scheme| match &scheme.transformation {
            Some(scheme_header_transformation::Transformation::SchemeToOverwrite(scheme)) => {
                units::non_empty(scheme)
            }
            None => None,
        }),
        via: units::non_empty(&value.via),
        proxy_100_continue: value.proxy_100_continue,
    })
}

fn unsupported(value: &PbManager, path: &Path<'_>, notes: &mut Notes) {
    for (field, set) in [
        ("original_ip_detection_extensions", !value.original_ip_detection_extensions.is_empty()),
        ("early_header_mutation_extensions", !value.early_header_mutation_extensions.is_empty()),
        ("local_reply_config", value.local_reply_config.is_some()),
        ("request_id_extension", value.request_id_extension.is_some()),
        ("internal_address_config", value.internal_address_config.is_some()),
        ("path_normalization_options", value.path_normalization_options.is_some()),
        ("proxy_status_config", value.proxy_status_config.is_some()),
        ("typed_header_validation_config", value.typed_header_validation_config.is_some()),
    ] {
        notes.ignored(path, field, set);
    }
}

fn routes(value: &PbManager, path: &Path<'_>, notes: &mut Notes) -> Result<RouteSource, Flaw> {
    match &value.route_specifier {
        Some(RouteSpecifier::Rds(rds)) if rds.route_config_name.is_empty() => {
            Err(path.field("rds.route_config_name").flaw("is empty"))
        }
        Some(RouteSpecifier::Rds(rds)) => {
            Ok(RouteSource::Rds(rds.route_config_name.as_str().into()))
        }
        Some(RouteSpecifier::RouteConfig(table)) => {
            let here = path.field("route_config");
            Ok(RouteSource::Inline(Arc::new(route::table(table, &Arc::default(), &here, notes)?)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            Err(path.field("scoped_routes").flaw("scoped routes are not known"))
        }
        None => Err(path.field("route_specifier").flaw("is missing")),
    }
}

fn client_cert(value: &PbManager) -> ForwardClientCert {
    use ForwardClientCertDetails as D;
    let details = value.set_current_client_cert_details.as_ref();
    ForwardClientCert {
        mode: match value.forward_client_cert_details() {
            D::Sanitize => ForwardClientCertMode::Sanitize,
            D::ForwardOnly => ForwardClientCertMode::ForwardOnly,
            D::AppendForward => ForwardClientCertMode::AppendForward,
            D::SanitizeSet => ForwardClientCertMode::SanitizeSet,
            D::AlwaysForwardOnly => ForwardClientCertMode::AlwaysForwardOnly,
        },
        details: details.map_or_else(CertDetails::default, |details| CertDetails {
            subject: units::is_true(details.subject.as_ref()),
            cert: details.cert,
            chain: details.chain,
            dns: details.dns,
            uri: details.uri,
        }),
    }
}

fn path_policy(value: &PbManager) -> PathPolicy {
    use PathWithEscapedSlashesAction as A;
    PathPolicy {
        normalize: units::is_true(value.normalize_path.as_ref()),
        merge_slashes: value.merge_slashes,
        escaped_slashes: match value.path_with_escaped_slashes_action() {
            A::ImplementationSpecificDefault | A::KeepUnchanged => EscapedSlashes::Keep,
            A::RejectRequest => EscapedSlashes::Reject,
            A::UnescapeAndRedirect => EscapedSlashes::UnescapeAndRedirect,
            A::UnescapeAndForward => EscapedSlashes::UnescapeAndForward,
        },
    }
}

fn timeouts(value: &PbManager, path: &Path<'_>) -> Result<HttpTimeouts, Flaw> {
    let default = HttpTimeouts::default();
    let common = value.common_http_protocol_options.unwrap_or_default();
    let here = path.field("common_http_protocol_options");
    Ok(HttpTimeouts {
        idle: units::limit(common.idle_timeout.as_ref(), default.idle, &here, "idle_timeout")?,
        request: units::limit(value.request_timeout.as_ref(), None, path, "request_timeout")?,
        headers: units::limit(
            value.request_headers_timeout.as_ref(),
            None,
            path,
            "request_headers_timeout",
        )?,
        stream_idle: units::limit(
            value.stream_idle_timeout.as_ref(),
            default.stream_idle,
            path,
            "stream_idle_timeout",
        )?,
        max_stream: units::limit(
            common.max_stream_duration.as_ref(),
            None,
            &here,
            "max_stream_duration",
        )?,
        drain: units::duration(value.drain_timeout.as_ref(), path, "drain_timeout")?
            .unwrap_or(default.drain),
        max_connection: units::limit(
            common.max_connection_duration.as_ref(),
            None,
            &here,
            "max_connection_duration",
        )?,
        delayed_close: units::limit(
            value.delayed_close_timeout.as_ref(),
            Some(Duration::from_secs(1)),
            path,
            "delayed_close_timeout",
        )?,
    })
}

/// Options of HTTP/1.
pub(super) fn http1(value: Option<&Http1ProtocolOptions>) -> Http1Options {
    let Some(value) = value else { return Http1Options::default() };
    let format = value.header_key_format.as_ref().and_then(|format| format.header_format.as_ref());
    Http1Options {
        accept_http_10: value.accept_http_10,
        preserve_case: matches!(
            format,
            Some(header_key_format::HeaderFormat::StatefulFormatter(_))
        ),
        enable_trailers: value.enable_trailers,
        deny_absolute_url: value.allow_absolute_url.as_ref().is_some_and(|value| !value.value),
    }
}

/// Options of HTTP/2.
pub(super) fn http2(
    value: Option<&Http2ProtocolOptions>,
    path: &Path<'_>,
) -> Result<Http2Options, Flaw> {
    let Some(value) = value else { return Ok(Http2Options::default()) };
    let here = path.field("http2_protocol_options");
    let keepalive = value.connection_keepalive.unwrap_or_default();
    Ok(Http2Options {
        max_concurrent_streams: value.max_concurrent_streams.as_ref().map(|value| value.value),
        initial_stream_window_size: value
            .initial_stream_window_size
            .as_ref()
            .map(|value| value.value),
        initial_connection_window_size: value
            .initial_connection_window_size
            .as_ref()
            .map(|value| value.value),
        keepalive_interval: units::limit(
            keepalive.interval.as_ref(),
            None,
            &here,
            "connection_keepalive.interval",
        )?,
        keepalive_timeout: units::limit(
            keepalive.timeout.as_ref(),
            None,
            &here,
            "connection_keepalive.timeout",
        )?,
        allow_connect: value.allow_connect,
    })
}

fn upgrade(value: &UpgradeConfig) -> Upgrade {
    Upgrade {
        protocol: value.upgrade_type.as_str().into(),
        enabled: value.enabled.as_ref().is_none_or(|enabled| enabled.value),
        terminate_connect: false,
    }
}

fn tracing(value: &PbTracing, path: &Path<'_>, notes: &mut Notes) -> Tracing {
    use custom_tag::Type;
    let here = path.field("tracing");
    let percent = |value: Option<&Percent>| value.map_or(100.0, |percent| percent.value);
    let mut tags = Vec::new();
    for (index, tag) in value.custom_tags.iter().enumerate() {
        let tag_value = match &tag.r#type {
            Some(Type::Literal(literal)) => TagValue::Literal(literal.value.as_str().into()),
            Some(Type::Environment(variable)) => TagValue::Environment(
                variable.name.as_str().into(),
                variable.default_value.as_str().into(),
            ),
            Some(Type::RequestHeader(header)) => TagValue::Header(
                header.name.to_ascii_lowercase().into(),
                header.default_value.as_str().into(),
            ),
            _ => {
                notes.warn(&here.item("custom_tags", index), "is not known; the tag is left out");
                continue;
            }
        };
        tags.push((tag.tag.as_str().into(), tag_value));
    }
    Tracing {
        client_sampling: percent(value.client_sampling.as_ref()),
        random_sampling: percent(value.random_sampling.as_ref()),
        overall_sampling: percent(value.overall_sampling.as_ref()),
        spawn_upstream_span: units::is_true(value.spawn_upstream_span.as_ref()),
        max_path_tag_length: value.max_path_tag_length.as_ref().map_or(256, |max| max.value),
        tags,
    }
}
