//! What a route does: forward, redirect, answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::envoy::core::RoutingPriority;
use mesh_api::envoy::route::{
    DirectResponseAction, RedirectAction, RouteAction, WeightedCluster as PbWeighted,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    route_action::{
        ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
        UpgradeConfig, hash_policy::PolicySpecifier,
    },
    weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightHostRewrite,
};

use super::notes::{Flaw, Notes, Path};
use super::{header, http_filter, retry, units};
use crate::http::action::{
    Action, ClusterChoice, DirectResponse, Forward, GrpcTimeout, Mirror, Weighted, WeightedCluster,
};
use crate::http::filter::Percentage;
use crate::http::hash_policy::{HashPolicy, HashSource};
use crate::http::manager::Upgrade;
use crate::http::redirect::Redirect;
use crate::http::rewrite::{HostRewrite, PathRewrite, Rewrite};

/// How long all tries together may take, where the route does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Sending to a cluster.
pub(super) fn forward(
    value: &RouteAction,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Action, Flaw> {
    let clusters = match &value.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            ClusterChoice::One(name.as_str().into())
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            ClusterChoice::Header(name.to_ascii_lowercase().into())
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            ClusterChoice::Weighted(weights(weighted, &path.field("weighted_clusters"), notes)?)
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_))
        | Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            let reason = "clusters are not chosen by a plugin here";
            return Ok(Action::Refuse(notes.refuse(path, "cluster_specifier_plugin", reason)));
        }
        Some(ClusterSpecifier::Cluster(_)) | None => {
            return Err(path.field("cluster").flaw("names no cluster"));
        }
    };
    notes.ignored(path, "metadata_match", value.metadata_match.is_some());
    notes.ignored(path, "hedge_policy", value.hedge_policy.is_some());
    notes.ignored(path, "internal_redirect_policy", value.internal_redirect_policy.is_some());
    notes.ignored(path, "rate_limits", !value.rate_limits.is_empty());
    let stream = value.max_stream_duration.as_ref();
    let max_stream = stream.and_then(|stream| stream.max_stream_duration.as_ref());
    let own_limit = |set: bool, limit: Option<Duration>| set.then_some(limit);
    let retry = match &value.retry_policy {
        Some(policy) => Some(Arc::new(retry::policy(policy, &path.field("retry_policy"), notes)?)),
        None => None,
    };
    Ok(Action::Forward(Arc::new(Forward {
        clusters,
        cluster_not_found_code: match value.cluster_not_found_response_code() {
            ClusterNotFoundResponseCode::ServiceUnavailable => 503,
            ClusterNotFoundResponseCode::NotFound => 404,
            ClusterNotFoundResponseCode::InternalServerError => 500,
        },
        // A route that limits its streams has no time-out of tries, whatever it says.
        timeout: match stream {
            Some(_) => None,
            None => units::limit(value.timeout.as_ref(), Some(DEFAULT_TIMEOUT), path, "timeout")?,
        },
        grpc_timeout: grpc_timeout(value, path)?,
        idle_timeout: own_limit(
            value.idle_timeout.is_some(),
            units::limit(value.idle_timeout.as_ref(), None, path, "idle_timeout")?,
        ),
        max_stream_duration: own_limit(
            max_stream.is_some(),
            units::limit(max_stream, None, path, "max_stream_duration.max_stream_duration")?,
        ),
        retry,
        rewrite: Rewrite {
            path: path_rewrite(value, path)?,
            host: host_rewrite(value, path)?,
            append_x_forwarded_host: value.append_x_forwarded_host,
        },
        hash_policies: hash_policies(value, path, notes)?,
        mirrors: mirrors(&value.request_mirror_policies, path, notes),
        upgrades: value.upgrade_configs.iter().map(upgrade).collect(),
        high_priority: value.priority() == RoutingPriority::High,
    })))
}

fn grpc_timeout(value: &RouteAction, path: &Path<'_>) -> Result<GrpcTimeout, Flaw> {
    let stream = value.max_stream_duration.as_ref();
    let (max, offset) = match stream {
        Some(stream) => {
            (stream.grpc_timeout_header_max.as_ref(), stream.grpc_timeout_header_offset.as_ref())
        }
        None => (value.max_grpc_timeout.as_ref(), value.grpc_timeout_offset.as_ref()),
    };
    Ok(GrpcTimeout {
        of_stream: stream.is_some(),
        max: match max {
            None => None,
            max => {
                Some(units::limit(max, None, path, "max_stream_duration.grpc_timeout_header_max")?)
            }
        },
        offset: units::duration(offset, path, "max_stream_duration.grpc_timeout_header_offset")?,
    })
}

fn path_rewrite(value: &RouteAction, path: &Path<'_>) -> Result<PathRewrite, Flaw> {
    if let Some(rewrite) = &value.regex_rewrite {
        return Ok(PathRewrite::Regex {
            pattern: units::regex(rewrite.pattern.as_ref(), &path.field("regex_rewrite"))?,
            substitution: PathRewrite::substitution(&rewrite.substitution),
        });
    }
    if value.path_rewrite_policy.is_some() {
        return Err(path.field("path_rewrite_policy").flaw("extensions do not rewrite paths here"));
    }
    if !value.path_rewrite.is_empty() {
        return Err(path.field("path_rewrite").flaw("formats do not rewrite paths here"));
    }
    Ok(units::non_empty(&value.prefix_rewrite).map_or(PathRewrite::Keep, PathRewrite::Prefix))
}

fn host_rewrite(value: &RouteAction, path: &Path<'_>) -> Result<HostRewrite, Flaw> {
    Ok(match &value.host_rewrite_specifier {
        None => HostRewrite::Keep,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            HostRewrite::Literal(host.as_str().into())
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if auto.value => HostRewrite::Auto,
        Some(HostRewriteSpecifier::AutoHostRewrite(_)) => HostRewrite::Keep,
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            HostRewrite::Header(name.to_ascii_lowercase().into())
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => HostRewrite::PathRegex {
            pattern: units::regex(
                rewrite.pattern.as_ref(),
                &path.field("host_rewrite_path_regex"),
            )?,
            substitution: PathRewrite::substitution(&rewrite.substitution),
        },
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return Err(path.field("host_rewrite").flaw("formats do not rewrite hosts here"));
        }
    })
}

fn hash_policies(
    value: &RouteAction,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<HashPolicy>, Flaw> {
    let mut policies = Vec::new();
    for (index, policy) in value.hash_policy.iter().enumerate() {
        let here = path.item("hash_policy", index);
        let source = match &policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => {
                notes.ignored(&here, "header.regex_rewrite", header.regex_rewrite.is_some());
                HashSource::Header(header.header_name.to_ascii_lowercase().into())
            }
            Some(PolicySpecifier::Cookie(cookie)) => HashSource::Cookie {
                name: cookie.name.as_str().into(),
                ttl: units::duration(cookie.ttl.as_ref(), &here, "cookie.ttl")?,
                path: cookie.path.as_str().into(),
            },
            Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
                HashSource::SourceIp
            }
            Some(PolicySpecifier::QueryParameter(parameter)) => {
                HashSource::QueryParameter(parameter.name.as_str().into())
            }
            _ => {
                notes.warn(&here, "is not known; nothing is hashed");
                continue;
            }
        };
        policies.push(HashPolicy { source, terminal: policy.terminal });
    }
    Ok(policies)
}

fn mirrors(values: &[RequestMirrorPolicy], path: &Path<'_>, notes: &mut Notes) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let here = path.item("request_mirror_policies", index);
        if value.cluster.is_empty() {
            notes.warn(&here.field("cluster"), "is empty; nothing is mirrored");
            continue;
        }
        mirrors.push(Mirror {
            cluster: value.cluster.as_str().into(),
            percentage: value
                .runtime_fraction
                .as_ref()
                .map_or(Percentage::ALL, units::runtime_percentage),
            shadow_host_suffix: !value.disable_shadow_host_suffix_append,
        });
    }
    mirrors
}

fn upgrade(value: &UpgradeConfig) -> Upgrade {
    Upgrade {
        protocol: value.upgrade_type.as_str().into(),
        enabled: value.enabled.as_ref().is_none_or(|enabled| enabled.value),
        terminate_connect: value.connect_config.is_some(),
    }
}

fn weights(value: &PbWeighted, path: &Path<'_>, notes: &mut Notes) -> Result<Weighted, Flaw> {
    let mut clusters = Vec::with_capacity(value.clusters.len());
    for (index, cluster) in value.clusters.iter().enumerate() {
        let here = path.item("clusters", index);
        if cluster.name.is_empty() {
            return Err(here.field("name").flaw("is empty"));
        }
        notes.ignored(&here, "metadata_match", cluster.metadata_match.is_some());
        clusters.push(WeightedCluster {
            name: cluster.name.as_str().into(),
            weight: cluster.weight.as_ref().map_or(0, |weight| weight.value),
            request_headers: header::mutations(
                &cluster.request_headers_to_add,
                &cluster.request_headers_to_remove,
                &here,
                "request",
                notes,
            )?,
            response_headers: header::mutations(
                &cluster.response_headers_to_add,
                &cluster.response_headers_to_remove,
                &here,
                "response",
                notes,
            )?,
            overrides: http_filter::overrides(&cluster.typed_per_filter_config, &here, notes)?,
            host_rewrite: match &cluster.host_rewrite_specifier {
                Some(WeightHostRewrite::HostRewriteLiteral(host)) => {
                    HostRewrite::Literal(host.as_str().into())
                }
                None => HostRewrite::Keep,
            },
        });
    }
    Weighted::new(clusters).ok_or_else(|| path.field("clusters").flaw("no weight is positive"))
}

/// Sending the client elsewhere.
pub(super) fn redirect(value: &RedirectAction, path: &Path<'_>) -> Result<Action, Flaw> {
    let scheme = match &value.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some(Arc::from("https")),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => units::non_empty(scheme),
        _ => None,
    };
    let rewrite = match &value.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => PathRewrite::Whole(path.as_str().into()),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            PathRewrite::Prefix(prefix.as_str().into())
        }
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => PathRewrite::Regex {
            pattern: units::regex(rewrite.pattern.as_ref(), &path.field("regex_rewrite"))?,
            substitution: PathRewrite::substitution(&rewrite.substitution),
        },
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(path.field("path_rewrite").flaw("formats do not rewrite paths here"));
        }
        None => PathRewrite::Keep,
    };
    let port = match value.port_redirect {
        0 => None,
        number => Some(units::port(number, &path.field("port_redirect"))?),
    };
    Ok(Action::Redirect(Arc::new(Redirect {
        scheme,
        host: units::non_empty(&value.host_redirect),
        port,
        path: rewrite,
        strip_query: value.strip_query,
        status: match value.response_code() {
            RedirectResponseCode::MovedPermanently => 301,
            RedirectResponseCode::Found => 302,
            RedirectResponseCode::SeeOther => 303,
            RedirectResponseCode::TemporaryRedirect => 307,
            RedirectResponseCode::PermanentRedirect => 308,
        },
    })))
}

/// Answering.
pub(super) fn direct_response(
    value: &DirectResponseAction,
    max_body: u32,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Action, Flaw> {
    let status = u16::try_from(value.status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| path.field("status").flaw(format_args!("{} is no status", value.status)))?;
    notes.ignored(path, "body_format", value.body_format.is_some());
    let body = match &value.body {
        Some(body) => units::inline_text(body, &path.field("body"))?,
        None => String::new(),
    };
    if body.len() > usize::try_from(max_body).unwrap_or(usize::MAX) {
        return Err(path.field("body").flaw(format_args!("is larger than {max_body} bytes")));
    }
    Ok(Action::DirectResponse(Arc::new(DirectResponse { status, body: Bytes::from(body) })))
}
