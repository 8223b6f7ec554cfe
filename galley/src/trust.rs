//! Keeps the mesh's roots in the webhook configurations of this revision, so that the API server
//! trusts and asks galley: written, and written again when somebody else resets them.
//!
//! Until then the configurations say `Ignore`, so that a cluster without galley still stores
//! objects. They say `Fail` once the API server has been seen to ask: an object that galley always
//! refuses, sent as a dry run, is refused. Every replica does this. They write the same, so that
//! none has to lead.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use mesh_rt::backoff::{Backoff, jitter};
use mesh_rt::identity::{LiveIdentity, certificates_to_pem};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How the names of the validator's webhooks end.
const WEBHOOK: &str = "validation.istio.io";
/// How long between two rounds of writing, so that nobody is drawn into a race of resets.
const REST: Duration = Duration::from_secs(1);
/// The shortest wait after a round that has not reached its end.
const RETRY: Duration = Duration::from_millis(250);
/// The longest one.
const MAX_RETRY: Duration = Duration::from_secs(15);
/// Annotation of objects that galley refuses whatever else they say.
const ALWAYS_REJECT: &str = "internal.istio.io/webhook-always-reject";

type Found = BTreeMap<String, ValidatingWebhookConfiguration>;

/// What of a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// It trusts the roots.
    Trust,
    /// It also insists on an answer.
    Insist,
}

/// The JSON patch (RFC 6902) that brings a configuration to the goal; `None` where it is there
/// already, or where there are no roots. The patch fails on a configuration that has changed
/// meanwhile.
fn changes(
    configuration: &ValidatingWebhookConfiguration,
    bundle: &[u8],
    goal: Goal,
) -> Option<Value> {
    let mut changes = Vec::new();
    for (index, webhook) in configuration.webhooks.iter().flatten().enumerate() {
        let trusts = webhook
            .client_config
            .ca_bundle
            .as_ref()
            .is_some_and(|ByteString(current)| current == bundle);
        let insists = goal == Goal::Trust || webhook.failure_policy.as_deref() == Some("Fail");
        if bundle.is_empty() || !webhook.name.ends_with(WEBHOOK) || (trusts && insists) {
            continue;
        }
        let place = format!("/webhooks/{index}");
        let mut put = |op: &str, field: &str, value: &str| {
            let path = format!("{place}/{field}");
            changes.push(json!({ "op": op, "path": path, "value": value }));
        };
        put("test", "name", &webhook.name);
        if !trusts {
            put("add", "clientConfig/caBundle", &STANDARD.encode(bundle));
        }
        if !insists {
            put("add", "failurePolicy", "Fail");
        }
    }
    (!changes.is_empty()).then_some(Value::Array(changes))
}

/// Runs until dropped, for the configurations labelled `istio.io/rev=<revision>`; `namespace` is
/// galley's own.
pub(crate) async fn run(client: Client, namespace: String, revision: String, live: LiveIdentity) {
    let ours = watcher::Config::default().labels(&format!("istio.io/rev={revision}"));
    let api = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    let trial = Trial::new(client, &namespace, &revision);
    let mut events = watcher(api.clone(), ours).default_backoff().boxed();
    let mut renewed = live.subscribe();
    let bundle = || certificates_to_pem(live.trust().certificates()).into_bytes();
    let mut wanted = bundle();
    let (mut found, mut listed) = (Found::new(), false);
    let (mut not_before, mut backoff) = (Instant::now(), Backoff::new(RETRY, MAX_RETRY));
    loop {
        let due = listed && found.values().any(|one| changes(one, &wanted, Goal::Insist).is_some());
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => listed = take(&mut found, event, listed),
                Some(Err(error)) => warn!("watching ValidatingWebhookConfigurations: {error}"),
                None => return,
            },
            changed = renewed.changed() => match changed {
                Ok(()) => wanted = bundle(),
                Err(_gone) => return,
            },
            () = tokio::time::sleep_until(not_before), if due => {
                let done = write(&api, &mut found, &wanted, Goal::Trust).await
                    && trial.is_refused().await
                    && write(&api, &mut found, &wanted, Goal::Insist).await;
                not_before = Instant::now() + match done {
                    true => {
                        backoff.reset();
                        REST
                    }
                    false => backoff.next(jitter()),
                };
            }
        }
    }
}

/// An object that is refused by nobody but galley.
struct Trial {
    api: Api<DynamicObject>,
    object: DynamicObject,
}

impl Trial {
    fn new(client: Client, namespace: &str, revision: &str) -> Self {
        let kind = ApiResource {
            group: "networking.istio.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "networking.istio.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            plural: "gateways".to_owned(),
        };
        let mut object = DynamicObject::new("istio-validation-trial", &kind);
        object.annotations_mut().insert(ALWAYS_REJECT.to_owned(), "true".to_owned());
        object.labels_mut().insert("istio.io/rev".to_owned(), revision.to_owned());
        let port = json!({ "number": 80, "name": "http", "protocol": "HTTP" });
        object.data = json!({ "spec": { "servers": [{ "port": port, "hosts": ["*"] }] } });
        Self { api: Api::namespaced_with(client, namespace, &kind), object }
    }

    /// Whether the API server asks galley, and does as it says. Nothing is stored.
    async fn is_refused(&self) -> bool {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        match self.api.create(&dry_run, &self.object).await {
            Ok(_) => {
                debug!("the API server does not ask yet");
                false
            }
            Err(kube::Error::Api(status)) if is_refusal(&status.message) => true,
            Err(error) => {
                warn!("whether the API server asks could not be tried, trying again: {error}");
                false
            }
        }
    }
}

/// Whether an API server's words are those for an object that a webhook of ours refused.
fn is_refusal(message: &str) -> bool {
    message.contains(WEBHOOK) && message.contains("denied the request")
}

/// Whether configurations are listed completely after `event`.
fn take(found: &mut Found, event: Event<ValidatingWebhookConfiguration>, listed: bool) -> bool {
    match event {
        Event::Init => {
            found.clear();
            return false;
        }
        Event::InitDone => return true,
        Event::InitApply(one) | Event::Apply(one) => drop(found.insert(one.name_any(), one)),
        Event::Delete(one) => drop(found.remove(&one.name_any())),
    }
    listed
}

/// Writes what is due for the goal; whether all of it could be written.
async fn write(
    api: &Api<ValidatingWebhookConfiguration>,
    found: &mut Found,
    bundle: &[u8],
    goal: Goal,
) -> bool {
    let due: Vec<(String, Value)> = found
        .iter()
        .filter_map(|(name, one)| Some((name.clone(), changes(one, bundle, goal)?)))
        .collect();
    let mut all = true;
    for (name, changes) in due {
        let patch = match serde_json::from_value(changes).map(Patch::<()>::Json) {
            Ok(patch) => patch,
            Err(error) => {
                warn!(name, "the patch of a ValidatingWebhookConfiguration: {error}");
                all = false;
                continue;
            }
        };
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                let what = match goal {
                    Goal::Trust => "trusts the mesh's roots",
                    Goal::Insist => "insists on an answer",
                };
                info!(name, "ValidatingWebhookConfiguration {what}");
                found.insert(name, written);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // It went away in between; its event follows.
            }
            Err(error) => {
                all = false;
                let what = "a ValidatingWebhookConfiguration could not be written";
                warn!(name, "{what}, trying again: {error}");
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(name: &str, bundle: &[u8], policy: &str) -> ValidatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": { "name": "istio-validator" },
            "webhooks": [{
                "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "failurePolicy": policy,
                "clientConfig": { "caBundle": STANDARD.encode(bundle) },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn roots_come_before_insistence() {
        let name = "rev.validation.istio.io";
        for (name, bundle, policy, trust, insist) in [
            (name, "", "Ignore", Some(2), Some(3)),
            (name, "old", "Fail", Some(2), Some(2)),
            (name, "new", "Ignore", None, Some(2)),
            (name, "new", "Fail", None, None),
            ("validation.example.org", "", "Ignore", None, None),
        ] {
            let configuration = configuration(name, bundle.as_bytes(), policy);
            for (goal, wanted) in [(Goal::Trust, trust), (Goal::Insist, insist)] {
                let patch = changes(&configuration, b"new", goal);
                let steps = patch.as_ref().and_then(Value::as_array);
                assert_eq!(steps.map(Vec::len), wanted, "{name} {bundle} {policy} {goal:?}");
                let Some(steps) = steps else { continue };
                assert_eq!((&steps[0]["op"], &steps[0]["value"]), (&json!("test"), &json!(name)));
                let values: Vec<_> = steps[1..].iter().map(|step| &step["value"]).collect();
                assert_eq!(values.contains(&&json!(STANDARD.encode("new"))), bundle != "new");
                assert_eq!(
                    values.contains(&&json!("Fail")),
                    goal == Goal::Insist && policy != "Fail"
                );
            }
        }
        assert_eq!(changes(&configuration(name, b"", "Ignore"), b"", Goal::Insist), None);
    }

    #[test]
    fn only_the_webhooks_own_word_is_a_refusal() {
        for (message, refusal) in [
            ("admission webhook \"rev.validation.istio.io\" denied the request: no", true),
            ("admission webhook \"other.example.org\" denied the request: no", false),
            ("failed calling webhook \"rev.validation.istio.io\": refused", false),
            ("gateways.networking.istio.io is forbidden", false),
        ] {
            assert_eq!(is_refusal(message), refusal, "{message}");
        }
    }
}
