//! Events that controllers report, for `kubectl describe` and `kubectl get events`.

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};
use tokio::sync::mpsc;
use tracing::debug;

const QUEUED: usize = 1024;

/// Where controllers put events; a full queue loses them, since they are advice.
#[derive(Clone)]
pub(super) struct Events {
    queue: mpsc::Sender<Event>,
}

/// The other end, for the task that writes them.
pub(super) struct Outbox(mpsc::Receiver<Event>);

pub(super) fn channel() -> (Events, Outbox) {
    let (queue, receiver) = mpsc::channel(QUEUED);
    (Events { queue }, Outbox(receiver))
}

/// What kind of news an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Normal,
    Warning,
}

/// What happened.
pub(super) struct News<'a> {
    pub(super) source: &'static str,
    pub(super) level: Level,
    pub(super) reason: &'static str,
    pub(super) message: &'a str,
}

impl Events {
    /// Reports something about an object.
    pub(super) fn report<K: Resource<DynamicType = ()>>(&self, about: &K, news: &News<'_>) {
        let event = event(about, news, Timestamp::now());
        if self.queue.try_send(event).is_err() {
            debug!(reason = news.reason, "event lost: too many at once");
        }
    }
}

fn event<K: Resource<DynamicType = ()>>(about: &K, news: &News<'_>, now: Timestamp) -> Event {
    let namespace = about.namespace().unwrap_or_else(|| "default".to_owned());
    let name = about.name_any();
    let level = match news.level {
        Level::Normal => "Normal",
        Level::Warning => "Warning",
    };
    let meta = about.meta();
    Event {
        metadata: ObjectMeta {
            // The name that Kubernetes' own recorders use: the object's, and the time.
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(name),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        },
        reason: Some(news.reason.to_owned()),
        message: Some(news.message.to_owned()),
        type_: Some(level.to_owned()),
        source: Some(EventSource { component: Some(news.source.to_owned()), host: None }),
        reporting_component: Some(news.source.to_owned()),
        first_timestamp: Some(Time::from(now)),
        last_timestamp: Some(Time::from(now)),
        count: Some(1),
        ..Event::default()
    }
}

impl Outbox {
    /// Writes events until the task ends.
    pub(super) async fn run(mut self, client: Client) {
        while let Some(event) = self.0.recv().await {
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            if let Err(error) = api.create(&PostParams::default(), &event).await {
                debug!(reason = event.reason.as_deref(), "event not written: {error}");
            }
        }
    }
}
