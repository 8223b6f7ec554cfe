//! Annotation keys, and the environment variables that stand beside them in an injected pod.

use crate::meta_key::keys;

keys! {
    /// Whether the application's metrics are served with the proxy's.
    PROMETHEUS_MERGE_METRICS = "prometheus.istio.io/merge-metrics", &["Pod"], Alpha, current;
    /// Further service accounts that may serve the service.
    ALPHA_KUBERNETES_SERVICE_ACCOUNTS = "alpha.istio.io/kubernetes-serviceaccounts", &["Service"], Alpha, deprecated;
    /// Further identities that may serve the service.
    ALPHA_CANONICAL_SERVICE_ACCOUNTS = "alpha.istio.io/canonical-serviceaccounts", &["Service"], Alpha, deprecated;
    /// Where the service is visible: `*`, `.`, `~` or namespaces.
    NETWORKING_EXPORT_TO = "networking.istio.io/exportTo", &["Service"], Alpha, current;
    /// Older form of the label of that name.
    SIDECAR_INJECT = "sidecar.istio.io/inject", &["Pod"], Beta, deprecated;
    /// What the injector added, as JSON; its presence marks the pod as injected.
    SIDECAR_STATUS = "sidecar.istio.io/status", &["Pod"], Alpha, current;
    /// Whether probes are sent through the proxy.
    SIDECAR_REWRITE_APP_HTTP_PROBERS = "sidecar.istio.io/rewriteAppHTTPProbers", &["Pod"], Alpha, current;
    /// Address of the control plane.
    SIDECAR_DISCOVERY_ADDRESS = "sidecar.istio.io/discoveryAddress", &["Pod"], Alpha, deprecated;
    /// Image of the proxy, in full or by name.
    SIDECAR_PROXY_IMAGE = "sidecar.istio.io/proxyImage", &["Pod"], Alpha, current;
    /// Suffix of the image: `default`, `debug` or `distroless`.
    SIDECAR_PROXY_IMAGE_TYPE = "sidecar.istio.io/proxyImageType", &["Pod"], Alpha, current;
    /// CPU request of the proxy.
    SIDECAR_PROXY_CPU = "sidecar.istio.io/proxyCPU", &["Pod"], Alpha, current;
    /// CPU limit of the proxy.
    SIDECAR_PROXY_CPU_LIMIT = "sidecar.istio.io/proxyCPULimit", &["Pod"], Alpha, current;
    /// Memory request of the proxy.
    SIDECAR_PROXY_MEMORY = "sidecar.istio.io/proxyMemory", &["Pod"], Alpha, current;
    /// Memory limit of the proxy.
    SIDECAR_PROXY_MEMORY_LIMIT = "sidecar.istio.io/proxyMemoryLimit", &["Pod"], Alpha, current;
    /// How traffic is captured: `REDIRECT`, `TPROXY` or `NONE`.
    SIDECAR_INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode", &["Pod"], Alpha, current;
    /// ConfigMap with another bootstrap document.
    SIDECAR_BOOTSTRAP_OVERRIDE = "sidecar.istio.io/bootstrapOverride", &["Pod"], Alpha, current;
    /// Prefixes of statistics to keep.
    SIDECAR_STATS_INCLUSION_PREFIXES = "sidecar.istio.io/statsInclusionPrefixes", &["Pod"], Alpha, deprecated;
    /// Suffixes of statistics to keep.
    SIDECAR_STATS_INCLUSION_SUFFIXES = "sidecar.istio.io/statsInclusionSuffixes", &["Pod"], Alpha, deprecated;
    /// Expressions for statistics to keep.
    SIDECAR_STATS_INCLUSION_REGEXPS = "sidecar.istio.io/statsInclusionRegexps", &["Pod"], Alpha, deprecated;
    /// Histogram buckets by prefix of the statistic, as JSON.
    SIDECAR_STATS_HISTOGRAM_BUCKETS = "sidecar.istio.io/statsHistogramBuckets", &["Pod"], Alpha, current;
    /// How often statistics go to sinks; 5s by default.
    SIDECAR_STATS_FLUSH_INTERVAL = "sidecar.istio.io/statsFlushInterval", &["Pod"], Alpha, current;
    /// When idle metric series are dropped.
    SIDECAR_STATS_EVICTION_INTERVAL = "sidecar.istio.io/statsEvictionInterval", &["Pod"], Alpha, current;
    /// Histogram bins of a series; 100 by default.
    SIDECAR_STATS_HISTOGRAM_BINS = "sidecar.istio.io/statsHistogramBins", &["Pod"], Alpha, current;
    /// Compression of the statistics endpoint; ProxyConfig has it now.
    SIDECAR_STATS_COMPRESSION = "sidecar.istio.io/statsCompression", &["Pod"], Alpha, deprecated;
    /// Volumes to add to the pod, as JSON.
    SIDECAR_USER_VOLUME = "sidecar.istio.io/userVolume", &["Pod"], Alpha, current;
    /// Volume mounts to add to the proxy, as JSON.
    SIDECAR_USER_VOLUME_MOUNT = "sidecar.istio.io/userVolumeMount", &["Pod"], Alpha, current;
    /// Port on which the proxy answers probes; 0 turns that off.
    SIDECAR_STATUS_PORT = "status.sidecar.istio.io/port", &["Pod"], Alpha, current;
    /// Log level of the proxy.
    SIDECAR_LOG_LEVEL = "sidecar.istio.io/logLevel", &["Pod"], Alpha, current;
    /// Log levels of the proxy by component.
    SIDECAR_COMPONENT_LOG_LEVEL = "sidecar.istio.io/componentLogLevel", &["Pod"], Alpha, current;
    /// Log levels of the agent by scope.
    SIDECAR_AGENT_LOG_LEVEL = "sidecar.istio.io/agentLogLevel", &["Pod"], Alpha, current;
    /// Whether the proxy is an init container that keeps running.
    SIDECAR_NATIVE_SIDECAR = "sidecar.istio.io/nativeSidecar", &["Pod"], Alpha, current;
    /// Readiness probe of the proxy: seconds before the first.
    READINESS_INITIAL_DELAY_SECONDS = "readiness.status.sidecar.istio.io/initialDelaySeconds", &["Pod"], Alpha, current;
    /// Readiness probe of the proxy: seconds between two.
    READINESS_PERIOD_SECONDS = "readiness.status.sidecar.istio.io/periodSeconds", &["Pod"], Alpha, current;
    /// Readiness probe of the proxy: failures that make it unready.
    READINESS_FAILURE_THRESHOLD = "readiness.status.sidecar.istio.io/failureThreshold", &["Pod"], Alpha, current;
    /// Ports that had to be open for readiness; nothing reads it any more.
    READINESS_APPLICATION_PORTS = "readiness.status.sidecar.istio.io/applicationPorts", &["Pod"], Alpha, current;
    /// Nodes whose addresses stand for a NodePort gateway of the network.
    TRAFFIC_NODE_SELECTOR = "traffic.istio.io/nodeSelector", &["Service"], Stable, current;
    /// Outbound address blocks to capture; `*` by default.
    INCLUDE_OUTBOUND_IP_RANGES = "traffic.sidecar.istio.io/includeOutboundIPRanges", &["Pod"], Alpha, current;
    /// Outbound address blocks to leave alone.
    EXCLUDE_OUTBOUND_IP_RANGES = "traffic.sidecar.istio.io/excludeOutboundIPRanges", &["Pod"], Alpha, current;
    /// Inbound ports to capture; `*` by default.
    INCLUDE_INBOUND_PORTS = "traffic.sidecar.istio.io/includeInboundPorts", &["Pod"], Alpha, current;
    /// Inbound ports to leave alone.
    EXCLUDE_INBOUND_PORTS = "traffic.sidecar.istio.io/excludeInboundPorts", &["Pod"], Alpha, current;
    /// Network interfaces to leave alone.
    EXCLUDE_INTERFACES = "traffic.sidecar.istio.io/excludeInterfaces", &["Pod"], Alpha, current;
    /// Outbound ports to capture whatever the address.
    INCLUDE_OUTBOUND_PORTS = "traffic.sidecar.istio.io/includeOutboundPorts", &["Pod"], Alpha, current;
    /// Outbound ports to leave alone.
    EXCLUDE_OUTBOUND_PORTS = "traffic.sidecar.istio.io/excludeOutboundPorts", &["Pod"], Alpha, current;
    /// Older name of `istio.io/reroute-virtual-interfaces`.
    KUBEVIRT_INTERFACES = "traffic.sidecar.istio.io/kubevirtInterfaces", &["Pod"], Alpha, deprecated;
    /// Class of an Ingress, before there were IngressClasses.
    KUBERNETES_INGRESS_CLASS = "kubernetes.io/ingress.class", &["Ingress"], Stable, current;
    /// Codes of messages not to report about the object, with commas, or `*`.
    GALLEY_ANALYZE_SUPPRESS = "galley.istio.io/analyze-suppress", &[], Alpha, current;
    /// ProxyConfig of the pod, as YAML.
    PROXY_CONFIG = "proxy.istio.io/config", &["Pod"], Beta, current;
    /// Evaluate the policy, but only report the outcome.
    DRY_RUN = "istio.io/dry-run", &["AuthorizationPolicy"], Alpha, current;
    /// Revision the pod was injected by.
    REV = "istio.io/rev", &["Pod"], Alpha, current;
    /// The proxy container as the user wrote it, for another injection.
    PROXY_OVERRIDES = "proxy.istio.io/overrides", &["Pod"], Alpha, current;
    /// Names of the injection templates, with commas.
    INJECT_TEMPLATES = "inject.istio.io/templates", &["Pod"], Alpha, current;
    /// Further labels of metrics.
    SIDECAR_EXTRA_STAT_TAGS = "sidecar.istio.io/extraStatTags", &["Pod"], Alpha, deprecated;
    /// WorkloadGroup the entry was made from.
    AUTO_REGISTRATION_GROUP = "istio.io/autoRegistrationGroup", &["WorkloadEntry"], Alpha, current;
    /// Instance of the control plane the workload is connected to.
    WORKLOAD_CONTROLLER = "istio.io/workloadController", &["WorkloadEntry"], Alpha, current;
    /// When the workload connected.
    CONNECTED_AT = "istio.io/connectedAt", &["WorkloadEntry"], Alpha, current;
    /// When the workload disconnected.
    DISCONNECTED_AT = "istio.io/disconnectedAt", &["WorkloadEntry"], Alpha, current;
    /// Clusters whose control plane may lead for this namespace.
    TOPOLOGY_CONTROL_PLANE_CLUSTERS = "topology.istio.io/controlPlaneClusters", &["Namespace"], Alpha, current;
    /// Version of the controller that owns the gateway.
    GATEWAY_CONTROLLER_VERSION = "gateway.istio.io/controller-version", &[], Alpha, current;
    /// Whether traffic of the pod is redirected to the node proxy.
    AMBIENT_REDIRECTION = "ambient.istio.io/redirection", &["Pod"], Beta, current;
    /// How the waypoint is reached: `<protocol>[/<port>]`.
    AMBIENT_WAYPOINT_INBOUND_BINDING = "ambient.istio.io/waypoint-inbound-binding", &["GatewayClass", "Gateway"], Alpha, current;
    /// Service account of the generated deployment.
    GATEWAY_SERVICE_ACCOUNT = "gateway.istio.io/service-account", &["Gateway"], Alpha, current;
    /// Name of the generated objects.
    GATEWAY_NAME_OVERRIDE = "gateway.istio.io/name-override", &["Gateway"], Alpha, current;
    /// Type of the generated Service.
    NETWORKING_SERVICE_TYPE = "networking.istio.io/service-type", &["Gateway"], Alpha, current;
    /// How near endpoints must be, as in a Service of Kubernetes.
    NETWORKING_TRAFFIC_DISTRIBUTION = "networking.istio.io/traffic-distribution", &["Namespace", "Service", "ServiceEntry"], Alpha, current;
    /// Percent of new connections through the canary waypoint.
    USE_WAYPOINT_CANARY_WEIGHT = "istio.io/use-waypoint-canary-weight", &["Service", "ServiceEntry", "Namespace"], Alpha, current;
    /// Redirect outbound traffic only.
    AMBIENT_BYPASS_INBOUND_CAPTURE = "ambient.istio.io/bypass-inbound-capture", &["Pod"], Alpha, current;
    /// Interfaces of virtual machines, whose inbound traffic is treated as outbound.
    REROUTE_VIRTUAL_INTERFACES = "istio.io/reroute-virtual-interfaces", &["Pod"], Alpha, current;
    /// Whether the pod's DNS is captured.
    AMBIENT_DNS_CAPTURE = "ambient.istio.io/dns-capture", &["Pod"], Alpha, current;
}

/// Adds `NET_BIND_SERVICE` to the proxy, so that it may bind ports below 1024.
pub const SIDECAR_CAP_NET_BIND_SERVICE: &str = "sidecar.istio.io/capNetBindService";
/// Container that `kubectl logs` and `exec` use by default.
pub const KUBECTL_DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Older key of the same meaning, which log collectors read.
pub const KUBECTL_DEFAULT_LOGS_CONTAINER: &str = "kubectl.kubernetes.io/default-logs-container";
/// Whether Prometheus scrapes the pod.
pub const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";
/// Port Prometheus scrapes.
pub const PROMETHEUS_PORT: &str = "prometheus.io/port";
/// Path Prometheus scrapes.
pub const PROMETHEUS_PATH: &str = "prometheus.io/path";
/// Cluster a remote secret is for.
pub const REMOTE_SECRET_CLUSTER: &str = "networking.istio.io/cluster";

/// Environment variables of an injected proxy.
pub mod env {
    /// Address of the certificate authority.
    pub const CA_ADDR: &str = "CA_ADDR";
    /// Who signs the control plane's own certificate: `istiod`, `kubernetes` or `none`.
    pub const PILOT_CERT_PROVIDER: &str = "PILOT_CERT_PROVIDER";
    /// The pod's name.
    pub const POD_NAME: &str = "POD_NAME";
    /// The pod's namespace.
    pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
    /// The pod's address.
    pub const INSTANCE_IP: &str = "INSTANCE_IP";
    /// The pod's addresses of both families, with commas.
    pub const INSTANCE_IPS: &str = "INSTANCE_IPS";
    /// The pod's service account.
    pub const SERVICE_ACCOUNT: &str = "SERVICE_ACCOUNT";
    /// The node's address.
    pub const HOST_IP: &str = "HOST_IP";
    /// The proxy's CPU limit, in whole CPUs.
    pub const ISTIO_CPU_LIMIT: &str = "ISTIO_CPU_LIMIT";
    /// The effective ProxyConfig, as JSON.
    pub const PROXY_CONFIG: &str = "PROXY_CONFIG";
    /// The mesh's trust domain.
    pub const TRUST_DOMAIN: &str = "TRUST_DOMAIN";
    /// The application's probes, as JSON, by the path on which the proxy answers them.
    pub const ISTIO_KUBE_APP_PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
    /// The application's Prometheus annotations, as JSON.
    pub const ISTIO_PROMETHEUS_ANNOTATIONS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
    /// Metadata: the pod's ports, as JSON.
    pub const META_POD_PORTS: &str = "ISTIO_META_POD_PORTS";
    /// Metadata: the pod's containers.
    pub const META_APP_CONTAINERS: &str = "ISTIO_META_APP_CONTAINERS";
    /// Metadata: the cluster.
    pub const META_CLUSTER_ID: &str = "ISTIO_META_CLUSTER_ID";
    /// Metadata: the node.
    pub const META_NODE_NAME: &str = "ISTIO_META_NODE_NAME";
    /// Metadata: how traffic is captured.
    pub const META_INTERCEPTION_MODE: &str = "ISTIO_META_INTERCEPTION_MODE";
    /// Metadata: the network.
    pub const META_NETWORK: &str = "ISTIO_META_NETWORK";
    /// Metadata: the workload.
    pub const META_WORKLOAD_NAME: &str = "ISTIO_META_WORKLOAD_NAME";
    /// Metadata: the workload's controller.
    pub const META_OWNER: &str = "ISTIO_META_OWNER";
    /// Metadata: the mesh.
    pub const META_MESH_ID: &str = "ISTIO_META_MESH_ID";
    /// Metadata: whether DNS is captured.
    pub const META_DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_documented_key_once() {
        let mut names: Vec<_> = ALL.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), 68);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 68);
    }

    #[test]
    fn what_is_known_of_a_key() {
        let key = find(SIDECAR_INJECT).expect("documented");
        assert!(key.deprecated && key.applies_to("Pod") && !key.applies_to("Service"));
        assert!(find(GALLEY_ANALYZE_SUPPRESS).expect("documented").applies_to("Anything"));
        assert!(find("sidecar.istio.io/injcet").is_none());
    }
}
