//! Why a pod cannot be injected, and why settings of the injector cannot be used.

/// Why a pod cannot be injected: what an admission webhook answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// It is no pod.
    #[error("pod {pod}: not a pod: {reason}")]
    NotAPod {
        /// The pod, `<namespace>/<name>`.
        pod: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An annotation has a value it cannot have.
    #[error("pod {pod}: annotation {annotation} has the value {value:?}: {expected}")]
    Annotation {
        /// The pod, `<namespace>/<name>`.
        pod: String,
        /// The annotation.
        annotation: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// A template is not there.
    #[error(
        "pod {pod}: there is no injection template {template:?}: known are {known}; mend the \
         annotation inject.istio.io/templates or add the template to the ConfigMap \
         istio-sidecar-injector"
    )]
    UnknownTemplate {
        /// The pod, `<namespace>/<name>`.
        pod: String,
        /// The template.
        template: String,
        /// Those there are.
        known: String,
    },
    /// Templates that exclude each other.
    #[error("pod {pod}: the injection templates sidecar and gateway exclude each other")]
    ConflictingTemplates {
        /// The pod, `<namespace>/<name>`.
        pod: String,
    },
}

/// Why the settings of the injector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key of the ConfigMap is not what it should be.
    #[error("ConfigMap istio-sidecar-injector, key {key}: {reason}")]
    Malformed {
        /// `config` or `values`.
        key: &'static str,
        /// Where and why.
        reason: String,
    },
    /// A template that cannot be used.
    #[error("ConfigMap istio-sidecar-injector, key config, templates.{template}: {reason}")]
    Template {
        /// The template.
        template: String,
        /// Why.
        reason: String,
    },
}
