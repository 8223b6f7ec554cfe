//! What analyzers ask of the world: services by host, pods by labels, membership of the mesh.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service};
use mesh_api::crd::ServiceEntrySpec;
use mesh_api::selector::{Labels, is_subset};
use mesh_api::{annotations, labels};

use super::world::{Resource, World};

const PROXY: &str = "istio-proxy";
const AMBIENT_REDIRECTION: &str = "ambient.istio.io/redirection";

/// A host of a service that exists.
pub(super) struct ServiceHost {
    pub(super) namespace: String,
    pub(super) host: String,
    pub(super) ports: Vec<u32>,
    /// Labels of its pods, where it has a selector.
    pub(super) selector: Option<Labels>,
    /// Labels of endpoints that the object itself lists.
    pub(super) endpoints: Vec<Labels>,
    /// Whether its endpoints are workloads that the mesh knows.
    pub(super) selects: bool,
    exported: Vec<String>,
}

impl ServiceHost {
    /// Whether workloads of a namespace may use it.
    fn visible_in(&self, namespace: &str) -> bool {
        self.exported.iter().any(|entry| entry == "*" || entry == namespace)
    }
}

/// A name as workloads of a namespace mean it: short names are services of the namespace.
pub(super) fn fqdn(host: &str, namespace: &str) -> String {
    match host.contains('.') || host == "*" || host.is_empty() {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.cluster.local"),
    }
}

/// Namespace and name of a gateway, as a virtual service of namespace `own` names it.
pub(super) fn gateway_name<'a>(name: &'a str, own: &'a str) -> (&'a str, &'a str) {
    match name.split_once('/') {
        Some((".", short)) => (own, short),
        Some((namespace, short)) => (namespace, short),
        None => (own, name),
    }
}

/// Namespaces that `exportTo` means; none means all.
pub(super) fn scopes(export_to: &[String], own: &str) -> Vec<String> {
    let whole = |entry: &String| if entry == "." { own.to_owned() } else { entry.clone() };
    match export_to {
        [] => vec!["*".to_owned()],
        entries => entries.iter().map(whole).collect(),
    }
}

/// The hosts of all Services and ServiceEntries.
pub(super) fn hosts(world: &World) -> Vec<ServiceHost> {
    let mut hosts = Vec::new();
    for (object, service) in world.read::<Service>("", "Service") {
        let namespace = object.origin.namespace.clone();
        let spec = service.spec.unwrap_or_default();
        let export = object.annotations().remove(annotations::NETWORKING_EXPORT_TO);
        let export: Vec<String> = export
            .iter()
            .flat_map(|text| text.split(','))
            .map(|entry| entry.trim().to_owned())
            .filter(|entry| !entry.is_empty())
            .collect();
        let ports = spec.ports.iter().flatten();
        hosts.push(ServiceHost {
            host: fqdn(&object.origin.name, &namespace),
            ports: ports.filter_map(|port| u32::try_from(port.port).ok()).collect(),
            selector: spec.selector.filter(|selector| !selector.is_empty()),
            endpoints: Vec::new(),
            selects: true,
            exported: scopes(&export, &namespace),
            namespace,
        });
    }
    for (object, spec) in world.specs::<ServiceEntrySpec>() {
        let namespace = &object.origin.namespace;
        for host in &spec.hosts {
            hosts.push(ServiceHost {
                namespace: namespace.clone(),
                host: fqdn(host, namespace),
                ports: spec.ports.iter().map(|port| port.number).collect(),
                selector: spec.workload_selector.as_ref().map(|select| select.labels.clone()),
                endpoints: spec.endpoints.iter().map(|one| one.labels.clone()).collect(),
                selects: spec.workload_selector.is_some() || !spec.endpoints.is_empty(),
                exported: scopes(&spec.export_to, namespace),
            });
        }
    }
    hosts
}

/// The service a host means to workloads of a namespace: the one of that very name, else one
/// whose wildcard covers it.
pub(super) fn find<'a>(
    hosts: &'a [ServiceHost],
    host: &str,
    namespace: &str,
) -> Option<&'a ServiceHost> {
    let visible = || hosts.iter().filter(|one| one.visible_in(namespace));
    visible().find(|one| one.host == host).or_else(|| visible().find(|one| covers(&one.host, host)))
}

/// Whether every name the second stands for is one the first stands for.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        Some(suffix) => narrow.trim_start_matches('*').ends_with(suffix),
        None => wide == narrow,
    }
}

/// Whether one name covers the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    covers(a, b) || covers(b, a)
}

/// The pods, with their labels.
pub(super) fn pods(world: &World) -> Vec<(&Resource, Labels, Pod)> {
    let with_labels = |(object, pod): (_, Pod)| {
        let object: &Resource = object;
        (object, object.labels(), pod)
    };
    world.read::<Pod>("", "Pod").into_iter().map(with_labels).collect()
}

/// Whether any pod of any namespace, or of that one, carries the labels.
pub(super) fn any_pod(
    pods: &[(&Resource, Labels, Pod)],
    selector: &Labels,
    namespace: Option<&str>,
) -> bool {
    pods.iter().any(|(object, labels, _)| {
        namespace.is_none_or(|namespace| object.origin.namespace == namespace)
            && is_subset(selector, labels)
    })
}

/// All containers of a pod, those that initialize it, too.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Whether a pod has a proxy.
pub(super) fn has_proxy(spec: &PodSpec) -> bool {
    containers(spec).any(|container| container.name == PROXY)
}

/// Labels of a namespace, if it is known.
pub(super) fn namespace_labels(world: &World, name: &str) -> Option<Labels> {
    world.of("", "Namespace").iter().find(|one| one.origin.name == name).map(Resource::labels)
}

/// Whether a namespace is served by node proxies, not by sidecars.
pub(super) fn is_ambient_namespace(labels: &Labels) -> bool {
    let injected = labels.get(labels::INJECTION).is_some_and(|value| value == "enabled");
    labels.get(labels::DATAPLANE_MODE).map(String::as_str) == Some(labels::DATAPLANE_MODE_AMBIENT)
        && !injected
        && !labels.contains_key(labels::REV)
}

/// Whether a pod is served by a node proxy.
pub(super) fn is_ambient_pod(annotations: &Labels) -> bool {
    annotations.get(AMBIENT_REDIRECTION).is_some_and(|value| value == "enabled")
}

/// What a pod or a pod template itself says of injection.
pub(super) fn asks_for_injection(labels_of: &Labels, annotations_of: &Labels) -> Option<bool> {
    let said = labels_of
        .get(labels::SIDECAR_INJECT)
        .or_else(|| annotations_of.get(annotations::SIDECAR_INJECT))?;
    said.parse().ok()
}

/// Whether a pod or template is in the mesh: it has a proxy, or gets one.
pub(super) fn in_mesh(
    world: &World,
    namespace: &str,
    spec: &PodSpec,
    meta: (&Labels, &Labels),
) -> bool {
    if has_proxy(spec) {
        return true;
    }
    asks_for_injection(meta.0, meta.1).unwrap_or_else(|| {
        namespace_labels(world, namespace)
            .is_some_and(|labels| labels.get(labels::INJECTION).is_some_and(|v| v == "enabled"))
    })
}

/// Whether an object belongs to the control plane.
pub(super) fn is_control_plane(labels: &Labels) -> bool {
    labels.contains_key("istio") || labels.get("release").is_some_and(|value| value == "istio")
}

/// Namespaces that Kubernetes itself uses.
pub(super) fn is_system_namespace(name: &str) -> bool {
    ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"].contains(&name)
}
