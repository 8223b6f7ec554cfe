//! Which resource and verb a method and path mean.

use http::Method;
use percent_encoding::percent_decode_str;

/// A path below `/api/v1` or `/apis/GROUP/VERSION` that names a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Namespace; empty for all namespaces and cluster-scoped resources.
    pub(crate) namespace: String,
    /// Plural resource.
    pub(crate) resource: String,
    /// Object name; empty for the collection.
    pub(crate) name: String,
    /// Subresource; empty for the object itself.
    pub(crate) subresource: String,
}

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A resource.
    Resource(ResourcePath),
    /// Anything else: discovery, health, OpenAPI.
    Other(String),
}

/// Reads a path.
pub(crate) fn target(path: &str) -> Target {
    resource(path).map_or_else(|| Target::Other(path.to_owned()), Target::Resource)
}

fn resource(path: &str) -> Option<ResourcePath> {
    let decoded: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect::<Option<_>>()?;
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // `status` and `finalize` are the only subresources of a namespace.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (rest[1], rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource] => (*resource, *name, *subresource),
        _ => return None,
    };
    if resource.is_empty() {
        return None;
    }
    Some(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// The verb of a request, as authorization and audit name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The verb of `method` on an object (`named`) or a collection.
    pub(crate) fn of(method: &Method, named: bool, watch: bool) -> Option<Self> {
        Some(match (method.as_str(), named) {
            ("GET" | "HEAD", _) if watch => Self::Watch,
            ("GET" | "HEAD", true) => Self::Get,
            ("GET" | "HEAD", false) => Self::List,
            ("POST", _) => Self::Create,
            ("PUT", true) => Self::Update,
            ("PATCH", true) => Self::Patch,
            ("DELETE", true) => Self::Delete,
            ("DELETE", false) => Self::DeleteCollection,
            _ => return None,
        })
    }

    /// As RBAC rules spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ResourcePath, Target, Verb, target};
    use crate::api::negotiate;
    use crate::api::query::{ListOptions, Query, WriteOptions};
    use http::Method;
    use percent_encoding::NON_ALPHANUMERIC;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn path(parts: [&str; 6]) -> Target {
        let [group, version, namespace, resource, name, subresource] = parts.map(str::to_owned);
        Target::Resource(ResourcePath { group, version, namespace, resource, name, subresource })
    }

    #[test]
    fn paths() {
        for (text, expected) in [
            ("/api/v1/pods", path(["", "v1", "", "pods", "", ""])),
            ("/api/v1/namespaces", path(["", "v1", "", "namespaces", "", ""])),
            ("/api/v1/namespaces/a", path(["", "v1", "a", "namespaces", "a", ""])),
            ("/api/v1/namespaces/a/finalize", path(["", "v1", "a", "namespaces", "a", "finalize"])),
            ("/api/v1/namespaces/a/pods", path(["", "v1", "a", "pods", "", ""])),
            ("/api/v1/namespaces/a/pods/p/log", path(["", "v1", "a", "pods", "p", "log"])),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                path(["rbac.authorization.k8s.io", "v1", "", "clusterroles", "system:node", ""]),
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                path(["apps", "v1", "a", "deployments", "d", "scale"]),
            ),
            ("/apis/apps/v1", Target::Other("/apis/apps/v1".into())),
            ("/api", Target::Other("/api".into())),
            ("/healthz", Target::Other("/healthz".into())),
            (
                "/api/v1/namespaces/a/pods/p/proxy/x",
                Target::Other("/api/v1/namespaces/a/pods/p/proxy/x".into()),
            ),
        ] {
            assert_eq!(target(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(path in ".*", query in ".*", accept in ".*") {
            target(&path);
            let query = Query::parse(&query);
            let _ = ListOptions::from_query(&query, true);
            let _ = WriteOptions::from_query(&query);
            let _ = negotiate::accept(&accept);
            let _ = negotiate::content(&accept);
        }

        #[test]
        fn names_survive_the_path(namespace in "[a-z0-9-]{1,20}", name in "[ -~]{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&name, NON_ALPHANUMERIC);
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/{encoded}");
            let Target::Resource(found) = target(&path) else { panic!("{path}") };
            prop_assert_eq!(found.namespace, namespace);
            prop_assert_eq!(found.name, name);
        }
    }

    #[test]
    fn verbs() {
        for (method, named, watch, expected) in [
            (Method::GET, false, false, Some(Verb::List)),
            (Method::GET, false, true, Some(Verb::Watch)),
            (Method::GET, true, false, Some(Verb::Get)),
            (Method::POST, false, false, Some(Verb::Create)),
            (Method::PUT, false, false, None),
            (Method::DELETE, false, false, Some(Verb::DeleteCollection)),
        ] {
            assert_eq!(Verb::of(&method, named, watch), expected);
        }
    }
}
