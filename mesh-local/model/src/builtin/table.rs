//! The table of builtin kinds: plural, short names, categories, scope, subresources, verbs.

use super::Builtin;
use crate::kind::{Gvk, KindInfo, ScalePaths, Scope};

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces are not deleted as a collection.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];

/// One row as written below.
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    /// Module of the definition under `io.k8s.api`, or a whole prefix.
    module: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    extra: Extra,
}

/// Which subresources a row has, or which verbs it lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Status,
    Scale,
    CreateOnly,
}

const N: Scope = Scope::Namespaced;
const C: Scope = Scope::Cluster;
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];
const CRD_MODULE: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

type Cells =
    (&'static str, &'static str, &'static [&'static str], &'static [&'static str], Scope, Extra);

fn group(
    group: &'static str,
    version: &'static str,
    module: &'static str,
    rows: &[Cells],
) -> Vec<Row> {
    rows.iter()
        .map(|&(kind, plural, short, categories, scope, extra)| Row {
            group,
            version,
            kind,
            plural,
            module,
            short,
            categories,
            scope,
            extra,
        })
        .collect()
}

fn workload_rows() -> Vec<Row> {
    use Extra::{None, Scale, Status};
    let mut rows = group(
        "",
        "v1",
        "core.v1",
        &[
            ("ConfigMap", "configmaps", &["cm"], &[], N, None),
            ("Endpoints", "endpoints", &["ep"], &[], N, None),
            ("Event", "events", &["ev"], &[], N, None),
            ("Namespace", "namespaces", &["ns"], &[], C, Status),
            ("Node", "nodes", &["no"], &[], C, Status),
            ("Pod", "pods", &["po"], ALL, N, Status),
            ("Secret", "secrets", &[], &[], N, None),
            ("Service", "services", &["svc"], ALL, N, Status),
            ("ServiceAccount", "serviceaccounts", &["sa"], &[], N, None),
        ],
    );
    rows.extend(group(
        "apps",
        "v1",
        "apps.v1",
        &[
            ("DaemonSet", "daemonsets", &["ds"], ALL, N, Status),
            ("Deployment", "deployments", &["deploy"], ALL, N, Scale),
            ("ReplicaSet", "replicasets", &["rs"], ALL, N, Scale),
            ("StatefulSet", "statefulsets", &["sts"], ALL, N, Scale),
        ],
    ));
    rows.extend(group("batch", "v1", "batch.v1", &[("Job", "jobs", &[], ALL, N, Status)]));
    rows.extend(group(
        "autoscaling",
        "v2",
        "autoscaling.v2",
        &[("HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], ALL, N, Status)],
    ));
    rows.extend(group(
        "policy",
        "v1",
        "policy.v1",
        &[("PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], &[], N, Status)],
    ));
    rows.extend(group(
        "events.k8s.io",
        "v1",
        "events.v1",
        &[("Event", "events", &["ev"], &[], N, None)],
    ));
    rows.extend(group(
        "scheduling.k8s.io",
        "v1",
        "scheduling.v1",
        &[("PriorityClass", "priorityclasses", &["pc"], &[], C, None)],
    ));
    rows.extend(group(
        "coordination.k8s.io",
        "v1",
        "coordination.v1",
        &[("Lease", "leases", &[], &[], N, None)],
    ));
    rows
}

fn network_rows() -> Vec<Row> {
    use Extra::{None, Status};
    let mut rows = group(
        "networking.k8s.io",
        "v1",
        "networking.v1",
        &[
            ("Ingress", "ingresses", &["ing"], &[], N, Status),
            ("IngressClass", "ingressclasses", &[], &[], C, None),
            ("NetworkPolicy", "networkpolicies", &["netpol"], &[], N, None),
        ],
    );
    rows.extend(group(
        "discovery.k8s.io",
        "v1",
        "discovery.v1",
        &[("EndpointSlice", "endpointslices", &[], &[], N, None)],
    ));
    rows
}

fn access_rows() -> Vec<Row> {
    use Extra::{CreateOnly, None, Status};
    let mut rows = group(
        "rbac.authorization.k8s.io",
        "v1",
        "rbac.v1",
        &[
            ("ClusterRole", "clusterroles", &[], &[], C, None),
            ("ClusterRoleBinding", "clusterrolebindings", &[], &[], C, None),
            ("Role", "roles", &[], &[], N, None),
            ("RoleBinding", "rolebindings", &[], &[], N, None),
        ],
    );
    rows.extend(group(
        "authentication.k8s.io",
        "v1",
        "authentication.v1",
        &[
            ("SelfSubjectReview", "selfsubjectreviews", &[], &[], C, CreateOnly),
            ("TokenReview", "tokenreviews", &[], &[], C, CreateOnly),
        ],
    ));
    rows.extend(group(
        "authorization.k8s.io",
        "v1",
        "authorization.v1",
        &[
            ("LocalSubjectAccessReview", "localsubjectaccessreviews", &[], &[], N, CreateOnly),
            ("SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], &[], C, CreateOnly),
            ("SelfSubjectRulesReview", "selfsubjectrulesreviews", &[], &[], C, CreateOnly),
            ("SubjectAccessReview", "subjectaccessreviews", &[], &[], C, CreateOnly),
        ],
    ));
    rows.extend(group(
        "admissionregistration.k8s.io",
        "v1",
        "admissionregistration.v1",
        &[
            (
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
                &[],
                EXTENSIONS,
                C,
                None,
            ),
            (
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
                &[],
                EXTENSIONS,
                C,
                None,
            ),
        ],
    ));
    rows.extend(group(
        "apiextensions.k8s.io",
        "v1",
        CRD_MODULE,
        &[(
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &["crd", "crds"],
            EXTENSIONS,
            C,
            Status,
        )],
    ));
    rows
}

/// Every builtin resource.
pub(super) fn resources() -> Vec<Builtin> {
    let rows = workload_rows().into_iter().chain(network_rows()).chain(access_rows());
    rows.map(builtin).collect()
}

/// Kinds that are only bodies of subresources.
pub(super) fn subresources() -> Vec<Builtin> {
    let rows: [(&str, &str, &str, &str, &str); 4] = [
        (
            "authentication.k8s.io",
            "v1",
            "TokenRequest",
            "authentication.v1",
            "serviceaccounts/token",
        ),
        ("autoscaling", "v1", "Scale", "autoscaling.v1", "deployments/scale"),
        ("policy", "v1", "Eviction", "policy.v1", "pods/eviction"),
        ("", "v1", "Binding", "core.v1", "pods/binding"),
    ];
    rows.into_iter()
        .map(|(group, version, kind, module, subresource)| {
            let verbs = if kind == "Scale" { &["get", "patch", "update"] } else { CREATE };
            let plural = subresource.split('/').next().unwrap_or_default();
            Builtin {
                info: KindInfo {
                    gvk: Gvk::new(group, version, kind),
                    plural: plural.to_owned(),
                    singular: String::new(),
                    short_names: Vec::new(),
                    categories: Vec::new(),
                    scope: N,
                    status: false,
                    scale: None,
                    verbs: verbs.to_vec(),
                },
                subresource: Some(subresource),
                definition: definition(module, kind),
            }
        })
        .collect()
}

fn builtin(row: Row) -> Builtin {
    let verbs = match row.extra {
        Extra::CreateOnly => CREATE,
        _ if row.kind == "Namespace" => NAMESPACE_VERBS,
        _ => ALL_VERBS,
    };
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Builtin {
        info: KindInfo {
            gvk: Gvk::new(row.group, row.version, row.kind),
            plural: row.plural.to_owned(),
            singular: row.kind.to_ascii_lowercase(),
            short_names: owned(row.short),
            categories: owned(row.categories),
            scope: row.scope,
            status: matches!(row.extra, Extra::Status | Extra::Scale),
            scale: (row.extra == Extra::Scale).then(|| ScalePaths {
                spec_replicas: ".spec.replicas".to_owned(),
                status_replicas: ".status.replicas".to_owned(),
                label_selector: None,
            }),
            verbs: verbs.to_vec(),
        },
        subresource: None,
        definition: definition(row.module, row.kind),
    }
}

/// The full name of a definition. Leaked: the table is built once.
fn definition(module: &str, kind: &str) -> &'static str {
    let name = if module.starts_with("io.") {
        format!("{module}.{kind}")
    } else {
        format!("io.k8s.api.{module}.{kind}")
    };
    Box::leak(name.into_boxed_str())
}
