//! Rendered charts as objects: marked with what they belong to, in an order that can be applied.

use kube::ResourceExt;
use kube::api::DynamicObject;
use mesh_api::labels;

use super::operator::Operator;
use super::plan::{Component, Planned};
use crate::apply;
use crate::error::Error;
use crate::render::{self, Release};

/// Label: the document an object was installed for.
pub const OWNER: &str = "install.operator.istio.io/owning-resource";
/// Label: that document's namespace.
pub const OWNER_NAMESPACE: &str = "install.operator.istio.io/owning-resource-namespace";
/// The version templates are told where no cluster is asked.
const KUBE_VERSION: &str = "v1.33.0";

/// Kinds in the order in which they are applied; others follow.
const ORDER: [&str; 15] = [
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

/// The objects of one release, ready to be applied.
pub fn objects(operator: &Operator, planned: &Planned) -> Result<Vec<DynamicObject>, Error> {
    let release = Release {
        name: planned.release.clone(),
        namespace: planned.namespace.clone(),
        kube_version: KUBE_VERSION.to_owned(),
    };
    let mut objects = Vec::new();
    for rendered in render::render(&planned.chart, &release, &planned.values)? {
        let name = format!("chart {}: {}", planned.dir, rendered.template);
        objects.extend(apply::parse(&name, &rendered.text)?);
    }
    for object in &mut objects {
        mark(object, operator, planned.component);
    }
    objects.sort_by_key(|object| {
        let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
        ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
    });
    Ok(objects)
}

/// The labels by which an installation finds its objects again.
pub fn mark(object: &mut DynamicObject, operator: &Operator, component: Component) {
    let marks = [
        (OWNER, operator.name.as_str()),
        (OWNER_NAMESPACE, operator.namespace()),
        (labels::OPERATOR_COMPONENT, component.label()),
        (labels::OPERATOR_MANAGED, "Reconcile"),
        (labels::OPERATOR_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    object.labels_mut().extend(marks.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::super::operator::Request;
    use super::super::plan;
    use super::*;
    use crate::chart::Charts;

    #[test]
    fn objects_are_marked_and_ordered() {
        let charts = Charts::embedded();
        let request = Request { revision: Some("r".into()), ..Request::default() };
        let operator = Operator::new(&charts, &request).unwrap();
        let plan = plan::plan(&charts, &operator).unwrap();
        let pilot = objects(&operator, &plan[1]).unwrap();
        let titles: Vec<_> = pilot.iter().map(apply::title).collect();
        assert_eq!(titles.first().map(String::as_str), Some("serviceaccount/istio-galley-r"));
        assert_eq!(
            titles.last().map(String::as_str),
            Some("mutatingwebhookconfiguration/istio-sidecar-injector-r")
        );
        for wanted in [
            "deployment/istiod-r",
            "deployment/istio-galley-r",
            "deployment/istio-ca",
            "configmap/istio-r",
            "validatingwebhookconfiguration/istio-validator-r-istio-system",
        ] {
            assert!(titles.iter().any(|title| title == wanted), "{wanted}: {titles:?}");
        }
        assert!(pilot.iter().all(|object| object.labels()[labels::OPERATOR_COMPONENT] == "Pilot"));
        // What revisions share belongs to none of them.
        let revised = |object: &&DynamicObject| object.labels().contains_key(labels::REV);
        assert!(pilot.iter().filter(revised).all(|object| !object.name_any().contains("istio-ca")));
    }

    #[test]
    fn the_control_plane_may_not_read_all_secrets() {
        let charts = Charts::embedded();
        let operator = Operator::new(&charts, &Request::default()).unwrap();
        for planned in plan::plan(&charts, &operator).unwrap() {
            for object in objects(&operator, &planned).unwrap() {
                let kind = object.types.as_ref().unwrap().kind.clone();
                if kind == "ClusterRole" {
                    let rules = object.data["rules"].to_string();
                    assert!(!rules.contains("secrets"), "{}", object.name_any());
                }
            }
        }
    }
}
