//! The roles and bindings that every cluster starts with.

use serde_json::{Value, json};

use super::GROUP;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// What `view` reads, by group; `edit` and `admin` read it too.
const VIEW: [(&str, &[&str]); 9] = [
    (
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "namespaces",
            "namespaces/status",
            "pods",
            "pods/log",
            "pods/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("batch", &["jobs", "jobs/status"]),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("coordination.k8s.io", &["leases"]),
];

/// What `edit` writes, by group.
const EDIT: [(&str, &[&str]); 8] = [
    (
        "",
        &[
            "configmaps",
            "events",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("batch", &["jobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("events.k8s.io", &["events"]),
    ("coordination.k8s.io", &["leases"]),
];

/// Group and resource (empty group for core) of every bootstrap object, with the object.
pub(crate) fn objects() -> Vec<(&'static str, Value)> {
    let mut objects = Vec::new();
    for (name, rules, labels) in cluster_roles() {
        let mut metadata = metadata(name);
        for (key, value) in labels {
            metadata["labels"][key] = json!(value);
        }
        let mut role = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole",
            "metadata": metadata, "rules": rules,
        });
        if let Some(label) = aggregated_by(name) {
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        objects.push(("clusterroles", role));
    }
    for (name, role, groups) in bindings() {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group}))
            .collect();
        objects.push((
            "clusterrolebindings",
            json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
                "metadata": metadata(name), "subjects": subjects,
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            }),
        ));
    }
    objects
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn aggregated_by(name: &str) -> Option<&'static str> {
    Some(match name {
        "admin" => "rbac.authorization.k8s.io/aggregate-to-admin",
        "edit" => "rbac.authorization.k8s.io/aggregate-to-edit",
        "view" => "rbac.authorization.k8s.io/aggregate-to-view",
        _ => return None,
    })
}

type Role = (&'static str, Vec<Value>, Vec<(&'static str, &'static str)>);

fn cluster_roles() -> Vec<Role> {
    let paths = |paths: &[&str]| json!({"verbs": ["get"], "nonResourceURLs": paths});
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery: Vec<&str> = health
        .iter()
        .copied()
        .chain(["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"])
        .collect();
    let reviews = |group, resources: &[&str]| rule(group, resources, &["create"]);
    let mut edit = table(&VIEW, &READ);
    edit.extend(table(&EDIT, &WRITE));
    edit.push(rule("", &["secrets", "pods/attach", "pods/exec", "pods/portforward"], &READ));
    edit.push(rule("", &["serviceaccounts"], &["impersonate"]));
    edit.push(rule("", &["serviceaccounts/token"], &["create"]));
    let mut admin = edit.clone();
    admin.push(rule(GROUP, &["roles", "rolebindings"], &[&READ[..], &WRITE].concat()));
    admin.push(reviews("authorization.k8s.io", &["localsubjectaccessreviews"]));
    vec![
        (
            "cluster-admin",
            vec![rule("*", &["*"], &["*"]), json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
            vec![],
        ),
        ("admin", admin, vec![]),
        ("edit", edit, vec![("rbac.authorization.k8s.io/aggregate-to-admin", "true")]),
        (
            "view",
            table(&VIEW, &READ),
            vec![("rbac.authorization.k8s.io/aggregate-to-edit", "true")],
        ),
        ("system:discovery", vec![paths(&discovery)], vec![]),
        ("system:public-info-viewer", vec![paths(&health)], vec![]),
        (
            "system:basic-user",
            vec![
                reviews(
                    "authorization.k8s.io",
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                reviews("authentication.k8s.io", &["selfsubjectreviews"]),
            ],
            vec![],
        ),
        (
            "system:auth-delegator",
            vec![
                reviews("authentication.k8s.io", &["tokenreviews"]),
                reviews("authorization.k8s.io", &["subjectaccessreviews"]),
            ],
            vec![],
        ),
        (
            "system:service-account-issuer-discovery",
            vec![paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ])],
            vec![],
        ),
    ]
}

fn bindings() -> [(&'static str, &'static str, &'static [&'static str]); 5] {
    const AUTHENTICATED: &str = super::super::identity::AUTHENTICATED;
    const UNAUTHENTICATED: &str = super::super::identity::UNAUTHENTICATED;
    [
        ("cluster-admin", "cluster-admin", &[super::MASTERS]),
        ("system:discovery", "system:discovery", &[AUTHENTICATED]),
        ("system:basic-user", "system:basic-user", &[AUTHENTICATED]),
        (
            "system:public-info-viewer",
            "system:public-info-viewer",
            &[AUTHENTICATED, UNAUTHENTICATED],
        ),
        (
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            &["system:serviceaccounts"],
        ),
    ]
}

fn table(rows: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    rows.iter().map(|(group, resources)| rule(group, resources, verbs)).collect()
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}
