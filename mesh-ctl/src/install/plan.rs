//! From what was asked for to releases of charts: which chart, which name, which values.

use serde_json::{Map, Value, json};

use super::operator::{Gateway, K8s, Operator};
use crate::chart::{Chart, Charts};
use crate::error::Error;
use crate::render::values::overlay;

/// A part of the installation, under Istio's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The CustomResourceDefinitions.
    Base,
    /// The control plane.
    Pilot,
    /// Gateways for traffic that enters.
    IngressGateways,
    /// Gateways for traffic that leaves.
    EgressGateways,
}

impl Component {
    /// All of them, in the order of installation.
    pub const ALL: [Self; 4] =
        [Self::Base, Self::Pilot, Self::IngressGateways, Self::EgressGateways];

    /// Value of the label `operator.istio.io/component`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::Pilot => "Pilot",
            Self::IngressGateways => "IngressGateways",
            Self::EgressGateways => "EgressGateways",
        }
    }

    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Base => "Istio core",
            Self::Pilot => "Istiod",
            Self::IngressGateways => "Ingress gateways",
            Self::EgressGateways => "Egress gateways",
        }
    }
}

/// A chart to render.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The part it belongs to.
    pub component: Component,
    /// The chart.
    pub chart: Chart,
    /// Directory of the chart.
    pub dir: &'static str,
    /// Name of the release.
    pub release: String,
    /// Namespace of the release.
    pub namespace: String,
    /// Values over the chart's own.
    pub values: Value,
}

/// What the values may hold besides what the chart lists, and the injector reads.
const UNLISTED: [&str; 5] = [
    "global.proxy.lifecycle",
    "global.proxy.seccompProfile",
    "global.proxy_init.resources",
    "pilot.cni.enabled",
    "istio_cni.enabled",
];

/// The charts to render, in the order of installation.
///
/// # Errors
/// A value no chart reads, by its path.
pub fn plan(charts: &Charts, operator: &Operator) -> Result<Vec<Planned>, Error> {
    let components = &operator.spec.components;
    let namespace = operator.namespace();
    let mut planned = Vec::new();
    if components.base.enabled {
        let base = operator.spec.values.get("base").cloned();
        planned.push(Planned {
            component: Component::Base,
            chart: charts.chart("base")?,
            dir: "base",
            release: "istio-base".to_owned(),
            namespace: namespace.to_owned(),
            values: base.map_or_else(|| json!({}), |base| json!({ "base": base })),
        });
    }
    if components.pilot.enabled {
        let suffix = suffix(operator.revision());
        planned.push(Planned {
            component: Component::Pilot,
            chart: charts.chart("istiod")?,
            dir: "istiod",
            release: format!("istiod{suffix}"),
            namespace: namespace.to_owned(),
            values: control_plane(operator),
        });
    }
    for (component, gateways) in [
        (Component::IngressGateways, &components.ingress_gateways),
        (Component::EgressGateways, &components.egress_gateways),
    ] {
        for one in gateways.iter().filter(|one| one.enabled) {
            planned.push(Planned {
                component,
                chart: charts.chart("gateway")?,
                dir: "gateway",
                release: one.name.clone(),
                namespace: one.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
                values: gateway(operator, one, component),
            });
        }
    }
    check_values(charts, operator)?;
    for one in &planned {
        let title = format!("values of chart {} ({})", one.dir, one.release);
        let mut unread = Vec::new();
        unread_values(&one.chart.values, &one.values, "", &mut unread);
        // A gateway is told all of `global`, of which it reads a part.
        unread.retain(|path| one.dir != "gateway" || !path.starts_with("global."));
        refuse_unread(&title, &unread)?;
    }
    Ok(planned)
}

/// What a revision's names end in.
pub fn suffix(revision: &str) -> String {
    if revision == "default" { String::new() } else { format!("-{revision}") }
}

/// Top-level values are of one of the charts.
fn check_values(charts: &Charts, operator: &Operator) -> Result<(), Error> {
    let istiod = charts.chart("istiod")?.values;
    let known =
        |key: &str| istiod.get(key).is_some() || ["base", "gateways", "istio_cni"].contains(&key);
    let keys = operator.spec.values.keys();
    let unread: Vec<_> = keys.filter(|key| !known(key)).cloned().collect();
    refuse_unread("spec.values", &unread)
}

fn refuse_unread(title: &str, unread: &[String]) -> Result<(), Error> {
    if unread.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!("{title}: no chart reads {}", unread.join(", "))))
}

/// Paths of values a chart has no default for; a map that is empty there is free.
fn unread_values(defaults: &Value, values: &Value, path: &str, unread: &mut Vec<String>) {
    let (Value::Object(defaults), Value::Object(values)) = (defaults, values) else { return };
    if defaults.is_empty() || path == "meshConfig" || path == "meshConfig.defaultConfig" {
        return;
    }
    for (key, value) in values {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let below = |known: &&str| **known == path || known.starts_with(&format!("{path}."));
        match defaults.get(key) {
            Some(default) => unread_values(default, value, &path, unread),
            None if UNLISTED.iter().any(below) => {}
            None => unread.push(path),
        }
    }
}

/// `global` as every chart gets it.
fn global(operator: &Operator) -> Value {
    let mut global = operator.spec.values.get("global").cloned().unwrap_or_else(|| json!({}));
    let mut own = Map::new();
    own.insert("istioNamespace".to_owned(), json!(operator.namespace()));
    if let Some(hub) = &operator.spec.hub {
        own.insert("hub".to_owned(), json!(hub));
    }
    if let Some(tag) = &operator.spec.tag {
        own.insert("tag".to_owned(), tag.clone());
    }
    overlay(&mut global, &Value::Object(own));
    global
}

fn control_plane(operator: &Operator) -> Value {
    let mut values = operator.spec.values.clone();
    for other in ["base", "gateways"] {
        values.remove(other);
    }
    values.insert("global".to_owned(), global(operator));
    values.insert("meshConfig".to_owned(), operator.mesh_config());
    let revision = operator.revision();
    let revision = if revision == "default" { "" } else { revision };
    values.insert("revision".to_owned(), json!(revision));
    let mut values = Value::Object(values);
    let k8s = &operator.spec.components.pilot.k8s;
    let mut pilot = pods(k8s);
    set(&mut pilot, "replicaCount", k8s.replica_count);
    set(&mut pilot, "serviceAnnotations", k8s.service_annotations.clone());
    if let Some(range) = &k8s.hpa_spec {
        set(&mut pilot, "autoscaleEnabled", Some(true));
        set(&mut pilot, "autoscaleMin", range.min_replicas);
        set(&mut pilot, "autoscaleMax", range.max_replicas);
    }
    overlay(&mut values, &json!({ "pilot": pilot }));
    values
}

fn gateway(operator: &Operator, gateway: &Gateway, component: Component) -> Value {
    let mesh = operator.mesh_config();
    let mut of_mesh = Map::new();
    for key in ["trustDomain", "defaultConfig"] {
        set(&mut of_mesh, key, mesh.get(key).cloned());
    }
    let revision = operator.revision();
    let mut labels = json!(gateway.label);
    if component == Component::EgressGateways {
        let istio = gateway.name.trim_start_matches("istio-");
        overlay(&mut labels, &json!({ "istio": gateway.label.get("istio").map_or(istio, |l| l) }));
    }
    let mut values = json!({
        "name": gateway.name,
        "revision": if revision == "default" { "" } else { revision },
        "global": global(operator),
        "meshConfig": of_mesh,
        "labels": labels,
    });
    let all = operator.spec.values.get("gateways");
    if let Some(user) = all.and_then(|gateways| gateways.get(&gateway.name)) {
        overlay(&mut values, &chart_names(user));
    }
    let k8s = &gateway.k8s;
    let mut own = pods(k8s);
    set(&mut own, "replicaCount", k8s.replica_count);
    let mut service = k8s.service.clone().unwrap_or_default();
    set(&mut service, "annotations", k8s.service_annotations.clone());
    set(&mut own, "service", (!service.is_empty()).then_some(Value::Object(service)));
    if let Some(range) = &k8s.hpa_spec {
        let mut scaling = Map::new();
        set(&mut scaling, "enabled", Some(true));
        set(&mut scaling, "minReplicas", range.min_replicas);
        set(&mut scaling, "maxReplicas", range.max_replicas);
        set(&mut own, "autoscaling", Some(scaling));
    }
    overlay(&mut values, &Value::Object(own));
    values
}

/// `values.gateways.<name>` has names of its own for what the chart groups.
fn chart_names(user: &Value) -> Value {
    const RENAMED: [(&str, &str, &str); 9] = [
        ("type", "service", "type"),
        ("ports", "service", "ports"),
        ("serviceAnnotations", "service", "annotations"),
        ("loadBalancerIP", "service", "loadBalancerIP"),
        ("loadBalancerSourceRanges", "service", "loadBalancerSourceRanges"),
        ("externalTrafficPolicy", "service", "externalTrafficPolicy"),
        ("autoscaleEnabled", "autoscaling", "enabled"),
        ("autoscaleMin", "autoscaling", "minReplicas"),
        ("autoscaleMax", "autoscaling", "maxReplicas"),
    ];
    let mut values = user.clone();
    let Some(fields) = values.as_object_mut() else { return values };
    let mut moved = json!({});
    for (from, group, to) in RENAMED {
        if let Some(value) = fields.remove(from) {
            overlay(&mut moved, &json!({ group: { to: value } }));
        }
    }
    overlay(&mut values, &moved);
    values
}

/// What both charts call the same.
fn pods(k8s: &K8s) -> Map<String, Value> {
    let mut values = Map::new();
    set(&mut values, "resources", k8s.resources.clone());
    set(&mut values, "nodeSelector", k8s.node_selector.clone());
    set(&mut values, "tolerations", k8s.tolerations.clone());
    set(&mut values, "affinity", k8s.affinity.clone());
    set(&mut values, "podAnnotations", k8s.pod_annotations.clone());
    let env: Map<_, _> = k8s.env.iter().map(|one| (one.name.clone(), json!(one.value))).collect();
    set(&mut values, "env", (!env.is_empty()).then_some(env));
    values
}

fn set(values: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        values.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::operator::Request;
    use super::*;

    fn planned(file: &str, sets: &[&str]) -> Result<Vec<Planned>, String> {
        let charts = Charts::embedded();
        let text = format!("kind: IstioOperator\nspec: {file}\n");
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let request = Request { files: vec![("f".into(), text)], sets, revision: None };
        let operator = Operator::new(&charts, &request).map_err(|error| error.to_string())?;
        plan(&charts, &operator).map_err(|error| error.to_string())
    }

    #[test]
    fn components_become_releases() {
        let file = "{profile: demo, revision: r2, hub: h, tag: 9, components: {
            ingressGateways: [{name: istio-ingressgateway, namespace: edge, label: {a: b}, k8s: {
                replicaCount: 2, service: {type: NodePort}, hpaSpec: {maxReplicas: 3},
                env: [{name: X, value: v}], serviceAnnotations: {s: t}}}]},
            values: {gateways: {istio-egressgateway: {type: ClusterIP, autoscaleEnabled: true}}}}";
        let planned = planned(file, &["values.pilot.replicaCount=3"]).unwrap();
        let names: Vec<_> = planned
            .iter()
            .map(|one| (one.dir, one.release.as_str(), one.namespace.as_str()))
            .collect();
        let wanted = [
            ("base", "istio-base", "istio-system"),
            ("istiod", "istiod-r2", "istio-system"),
            ("gateway", "istio-ingressgateway", "edge"),
            ("gateway", "istio-egressgateway", "istio-system"),
        ];
        assert_eq!(names, wanted);
        let (pilot, ingress, egress) = (&planned[1].values, &planned[2].values, &planned[3].values);
        assert_eq!(
            pilot["global"],
            json!({"hub": "h", "tag": 9, "istioNamespace": "istio-system"})
        );
        assert_eq!(pilot["pilot"], json!({"traceSampling": 100, "replicaCount": 3}));
        assert_eq!(ingress["service"]["type"], "NodePort");
        assert_eq!(ingress["service"]["annotations"], json!({"s": "t"}));
        assert_eq!(ingress["service"]["ports"][3]["port"], 31400, "the profile's ports stay");
        assert_eq!(ingress["autoscaling"], json!({"enabled": true, "maxReplicas": 3}));
        assert_eq!((&ingress["env"]["X"], &ingress["labels"]["a"]), (&json!("v"), &json!("b")));
        assert_eq!(egress["service"]["type"], "ClusterIP");
        assert_eq!(egress["autoscaling"]["enabled"], true);
    }

    #[test]
    fn values_no_chart_reads_are_refused() {
        for (set, wanted) in [
            ("values.telemetry.enabled=true", "spec.values: no chart reads telemetry"),
            ("values.pilot.replcaCount=2", "no chart reads pilot.replcaCount"),
            ("values.global.proxy.privileged=true", "no chart reads global.proxy.privileged"),
            (
                "values.gateways.istio-ingressgateway.x=1",
                "(istio-ingressgateway): no chart reads x",
            ),
        ] {
            let error = planned("{}", &[set]).unwrap_err();
            assert!(error.contains(wanted), "{set}: {error}");
        }
        for set in ["values.pilot.env.ANY=1", "values.global.proxy.lifecycle.preStop.x=1"] {
            assert!(planned("{}", &[set]).is_ok(), "{set}");
        }
    }
}
