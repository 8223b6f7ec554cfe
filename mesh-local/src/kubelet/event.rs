//! Events about pods and the node, as `kubectl describe` shows them: repeated ones are counted,
//! not repeated.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use mesh_rt::tasks::Tasks;
use tokio::sync::mpsc;

use crate::kubelet::pod as pods;

/// Whether an event is a matter of course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It is.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug)]
struct Note {
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    time: Timestamp,
}

/// Events waiting to be written; more are dropped, with a line in the server's log.
const QUEUE: usize = 1024;

/// Distinct events whose counts are remembered.
const REMEMBERED: usize = 4096;

/// Hands events to a background writer.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
}

impl Recorder {
    /// Starts the writer. Events name `node` as their source.
    pub fn start(client: Client, node: &str, tasks: &Tasks) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        let writer = Writer { client, node: node.to_owned(), seen: HashMap::new() };
        tasks.spawn_background("kubelet events", writer.run(notes));
        Self { queue }
    }

    /// Records an event about a pod, or about one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        (reason, message): (&'static str, String),
    ) {
        let init =
            |name: &str| pods::init_members(pods::spec(pod)).any(|m| m.container.name == name);
        let field_path = container.map(|name| {
            let list = if init(name) { "initContainers" } else { "containers" };
            format!("spec.{list}{{{name}}}")
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: Some(pods::namespace(pod).to_owned()),
            resource_version: pod.metadata.resource_version.clone(),
            uid: pod.metadata.uid.clone(),
            field_path,
        };
        self.record(about, severity, reason, message);
    }

    /// Records an event about the node.
    pub fn node(&self, name: &str, severity: Severity, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some("default".to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.record(about, severity, reason, message);
    }

    fn record(
        &self,
        about: ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let message: String = message.chars().take(MAX_MESSAGE).collect();
        let note = Note { about, severity, reason, message, time: Timestamp::now() };
        if let Err(err) = self.queue.try_send(note) {
            tracing::warn!(%err, reason, "event lost");
        }
    }
}

/// Kubernetes' limit on an event's note.
const MAX_MESSAGE: usize = 1024;

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    field_path: Option<String>,
    severity: Severity,
    reason: &'static str,
    message: String,
}

/// An event that was written.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    count: i32,
}

struct Writer {
    client: Client,
    node: String,
    seen: HashMap<Key, Seen>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            if let Err(err) = self.write(&note).await {
                tracing::debug!(%err, reason = note.reason, "event not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), kube::Error> {
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let key = Key {
            uid: note.about.uid.clone(),
            field_path: note.about.field_path.clone(),
            severity: note.severity,
            reason: note.reason,
            message: note.message.clone(),
        };
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.count = seen.count.saturating_add(1);
            let patch = serde_json::json!({
                "count": seen.count, "lastTimestamp": Time(note.time),
            });
            let patched =
                api.patch(&seen.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            match patched {
                Ok(_) => return Ok(()),
                // Somebody has removed it: it begins anew.
                Err(err) if is_not_found(&err) => {}
                Err(err) => return Err(err),
            }
        }
        let about = note.about.name.clone().unwrap_or_default();
        let name = format!("{about}.{:x}{:08x}", note.time.as_nanosecond(), rand::random::<u32>());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: note.about.clone(),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.clone()),
            type_: Some(note.severity.name().to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(note.time)),
            last_timestamp: Some(Time(note.time)),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(key, Seen { name, count: 1 });
        Ok(())
    }
}

/// Whether the API server says that there is no such object.
pub fn is_not_found(err: &kube::Error) -> bool {
    matches!(err, kube::Error::Api(status) if status.code == 404)
}
