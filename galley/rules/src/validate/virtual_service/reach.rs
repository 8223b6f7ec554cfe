//! Rules that can never apply, and conditions that add nothing: warnings with codes of their own.

use std::collections::BTreeMap;

use mesh_api::crd::VirtualServiceSpec;
use mesh_api::crd::common::StringMatch;
use mesh_api::crd::virtual_service::{HttpMatchRequest, TcpRoute, TlsRoute};
use serde::Serialize;

use crate::report::Code;
use crate::validate::check::At;

const UNREACHABLE: Code = Code(130);
const INEFFECTIVE: Code = Code(131);

/// Warns about the rules of an object that earlier rules shadow.
pub(super) fn check(spec: &VirtualServiceSpec, at: &mut At<'_>) {
    let http: Vec<Vec<String>> = spec
        .http
        .iter()
        .map(|route| route.match_.iter().map(|condition| key(&unnamed(condition))).collect())
        .collect();
    shadowed(&http, &mut at.field("http"));
    prefixes(spec, &mut at.field("http"));
    let tls = |route: &TlsRoute| route.match_.iter().map(key).collect();
    shadowed(&spec.tls.iter().map(tls).collect::<Vec<_>>(), &mut at.field("tls"));
    let tcp = |route: &TcpRoute| route.match_.iter().map(key).collect();
    shadowed(&spec.tcp.iter().map(tcp).collect::<Vec<_>>(), &mut at.field("tcp"));
}

/// Names of conditions are for logs; they tell no requests apart.
fn unnamed(condition: &HttpMatchRequest) -> HttpMatchRequest {
    HttpMatchRequest { name: None, stat_prefix: None, ..condition.clone() }
}

fn key<T: Serialize>(condition: &T) -> String {
    serde_json::to_string(condition).unwrap_or_default()
}

fn shadowed(rules: &[Vec<String>], at: &mut At<'_>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut catch_all = None;
    for (number, conditions) in rules.iter().enumerate() {
        let mut at = at.index(number);
        if let Some(earlier) = catch_all {
            at.coded(
                UNREACHABLE,
                format!(
                    "virtualService rule #{number} is not reachable (only the last rule can have \
                     no matches, and rule #{earlier} has none)"
                ),
            );
            continue;
        }
        if conditions.is_empty() {
            catch_all = Some(number);
            continue;
        }
        let duplicates: Vec<(usize, usize)> = conditions
            .iter()
            .enumerate()
            .filter_map(|(index, key)| Some((index, *seen.get(key.as_str())?)))
            .collect();
        if duplicates.len() == conditions.len() {
            at.coded(
                UNREACHABLE,
                format!(
                    "virtualService rule #{number} is not reachable (all matches used by prior \
                     rules)"
                ),
            );
        } else {
            for (index, earlier) in duplicates {
                ineffective(number, index, earlier, "duplicates a match in", &mut at);
            }
        }
        for key in conditions {
            seen.entry(key.as_str()).or_insert(number);
        }
    }
}

fn ineffective(number: usize, index: usize, earlier: usize, how: &str, at: &mut At<'_>) {
    at.field("match").index(index).coded(
        INEFFECTIVE,
        format!("virtualService rule #{number} match #{index} is not used ({how} rule #{earlier})"),
    );
}

/// A prefix that a prefix of an earlier rule covers, where the other conditions do, too.
fn prefixes(spec: &VirtualServiceSpec, at: &mut At<'_>) {
    for (number, route) in spec.http.iter().enumerate() {
        for (index, condition) in route.match_.iter().enumerate() {
            let earlier = spec.http[..number].iter().enumerate().find(|(_, earlier)| {
                earlier.match_.iter().any(|first| first != condition && covers(first, condition))
            });
            if let Some((earlier, _)) = earlier {
                let mut at = at.index(number);
                ineffective(number, index, earlier, "covered by a prefix match in", &mut at);
            }
        }
    }
}

fn covers(first: &HttpMatchRequest, second: &HttpMatchRequest) -> bool {
    let Some(prefix) = first.uri.as_ref().and_then(|uri| uri.prefix.as_deref()) else {
        return false;
    };
    let path = second.uri.as_ref().and_then(|uri| uri.prefix.as_deref());
    let same = |a: &HttpMatchRequest, b: &HttpMatchRequest| {
        a.port == b.port
            && a.scheme == b.scheme
            && method(a) == method(b)
            && a.source_labels == b.source_labels
            && a.source_namespace == b.source_namespace
            && a.gateways == b.gateways
            && a.ignore_uri_case == b.ignore_uri_case
            && a.without_headers == b.without_headers
    };
    path.is_some_and(|path| path.starts_with(prefix))
        && same(first, second)
        && first.authority.as_ref().is_none_or(|a| second.authority.as_ref() == Some(a))
        && all_cover(&first.headers, &second.headers)
        && all_cover(&first.query_params, &second.query_params)
}

fn method(condition: &HttpMatchRequest) -> Option<&StringMatch> {
    condition.method.as_ref()
}

/// Whether whatever meets the second conditions meets the first.
fn all_cover(
    first: &BTreeMap<String, StringMatch>,
    second: &BTreeMap<String, StringMatch>,
) -> bool {
    first.iter().all(|(name, wanted)| {
        second.get(name).is_some_and(|given| match (&wanted.prefix, &given.prefix) {
            (Some(wanted), Some(given)) => given.starts_with(wanted.as_str()),
            _ => wanted == given,
        })
    })
}
