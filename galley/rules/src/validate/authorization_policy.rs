//! AuthorizationPolicy: actions, sources, operations and conditions.

use mesh_api::crd::authorization_policy::{Action, Condition, Operation, Rule, Source};
use mesh_api::crd::{AuthorizationPolicySpec, Object};

use super::check::At;
use super::common::{Target, target};
use super::{Validate, text};

const MAX_ACCOUNTS: usize = 16;
const MAX_ACCOUNT: usize = 320;

/// Keys of conditions that are whole attributes.
const KEYS: [&str; 12] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];
/// Keys of conditions that name an entry of a map: `request.headers[name]`.
const MAPS: [&str; 3] = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];
/// Keys that older versions had, and what to use instead.
const GONE: [(&str, &str); 4] = [
    ("destination.labels", "use the workload selector instead"),
    ("destination.namespace", "use metadata.namespace instead"),
    ("destination.name", "use the workload selector instead"),
    ("destination.user", "use the workload selector instead"),
];

impl Validate for AuthorizationPolicySpec {
    const DRY_RUN: bool = true;

    fn validate(object: &Object<Self>, at: &mut At<'_>) {
        let spec = &object.spec;
        let attached = Target {
            selector: spec.selector.as_ref().map(|selector| &selector.match_labels),
            one: spec.target_ref.as_ref(),
            many: &spec.target_refs,
        };
        target(&attached, at);
        let action = spec.action.unwrap_or_default();
        let dry_run = object.metadata.annotations.iter().flatten();
        at.field("action").error_if(
            dry_run.into_iter().any(|(key, _)| key == mesh_api::annotations::DRY_RUN)
                && !matches!(action, Action::Allow | Action::Deny),
            "a dry run is only supported with ALLOW and DENY",
        );
        let rules = spec.rules.as_deref().unwrap_or_default();
        let provider = spec.provider.as_ref().and_then(|provider| provider.name.as_deref());
        match action {
            Action::Custom => {
                at.field("rules").error_if(
                    spec.rules.is_none(),
                    "CUSTOM action without `rules` is meaningless as it will never be triggered",
                );
                at.field("provider").field("name").error_if(
                    provider.unwrap_or_default().is_empty(),
                    "provider.name must not be empty with CUSTOM action",
                );
            }
            _ => at
                .field("provider")
                .error_if(spec.provider.is_some(), "`provider` must be with CUSTOM action only"),
        }
        at.field("rules").error_if(
            action == Action::Deny && spec.rules.is_none(),
            "DENY action without `rules` is meaningless as it will never be triggered",
        );
        for (index, one) in rules.iter().enumerate() {
            rule(one, action, &mut at.field("rules").index(index));
        }
    }
}

fn rule(rule: &Rule, action: Action, at: &mut At<'_>) {
    let empty = |list: Option<usize>| list == Some(0);
    at.field("from").error_if(empty(rule.from.as_ref().map(Vec::len)), "`from` cannot be empty");
    at.field("to").error_if(empty(rule.to.as_ref().map(Vec::len)), "`to` cannot be empty");
    for (index, from) in rule.from.iter().flatten().enumerate() {
        let mut at = at.field("from");
        let mut at = at.index(index);
        let mut at = at.field("source");
        match &from.source {
            None => at.error("`from.source` cannot be nil"),
            Some(given) if *given == Source::default() => at.error("`from.source` cannot be empty"),
            Some(given) => source(given, action, &mut at),
        }
    }
    for (index, to) in rule.to.iter().flatten().enumerate() {
        let mut at = at.field("to");
        let mut at = at.index(index);
        let mut at = at.field("operation");
        match &to.operation {
            None => at.error("`to.operation` cannot be nil"),
            Some(given) if *given == Operation::default() => {
                at.error("`to.operation` cannot be empty");
            }
            Some(given) => operation(given, &mut at),
        }
    }
    for (index, one) in rule.when.iter().flatten().enumerate() {
        condition(one, action, &mut at.field("when").index(index));
    }
    at.warn_if(
        action == Action::Deny && denies_tcp(rule),
        "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to \
         the use of only HTTP attributes in a DENY rule; it is recommended to explicitly specify \
         the port",
    );
}

/// HTTP attributes are unknown on TCP ports, where a DENY rule then leaves them out.
fn denies_tcp(rule: &Rule) -> bool {
    let to_without_port = rule.to.iter().flatten().any(|to| {
        to.operation.as_ref().is_some_and(|to| to.ports.is_empty() && to.not_ports.is_empty())
    });
    let http_only = |source: &Source| {
        let stripped = Source {
            request_principals: Vec::new(),
            not_request_principals: Vec::new(),
            ..source.clone()
        };
        stripped == Source::default()
    };
    let from_http_only = rule.to.is_none()
        && rule.from.iter().flatten().any(|from| from.source.as_ref().is_some_and(http_only));
    to_without_port || from_http_only
}

fn source(source: &Source, action: Action, at: &mut At<'_>) {
    let lists: [(&str, &Vec<String>, bool); 14] = [
        ("principals", &source.principals, true),
        ("notPrincipals", &source.not_principals, true),
        ("requestPrincipals", &source.request_principals, true),
        ("notRequestPrincipals", &source.not_request_principals, true),
        ("namespaces", &source.namespaces, true),
        ("notNamespaces", &source.not_namespaces, true),
        ("serviceAccounts", &source.service_accounts, true),
        ("notServiceAccounts", &source.not_service_accounts, true),
        ("trustDomains", &source.trust_domains, true),
        ("notTrustDomains", &source.not_trust_domains, true),
        ("ipBlocks", &source.ip_blocks, false),
        ("notIpBlocks", &source.not_ip_blocks, false),
        ("remoteIpBlocks", &source.remote_ip_blocks, false),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks, false),
    ];
    for (field, values, identity) in lists {
        let mut at = at.field(field);
        at.error_if(
            identity && action == Action::Custom && !values.is_empty(),
            "is currently not supported with CUSTOM action",
        );
        for (index, value) in values.iter().enumerate() {
            let mut at = at.index(index);
            at.error_if(value.is_empty(), "empty value not allowed");
            match field {
                "serviceAccounts" | "notServiceAccounts" => at.require(account(value)),
                "trustDomains" | "notTrustDomains" => at.require(trust_domain(value)),
                _ if !identity && !value.is_empty() => at.require(text::ip_or_cidr(value)),
                _ => {}
            }
        }
    }
    let accounts = source.service_accounts.len().max(source.not_service_accounts.len());
    at.error_if(accounts > MAX_ACCOUNTS, "at most 16 serviceAccounts are allowed");
    let named =
        [&source.principals, &source.not_principals, &source.namespaces, &source.not_namespaces];
    at.error_if(
        accounts > 0 && named.into_iter().any(|list| !list.is_empty()),
        "cannot set serviceAccounts with namespaces or principals",
    );
}

fn account(value: &str) -> Result<(), String> {
    if value.len() > MAX_ACCOUNT {
        return Err(format!("a service account of more than {MAX_ACCOUNT} characters"));
    }
    let (namespace, name) = match value.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, value),
    };
    let empty = name.is_empty() || namespace == Some("");
    match empty || name.contains('/') || value.contains('*') {
        false => Ok(()),
        true => Err(format!(
            "service account {value:?} must be <name> or <namespace>/<name>, without wildcards"
        )),
    }
}

fn trust_domain(value: &str) -> Result<(), String> {
    let inner = value.strip_prefix('*').or_else(|| value.strip_suffix('*')).unwrap_or(value);
    match inner.contains(['*', '/']) {
        false => Ok(()),
        true => Err(format!(
            "trust domain {value:?} may have one '*' at its beginning or end, and no '/'"
        )),
    }
}

fn operation(operation: &Operation, at: &mut At<'_>) {
    let lists = [
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("ports", &operation.ports),
        ("notPorts", &operation.not_ports),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ];
    for (field, values) in lists {
        for (index, value) in values.iter().enumerate() {
            let mut at = at.field(field);
            let mut at = at.index(index);
            if value.is_empty() {
                at.error("empty value not allowed");
                continue;
            }
            match field {
                "ports" | "notPorts" => at.require(port(value)),
                "paths" | "notPaths" => at.require(path_template(value)),
                _ => {}
            }
        }
    }
}

fn port(value: &str) -> Result<(), String> {
    match value.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{value:?} is no port: a number from 0 to 65535")),
    }
}

/// Paths with `{*}` for one segment and `{**}` for the rest.
fn path_template(path: &str) -> Result<(), String> {
    if !path.contains("{*}") && !path.contains("{**}") {
        return match path.contains(['{', '}']) {
            true => Err(format!("path {path:?}: braces may only be written {{*}} or {{**}}")),
            false => Ok(()),
        };
    }
    let mut rest = false;
    for segment in path.trim_start_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if rest => {
                return Err(format!("path {path:?}: {{**}} is not the last operator"));
            }
            "{*}" => {}
            "{**}" => rest = true,
            plain if plain.bytes().all(is_pchar) => {}
            _ => {
                return Err(format!(
                    "path {path:?}: segment {segment:?} is not valid in a template"
                ));
            }
        }
    }
    Ok(())
}

fn is_pchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=:@".contains(&b)
}

fn condition(condition: &Condition, action: Action, at: &mut At<'_>) {
    let key = condition.key.as_str();
    let mut place = at.field("key");
    if let Some((_, instead)) = GONE.iter().find(|(gone, _)| is_entry(key, gone) || key == *gone) {
        place.error(format!("{key} is not supported: {instead}"));
    } else if key.is_empty() {
        place.error("`key` cannot be empty");
    } else if !KEYS.contains(&key) && !MAPS.iter().any(|map| is_entry(key, map)) {
        place.error(format!("unknown attribute {key:?}"));
    }
    let identity = ["source.namespace", "source.principal", "source.serviceAccount"].contains(&key)
        || key.starts_with("request.auth.")
        || key == "source.trustDomain";
    place.error_if(
        action == Action::Custom && identity,
        "is currently not supported with CUSTOM action",
    );
    at.error_if(
        condition.values.is_empty() && condition.not_values.is_empty(),
        "at least one of `values` or `notValues` must be set",
    );
    let lists = [("values", &condition.values), ("notValues", &condition.not_values)];
    for (field, values) in lists {
        for (index, value) in values.iter().enumerate() {
            let mut at = at.field(field);
            let mut at = at.index(index);
            at.error_if(value.is_empty(), "empty value not allowed");
            match key {
                "source.ip" | "remote.ip" | "destination.ip" => at.require(text::ip_or_cidr(value)),
                "destination.port" => at.require(port(value)),
                _ => {}
            }
        }
    }
}

/// Whether a key is `map[entry]`; a map that ends in a dot has names before the bracket, too.
fn is_entry(key: &str, map: &str) -> bool {
    let Some(rest) = key.strip_prefix(map) else { return false };
    let rest = match map.ends_with('.') {
        true => rest.find('[').map_or("", |start| &rest[start..]),
        false => rest,
    };
    rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2
}
