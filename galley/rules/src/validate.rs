//! Validation of one object: errors that refuse it, and warnings that let it pass.
//!
//! The rules are those of Istio's validating webhook: the shape its definition gives, read
//! strictly, and what definitions cannot say. The webhook, `meshctl validate` and
//! `meshctl analyze` judge alike.

mod authentication;
mod authorization_policy;
mod check;
mod common;
mod destination_rule;
mod envoy_filter;
mod extension;
mod gateway;
mod headers;
mod service_entry;
mod shape;
mod sidecar;
mod telemetry;
mod text;
mod tls;
mod virtual_service;
mod workload;

#[cfg(test)]
mod tests;

use mesh_api::crd;
use mesh_api::crd::{Definition, Object};
use serde_json::Value;

pub use check::{Finding, Verdict};

use check::At;

/// Rules of a kind that its definition cannot say.
trait Validate: Definition {
    /// Whether objects of the kind can be tried out without effect.
    const DRY_RUN: bool = false;

    /// Checks an object; `at` is its spec.
    fn validate(object: &Object<Self>, at: &mut At<'_>);
}

type Rules = fn(&Value, &mut Verdict);

/// A kind that is validated.
pub struct Kind {
    /// Its API group.
    pub group: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its resource name in URLs.
    pub plural: &'static str,
    /// Versions that are served, the preferred one first.
    pub versions: &'static [&'static str],
    rules: Rules,
}

const fn kind<S: Validate>() -> Kind {
    Kind {
        group: S::GROUP,
        name: S::KIND,
        plural: S::PLURAL,
        versions: S::SERVED,
        rules: typed::<S>,
    }
}

const KINDS: &[Kind] = &[
    kind::<crd::AuthorizationPolicySpec>(),
    kind::<crd::DestinationRuleSpec>(),
    kind::<crd::EnvoyFilterSpec>(),
    kind::<crd::GatewaySpec>(),
    kind::<crd::PeerAuthenticationSpec>(),
    kind::<crd::ProxyConfigSpec>(),
    kind::<crd::RequestAuthenticationSpec>(),
    kind::<crd::ServiceEntrySpec>(),
    kind::<crd::SidecarSpec>(),
    kind::<crd::TelemetrySpec>(),
    kind::<crd::TrafficExtensionSpec>(),
    kind::<crd::VirtualServiceSpec>(),
    kind::<crd::WasmPluginSpec>(),
    kind::<crd::WorkloadEntrySpec>(),
    kind::<crd::WorkloadGroupSpec>(),
];

/// Validates an object of one of Istio's kinds; `None` for any other kind.
///
/// ```
/// use serde_json::json;
/// let verdict = galley_rules::validate::validate(&json!({
///     "apiVersion": "networking.istio.io/v1",
///     "kind": "VirtualService",
///     "metadata": { "name": "reviews", "namespace": "default" },
///     "spec": { "hosts": ["reviews"], "http": [{ "rout": [] }] },
/// }))
/// .expect("one of Istio's kinds");
/// assert_eq!(verdict.errors[0].to_string(), "spec.http[0]: unknown field \"rout\"");
/// ```
pub fn validate(document: &Value) -> Option<Verdict> {
    let kind = document["kind"].as_str()?;
    let (group, version) = document["apiVersion"].as_str()?.split_once('/')?;
    let known = KINDS.iter().find(|known| known.group == group && known.name == kind)?;
    let mut verdict = Verdict::default();
    if known.versions.contains(&version) {
        (known.rules)(document, &mut verdict);
    } else {
        let known = known.versions.join(", ");
        At::new(&mut verdict, "apiVersion")
            .error(format!("{group}/{version} is not served for {kind}; versions are {known}"));
    }
    Some(verdict)
}

/// The kinds that are validated.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter()
}

/// Whether a text is an address or a block of addresses.
pub(crate) fn is_ip_or_cidr(text: &str) -> bool {
    text::ip_or_cidr(text).is_ok()
}

fn typed<S: Validate>(document: &Value, verdict: &mut Verdict) {
    let Some(fields) = document.as_object() else { return };
    shape::check(S::KIND, fields, &mut At::new(verdict, ""));
    match serde_json::from_value::<Object<S>>(document.clone()) {
        Ok(object) => {
            common::metadata(&object.metadata, S::DRY_RUN, &mut At::new(verdict, "metadata"));
            let of_shape = verdict.errors.clone();
            S::validate(&object, &mut At::new(verdict, "spec"));
            // What the shape has said of a field need not be said twice.
            let said = |finding: &Finding| of_shape.iter().any(|one| one.path == finding.path);
            let mut index = 0;
            verdict.errors.retain(|finding| {
                index += 1;
                index <= of_shape.len() || finding.path == "spec" || !said(finding)
            });
        }
        // The shape has said where; a reader's error says only what.
        Err(error) if verdict.is_valid() => {
            At::new(verdict, "").error(format!("cannot be read as {}: {error}", S::KIND));
        }
        Err(_) => {}
    }
}
