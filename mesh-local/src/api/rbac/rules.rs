//! One policy rule: what it allows, and which rules it covers.

use serde_json::{Map, Value, json};

/// What a request does, as rules judge it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The path, for requests that are not about a resource; else empty.
    pub(crate) path: &'a str,
}

/// A `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

impl Rule {
    /// The rules of a role.
    pub(crate) fn read_all(rules: &Value) -> Vec<Self> {
        let list = |rule: &Value, key: &str| -> Vec<String> {
            let values = rule[key].as_array().map_or(&[][..], Vec::as_slice);
            values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
        rules
            .iter()
            .map(|rule| Self {
                verbs: list(rule, "verbs"),
                groups: list(rule, "apiGroups"),
                resources: list(rule, "resources"),
                names: list(rule, "resourceNames"),
                paths: list(rule, "nonResourceURLs"),
            })
            .collect()
    }

    /// The rules of the cluster's administrator.
    pub(crate) fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self { verbs: all(), groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), paths: all(), ..Self::default() },
        ]
    }

    /// As a `ResourceRule` or `NonResourceRule` of a rules review.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, values) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !values.is_empty() {
                out.insert(key.to_owned(), json!(values));
            }
        }
        Value::Object(out)
    }

    /// Whether this rule alone allows the request.
    pub(crate) fn allows(&self, request: &Attributes<'_>) -> bool {
        if !contains(&self.verbs, request.verb) {
            return false;
        }
        if !request.path.is_empty() {
            return self.paths.iter().any(|pattern| path_matches(pattern, request.path));
        }
        contains(&self.groups, request.group)
            && self.resources.iter().any(|r| resource_matches(r, request))
            && (self.names.is_empty()
                || (!request.name.is_empty() && self.names.iter().any(|n| n == request.name)))
    }
}

/// The first part of `wanted` that no rule of `held` covers, as a message names it.
pub(crate) fn covers(held: &[Rule], wanted: &[Rule]) -> Result<(), Vec<Rule>> {
    let missing: Vec<Rule> = wanted
        .iter()
        .flat_map(single_parts)
        .filter(|part| !held.iter().any(|rule| covers_part(rule, part)))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// A rule as rules of one verb, one group, one resource, one name or one path each.
fn single_parts(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for path in &rule.paths {
            parts.push(Rule { verbs: one(verb), paths: one(path), ..Rule::default() });
        }
        for group in &rule.groups {
            for resource in &rule.resources {
                let part = Rule {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.names.is_empty() {
                    parts.push(part);
                } else {
                    parts.extend(
                        rule.names.iter().map(|name| Rule { names: one(name), ..part.clone() }),
                    );
                }
            }
        }
    }
    parts
}

fn covers_part(rule: &Rule, part: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| wanted.iter().all(|w| contains(held, w));
    if !all(&rule.verbs, &part.verbs) {
        return false;
    }
    if let Some(path) = part.paths.first() {
        return rule.paths.iter().any(|p| p == path || path_matches(p, path));
    }
    let resource_covered = part.resources.iter().all(|wanted| {
        let request = match wanted.split_once('/') {
            Some((resource, subresource)) => {
                Attributes { resource, subresource, ..Attributes::default() }
            }
            None => Attributes { resource: wanted, ..Attributes::default() },
        };
        rule.resources.iter().any(|r| r == wanted || resource_matches(r, &request))
    });
    let names_covered = rule.names.is_empty()
        || (!part.names.is_empty() && part.names.iter().all(|n| rule.names.contains(n)));
    all(&rule.groups, &part.groups) && resource_covered && names_covered
}

fn contains(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

fn resource_matches(pattern: &str, request: &Attributes<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => request.subresource.is_empty() && pattern == request.resource,
        Some((resource, subresource)) => {
            subresource == request.subresource && (resource == "*" || resource == request.resource)
        }
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Rule, covers};
    use serde_json::json;

    fn rules(value: serde_json::Value) -> Vec<Rule> {
        Rule::read_all(&value)
    }

    #[test]
    fn allows() {
        let rule = &rules(json!([{
            "verbs": ["get", "list"], "apiGroups": ["", "apps"],
            "resources": ["pods", "pods/log", "*/scale"],
        }]))[0];
        let ask = |verb, group, resource, subresource| Attributes {
            verb,
            group,
            resource,
            subresource,
            ..Attributes::default()
        };
        assert!(rule.allows(&ask("get", "", "pods", "")));
        assert!(rule.allows(&ask("get", "", "pods", "log")));
        assert!(rule.allows(&ask("get", "apps", "deployments", "scale")));
        assert!(!rule.allows(&ask("get", "", "pods", "exec")));
        assert!(!rule.allows(&ask("watch", "", "pods", "")));
        assert!(!rule.allows(&ask("get", "batch", "pods", "")));

        let named = &rules(json!([{
            "verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": ["istio"],
        }]))[0];
        let by_name = |name| Attributes { name, ..ask("get", "", "configmaps", "") };
        assert!(named.allows(&by_name("istio")));
        assert!(!named.allows(&by_name("other")));
        assert!(!named.allows(&by_name("")));

        let path =
            &rules(json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}]))[0];
        let by_path = |path| Attributes { verb: "get", path, ..Attributes::default() };
        assert!(path.allows(&by_path("/api/v1")));
        assert!(!path.allows(&by_path("/metrics")));
    }

    #[test]
    fn covering() {
        let held = rules(json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]},
            {"verbs": ["get"], "nonResourceURLs": ["/api/*"]},
        ]));
        let want = |value| covers(&held, &rules(value)).is_ok();
        assert!(want(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
                             "resourceNames": ["x"]}])));
        assert!(want(json!([{"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*/scale"]}])));
        assert!(want(json!([{"verbs": ["get"], "nonResourceURLs": ["/api/v1"]}])));
        assert!(!want(json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}])));
        assert!(!want(json!([{"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"]}])));
        assert!(!want(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}])));
    }
}
