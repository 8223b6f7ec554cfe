//! Whether a pod is injected.

use std::fmt;

use mesh_api::selector::Labels;
use mesh_api::{annotations, labels};
use serde_json::Value;

use super::config::{Config, Policy};

/// Namespaces of the platform, whose pods are never injected.
pub(super) const IGNORED_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Whether a pod is injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Inject,
    /// It is not.
    Skip(SkipReason),
}

/// Why a pod is not injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is not being created.
    NotCreated,
    /// It shares the node's network, which no proxy may capture.
    HostNetwork,
    /// Its namespace belongs to the platform.
    IgnoredNamespace(String),
    /// Its namespace is labelled `istio-injection=disabled`.
    NamespaceDisabled,
    /// Its own label or annotation says so.
    OptedOut(String),
    /// A selector of the injector excludes it.
    NeverInjectSelector,
    /// It does not ask, and the policy is to inject only who asks.
    Policy,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCreated => f.write_str("only pods that are created are injected"),
            Self::HostNetwork => f.write_str("the pod uses the node's network"),
            Self::IgnoredNamespace(name) => write!(f, "namespace {name} is never injected"),
            Self::NamespaceDisabled => {
                f.write_str("the namespace is labelled istio-injection=disabled")
            }
            Self::OptedOut(value) => write!(f, "the pod says {}={value}", labels::SIDECAR_INJECT),
            Self::NeverInjectSelector => f.write_str("neverInjectSelector selects the pod"),
            Self::Policy => f.write_str("the injection policy is disabled"),
        }
    }
}

/// Whether a pod of this namespace is injected. Which namespaces and revisions count is decided by
/// the webhook's selectors; a namespace that opts out is honoured here, too.
pub fn decide(
    config: &Config,
    namespace_labels: &Labels,
    namespace: &str,
    pod: &Value,
) -> Decision {
    let skip = Decision::Skip;
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return skip(SkipReason::HostNetwork);
    }
    if IGNORED_NAMESPACES.contains(&namespace) {
        return skip(SkipReason::IgnoredNamespace(namespace.to_owned()));
    }
    if namespace_labels.get(labels::INJECTION).is_some_and(|value| value == "disabled") {
        return skip(SkipReason::NamespaceDisabled);
    }
    let text = |place: &str, key: &str| {
        pod.pointer(place).and_then(|all| all.get(key)).and_then(Value::as_str).map(str::to_owned)
    };
    let asked = text("/metadata/labels", labels::SIDECAR_INJECT)
        .or_else(|| text("/metadata/annotations", annotations::SIDECAR_INJECT));
    match asked.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "yes" | "y" | "on") => return Decision::Inject,
        None | Some("") => {}
        Some(_) => return skip(SkipReason::OptedOut(asked.unwrap_or_default())),
    }
    let own: Labels = pod
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let selected = |selectors: &[mesh_api::selector::LabelSelector]| {
        // An empty selector selects nothing here: it would switch the whole mesh.
        selectors.iter().any(|selector| !selector.is_empty() && selector.matches(&own))
    };
    if selected(&config.never) {
        return skip(SkipReason::NeverInjectSelector);
    }
    if selected(&config.always) || config.policy == Policy::Enabled {
        return Decision::Inject;
    }
    skip(SkipReason::Policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(policy: &str) -> Config {
        let text = format!(
            "policy: {policy}\nneverInjectSelector:\n- matchLabels: {{never: '1'}}\n- {{}}\n\
             alwaysInjectSelector:\n- matchLabels: {{always: '1'}}\n"
        );
        Config::parse(&text, "").unwrap()
    }

    #[test]
    fn the_order_is_istios() {
        let pod = |labels: Value, annotations: Value| json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": {}});
        let ask = |value: &str| json!({ "sidecar.istio.io/inject": value });
        let opted = |value: &str| Decision::Skip(SkipReason::OptedOut(value.to_owned()));
        let none = || json!({});
        let never = Decision::Skip(SkipReason::NeverInjectSelector);
        let policy = Decision::Skip(SkipReason::Policy);
        let cases = [
            ("plain", pod(none(), none()), Decision::Inject, policy.clone()),
            ("label", pod(ask("true"), none()), Decision::Inject, Decision::Inject),
            ("label off", pod(ask("false"), none()), opted("false"), opted("false")),
            ("label garbage", pod(ask("what"), none()), opted("what"), opted("what")),
            ("label empty", pod(ask(""), none()), Decision::Inject, policy.clone()),
            ("annotation", pod(none(), ask("yes")), Decision::Inject, Decision::Inject),
            ("label wins", pod(ask("false"), ask("true")), opted("false"), opted("false")),
            ("never", pod(json!({"never": "1"}), none()), never.clone(), never.clone()),
            ("always", pod(json!({"always": "1"}), none()), Decision::Inject, Decision::Inject),
            ("never wins", pod(json!({"never": "1", "always": "1"}), none()), never.clone(), never),
            (
                "the pod wins over selectors",
                pod(json!({"never": "1", "sidecar.istio.io/inject": "on"}), none()),
                Decision::Inject,
                Decision::Inject,
            ),
        ];
        let (enabled, disabled) = (config("enabled"), config("disabled"));
        for (name, pod, when_enabled, when_disabled) in cases {
            assert_eq!(decide(&enabled, &Labels::new(), "a", &pod), when_enabled, "{name}");
            assert_eq!(decide(&disabled, &Labels::new(), "a", &pod), when_disabled, "{name}");
        }
    }

    #[test]
    fn nothing_outweighs_node_network_and_namespace() {
        let asking = json!({"metadata": {"labels": {"sidecar.istio.io/inject": "true"}},
                            "spec": {"hostNetwork": true}});
        let config = Config::default();
        let none = Labels::new();
        assert_eq!(decide(&config, &none, "a", &asking), Decision::Skip(SkipReason::HostNetwork));
        let plain = json!({"spec": {}});
        for namespace in IGNORED_NAMESPACES {
            let decision = decide(&config, &none, namespace, &plain);
            assert_eq!(decision, Decision::Skip(SkipReason::IgnoredNamespace(namespace.into())));
        }
        let disabled = Labels::from([("istio-injection".to_owned(), "disabled".to_owned())]);
        let decision = decide(&config, &disabled, "a", &plain);
        assert_eq!(decision, Decision::Skip(SkipReason::NamespaceDisabled));
    }
}
