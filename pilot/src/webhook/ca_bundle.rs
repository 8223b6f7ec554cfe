//! Keeps the mesh's roots in the webhook configurations of this revision, so that the API server
//! trusts the injector: written, and written again when somebody else resets them.
//!
//! Every replica does this. They write the same, so that none has to lead.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use mesh_rt::backoff::{Backoff, jitter};
use mesh_rt::identity::{LiveIdentity, certificates_to_pem};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

/// How the names of the injector's webhooks end.
const WEBHOOK: &str = "sidecar-injector.istio.io";

/// How long between two rounds of writing, so that nobody is drawn into a race of resets.
const REST: Duration = Duration::from_secs(1);

/// The longest wait after configurations that cannot be written.
const MAX_REST: Duration = Duration::from_secs(60);

/// What is known of the configurations, and what is to be done about them. Decides; does no I/O.
#[derive(Debug, Default)]
pub struct Plan {
    bundle: Vec<u8>,
    found: BTreeMap<String, MutatingWebhookConfiguration>,
}

impl Plan {
    /// The roots changed; `pem` is the bundle wanted. An empty one is never written.
    pub fn set_bundle(&mut self, pem: &str) {
        self.bundle = pem.as_bytes().to_vec();
    }

    /// A configuration was seen or written.
    pub fn seen(&mut self, configuration: MutatingWebhookConfiguration) {
        self.found.insert(configuration.name_any(), configuration);
    }

    /// A configuration is gone.
    pub fn gone(&mut self, configuration: &MutatingWebhookConfiguration) {
        self.found.remove(&configuration.name_any());
    }

    /// A list begins anew.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// The configurations whose injection webhooks trust anything else, each with the JSON patch
    /// (RFC 6902) that mends it. The patch fails on a configuration that has changed meanwhile.
    #[must_use]
    pub fn due(&self) -> Vec<(String, Value)> {
        if self.bundle.is_empty() {
            return Vec::new();
        }
        let due = self.found.iter().filter_map(|(name, configuration)| {
            let changes = self.changes(configuration);
            (!changes.is_empty()).then(|| (name.clone(), Value::Array(changes)))
        });
        due.collect()
    }

    fn changes(&self, configuration: &MutatingWebhookConfiguration) -> Vec<Value> {
        let mut changes = Vec::new();
        for (index, webhook) in configuration.webhooks.iter().flatten().enumerate() {
            let current = webhook.client_config.ca_bundle.as_ref();
            let is_good = current.is_some_and(|ByteString(current)| *current == self.bundle);
            if !webhook.name.ends_with(WEBHOOK) || is_good {
                continue;
            }
            let place = format!("/webhooks/{index}");
            changes.push(json!({
                "op": "test", "path": format!("{place}/name"), "value": webhook.name,
            }));
            changes.push(json!({
                "op": "add",
                "path": format!("{place}/clientConfig/caBundle"),
                "value": STANDARD.encode(&self.bundle),
            }));
        }
        changes
    }
}

/// Runs until dropped, for the configurations labelled `istio.io/rev=<revision>`.
pub(super) async fn run(client: Client, revision: String, live: LiveIdentity) {
    let ours = watcher::Config::default().labels(&format!("istio.io/rev={revision}"));
    let api = Api::<MutatingWebhookConfiguration>::all(client);
    let mut events = watcher(api.clone(), ours).default_backoff().boxed();
    let mut changes = live.subscribe();
    let mut plan = Plan::default();
    plan.set_bundle(&certificates_to_pem(live.trust().certificates()));
    let mut listed = false;
    let (mut not_before, mut backoff) = (Instant::now(), Backoff::new(REST, MAX_REST));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => listed = take(&mut plan, event, listed),
                Some(Err(error)) => warn!("watching MutatingWebhookConfigurations: {error}"),
                None => return,
            },
            changed = changes.changed() => match changed {
                Ok(()) => plan.set_bundle(&certificates_to_pem(live.trust().certificates())),
                Err(_gone) => return,
            },
            () = tokio::time::sleep_until(not_before), if listed && !plan.due().is_empty() => {
                not_before = Instant::now() + match write(&api, &mut plan).await {
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
fn take(plan: &mut Plan, event: Event<MutatingWebhookConfiguration>, listed: bool) -> bool {
    match event {
        Event::Init => {
            plan.clear();
            return false;
        }
        Event::InitDone => return true,
        Event::InitApply(configuration) | Event::Apply(configuration) => plan.seen(configuration),
        Event::Delete(configuration) => plan.gone(&configuration),
    }
    listed
}

/// Writes what is due; whether all of it could be written.
async fn write(api: &Api<MutatingWebhookConfiguration>, plan: &mut Plan) -> bool {
    let mut all = true;
    for (name, changes) in plan.due() {
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
                info!(name, "MutatingWebhookConfiguration trusts the mesh's roots");
                plan.seen(written);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                // It went away in between; its event follows.
            }
            Err(error) => {
                all = false;
                let what = "MutatingWebhookConfiguration: the roots could not be written";
                warn!(name, "{what}, trying again: {error}");
            }
        }
    }
    all
}
