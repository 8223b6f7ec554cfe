//! Label keys, and values that belong to them.

use crate::meta_key::keys;

keys! {
    /// Whether the workload accepts mTLS: `istio` or `disabled`.
    SECURITY_TLS_MODE = "security.istio.io/tlsMode", &["Pod"], Alpha, deprecated;
    /// Canonical service of the workload.
    SERVICE_CANONICAL_NAME = "service.istio.io/canonical-name", &["Pod"], Alpha, current;
    /// Port of an east-west gateway; 15443 by default.
    NETWORKING_GATEWAY_PORT = "networking.istio.io/gatewayPort", &["Service"], Alpha, current;
    /// Canonical revision of the workload; `latest` by default.
    SERVICE_CANONICAL_REVISION = "service.istio.io/canonical-revision", &["Pod"], Alpha, current;
    /// Name of the workload, instead of the derived one.
    SERVICE_WORKLOAD_NAME = "service.istio.io/workload-name", &["Pod", "WorkloadEntry"], Alpha, current;
    /// Revision or tag of the control plane.
    REV = "istio.io/rev", &["Namespace", "Gateway", "Pod"], Beta, current;
    /// Revision tag a webhook belongs to.
    TAG = "istio.io/tag", &["MutatingWebhookConfiguration"], Alpha, current;
    /// Component the object was installed for.
    OPERATOR_COMPONENT = "operator.istio.io/component", &[], Alpha, current;
    /// How the installer treats the object.
    OPERATOR_MANAGED = "operator.istio.io/managed", &[], Alpha, current;
    /// Version of the installer.
    OPERATOR_VERSION = "operator.istio.io/version", &[], Alpha, current;
    /// Sub-zone of the node.
    TOPOLOGY_SUBZONE = "topology.istio.io/subzone", &["Node"], Beta, current;
    /// Network of the addresses; on a Service, the network it is a gateway to.
    TOPOLOGY_NETWORK = "topology.istio.io/network", &["Namespace", "Pod", "Service"], Beta, current;
    /// Cluster of the workload.
    TOPOLOGY_CLUSTER = "topology.istio.io/cluster", &["Pod"], Alpha, current;
    /// Locality of the workload, with `.` for `/`.
    TOPOLOGY_LOCALITY = "topology.istio.io/locality", &["Pod"], Alpha, current;
    /// Whether the pod gets a proxy: `true` or `false`.
    SIDECAR_INJECT = "sidecar.istio.io/inject", &["Pod"], Beta, current;
    /// Controller that generated the object.
    GATEWAY_MANAGED = "gateway.istio.io/managed", &["ServiceAccount", "Deployment", "Service"], Stable, current;
    /// Gateway the object was generated for.
    GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name", &["ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"], Stable, current;
    /// Class of that Gateway.
    GATEWAY_CLASS_NAME = "gateway.networking.k8s.io/gateway-class-name", &["ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"], Stable, current;
    /// `ambient` or `none`.
    DATAPLANE_MODE = "istio.io/dataplane-mode", &["Pod", "Namespace"], Stable, current;
    /// Waypoint to use, or `none`.
    USE_WAYPOINT = "istio.io/use-waypoint", &["Pod", "WorkloadEntry", "Service", "ServiceEntry", "Namespace"], Stable, current;
    /// The waypoint's namespace.
    USE_WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace", &["Pod", "WorkloadEntry", "Service", "ServiceEntry", "Namespace"], Beta, current;
    /// Second waypoint, for a share of connections.
    USE_WAYPOINT_CANARY = "istio.io/use-waypoint-canary", &["Service", "ServiceEntry", "Namespace"], Alpha, current;
    /// The second waypoint's namespace.
    USE_WAYPOINT_CANARY_NAMESPACE = "istio.io/use-waypoint-canary-namespace", &["Service", "ServiceEntry", "Namespace"], Alpha, current;
    /// Whether gateways go through the waypoint, too.
    INGRESS_USE_WAYPOINT = "istio.io/ingress-use-waypoint", &["Service", "ServiceEntry", "Namespace"], Beta, current;
    /// What the waypoint is for: `service`, `workload`, `all` or `none`.
    WAYPOINT_FOR = "istio.io/waypoint-for", &["GatewayClass", "Gateway"], Stable, current;
    /// Whether an address is invented for the entry.
    NETWORKING_ENABLE_AUTOALLOCATE_IP = "networking.istio.io/enable-autoallocate-ip", &["ServiceEntry"], Beta, current;
}

/// On a namespace: `enabled` or `disabled`.
pub const INJECTION: &str = "istio-injection";
/// On a pod: `http` when the workload accepts HBONE.
pub const NETWORKING_TUNNEL: &str = "networking.istio.io/tunnel";
/// On a Service: cookie of persistent sessions, as `<name>[:<path>]`.
pub const PERSISTENT_SESSION: &str = "istio.io/persistent-session";
/// On a Service: header of persistent sessions.
pub const PERSISTENT_SESSION_HEADER: &str = "istio.io/persistent-session-header";
/// On a pod: its endpoint is drained.
pub const DRAINING: &str = "istio.io/draining";
/// The application, by convention.
pub const APP: &str = "app";
/// The application's version, by convention.
pub const VERSION: &str = "version";
/// The application, as Kubernetes recommends.
pub const APP_KUBERNETES_NAME: &str = "app.kubernetes.io/name";
/// The application's version, as Kubernetes recommends.
pub const APP_KUBERNETES_VERSION: &str = "app.kubernetes.io/version";
/// On a Secret: it holds the kubeconfig of another cluster of the mesh.
pub const MULTI_CLUSTER: &str = "istio/multiCluster";
/// A node's region.
pub const TOPOLOGY_REGION: &str = "topology.kubernetes.io/region";
/// A node's zone.
pub const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
/// Service an EndpointSlice belongs to.
pub const KUBERNETES_SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Value of [`SECURITY_TLS_MODE`]: the workload accepts mTLS.
pub const TLS_MODE_ISTIO: &str = "istio";
/// Value of [`SECURITY_TLS_MODE`]: it does not.
pub const TLS_MODE_DISABLED: &str = "disabled";
/// Value of [`DATAPLANE_MODE`]: traffic is redirected to the node proxy.
pub const DATAPLANE_MODE_AMBIENT: &str = "ambient";
/// Value of [`SERVICE_CANONICAL_REVISION`] when nothing says better.
pub const CANONICAL_REVISION_LATEST: &str = "latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_documented_key_once() {
        let mut names: Vec<_> = ALL.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), 26);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 26);
    }

    #[test]
    fn what_is_known_of_a_key() {
        assert!(find(REV).expect("documented").applies_to("Namespace"));
        assert!(find(SECURITY_TLS_MODE).expect("documented").deprecated);
        assert!(find(APP).is_none());
    }
}
