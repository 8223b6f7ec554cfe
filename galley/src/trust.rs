//! Keeps the mesh's roots in the webhook configurations of this revision, so that the API server
//! trusts and asks galley: written, and written again when somebody else resets them.
//!
//! Until then the configurations say `Ignore`, so that a cluster without galley still stores
//! objects; with the roots goes `Fail`. Every replica does this. They write the same, so that none
//! has to lead.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use mesh_rt::backoff::{Backoff, jitter};
use mesh_rt::identity::{LiveIdentity, certificates_to_pem};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

/// How the names of the validator's webhooks end.
const WEBHOOK: &str = "validation.istio.io";
/// How long between two rounds of writing, so that nobody is drawn into a race of resets.
const REST: Duration = Duration::from_secs(1);
/// The longest wait after configurations that cannot be written.
const MAX_REST: Duration = Duration::from_secs(60);

type Found = BTreeMap<String, ValidatingWebhookConfiguration>;

/// The JSON patch (RFC 6902) that makes a configuration trust the roots and insist on an answer;
/// `None` where it does so already, or where there are no roots. The patch fails on a
/// configuration that has changed meanwhile.
pub(crate) fn changes(
    configuration: &ValidatingWebhookConfiguration,
    bundle: &[u8],
) -> Option<Value> {
    let mut changes = Vec::new();
    for (index, webhook) in configuration.webhooks.iter().flatten().enumerate() {
        let trusts = webhook
            .client_config
            .ca_bundle
            .as_ref()
            .is_some_and(|ByteString(current)| current == bundle);
        let insists = webhook.failure_policy.as_deref() == Some("Fail");
        if bundle.is_empty() || !webhook.name.ends_with(WEBHOOK) || (trusts && insists) {
            continue;
        }
        let place = format!("/webhooks/{index}");
        changes.extend([
            json!({ "op": "test", "path": format!("{place}/name"), "value": webhook.name }),
            json!({
                "op": "add",
                "path": format!("{place}/clientConfig/caBundle"),
                "value": STANDARD.encode(bundle),
            }),
            json!({ "op": "add", "path": format!("{place}/failurePolicy"), "value": "Fail" }),
        ]);
    }
    (!changes.is_empty()).then_some(Value::Array(changes))
}

/// Runs until dropped, for the configurations labelled `istio.io/rev=<revision>`.
pub(crate) async fn run(client: Client, revision: String, live: LiveIdentity) {
    let ours = watcher::Config::default().labels(&format!("istio.io/rev={revision}"));
    let api = Api::<ValidatingWebhookConfiguration>::all(client);
    let mut events = watcher(api.clone(), ours).default_backoff().boxed();
    let mut renewed = live.subscribe();
    let bundle = || certificates_to_pem(live.trust().certificates()).into_bytes();
    let mut wanted = bundle();
    let (mut found, mut listed) = (Found::new(), false);
    let (mut not_before, mut backoff) = (Instant::now(), Backoff::new(REST, MAX_REST));
    loop {
        let due = listed && found.values().any(|one| changes(one, &wanted).is_some());
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
                not_before = Instant::now() + match write(&api, &mut found, &wanted).await {
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

/// Writes what is due; whether all of it could be written.
async fn write(
    api: &Api<ValidatingWebhookConfiguration>,
    found: &mut Found,
    bundle: &[u8],
) -> bool {
    let due: Vec<(String, Value)> = found
        .iter()
        .filter_map(|(name, one)| Some((name.clone(), changes(one, bundle)?)))
        .collect();
    let mut all = true;
    for (name, changes) in due {
        let patch = match serde_json::from_value(changes).map(Patch::<()>::Json) {
            Ok(patch) => patch,
            Err(error) => {
                warn!(name, "the patch of the webhooks' roots: {error}");
                all = false;
                continue;
            }
        };
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                info!(name, "ValidatingWebhookConfiguration trusts the mesh's roots");
                found.insert(name, written);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // It went away in between; its event follows.
            }
            Err(error) => {
                all = false;
                let what = "ValidatingWebhookConfiguration: the roots could not be written";
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
    fn roots_and_insistence_go_together() {
        let name = "rev.validation.istio.io";
        for (name, bundle, policy, due) in [
            (name, "", "Ignore", true),
            (name, "old", "Fail", true),
            (name, "new", "Ignore", true),
            (name, "new", "Fail", false),
            ("validation.example.org", "", "Ignore", false),
        ] {
            let patch = changes(&configuration(name, bundle.as_bytes(), policy), b"new");
            assert_eq!(patch.is_some(), due, "{name} {bundle} {policy}");
            if let Some(patch) = patch {
                assert_eq!(patch[0]["op"], "test");
                assert_eq!(patch[1]["value"], STANDARD.encode("new"));
                assert_eq!(patch[2]["value"], "Fail");
            }
        }
        assert_eq!(changes(&configuration(name, b"", "Ignore"), b""), None);
    }
}
