//! Follows one kind for ever: lists, watches, begins anew after failures, and reports.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Config, watcher};
use mesh_rt::backoff::{self, Backoff};
use pilot_model::distribution::Version;
use pilot_model::key::{Kind, ResourceKey};
use pilot_model::store::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::kinds::Watched;
use crate::distribution::Seen;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Seconds that a watch lasts; a dead connection is noticed shortly after.
const WATCH_SECONDS: u32 = 60;

/// Waits between failed attempts.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Report {
    /// Something happened to an object of that kind.
    Event(Kind, Event, Seen),
    /// All objects of that kind have been told.
    Listed(Kind),
    /// The API does not serve that kind.
    Absent(Kind),
    /// The kind cannot be watched at present.
    Failing(Kind, String),
    /// It can be watched again.
    Recovered(Kind),
}

/// A watch that fails so often is begun anew with a list: its place in history may be lost.
const GIVE_UP: u32 = 5;

/// A watch that has not failed again for so long works, even if there is nothing to see. Longer
/// than connecting may take.
const CALM: Duration = Duration::from_secs(45);

/// Follows `watched` until nobody listens.
pub async fn follow(client: Client, watched: Arc<Watched>, reports: mpsc::Sender<Report>) {
    let mut follower = Follower {
        watched,
        reports,
        backoff: Backoff::new(FIRST, LONGEST),
        listing: Vec::new(),
        trouble: None,
    };
    loop {
        let mut config = Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
        if let Some(name) = follower.watched.only_name() {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let stream = watcher(follower.watched.api(client.clone()), config);
        if follower.run(stream.boxed()).await.is_err() {
            return;
        }
    }
}

/// Nobody listens any more.
struct Unheard;

struct Follower {
    watched: Arc<Watched>,
    reports: mpsc::Sender<Report>,
    backoff: Backoff,
    /// What a list under way has shown.
    listing: Vec<ResourceKey>,
    /// The failure that was last told.
    trouble: Option<String>,
}

impl Follower {
    /// Follows until the watch should be begun anew.
    async fn run(
        &mut self,
        mut stream: BoxStream<'_, watcher::Result<watcher::Event<DynamicObject>>>,
    ) -> Result<(), Unheard> {
        let mut failures = 0;
        loop {
            let next = match &self.trouble {
                None => stream.next().await,
                Some(_) => match tokio::time::timeout(CALM, stream.next()).await {
                    Ok(next) => next,
                    Err(_elapsed) => {
                        self.recovered().await?;
                        continue;
                    }
                },
            };
            match next {
                Some(Ok(watcher::Event::Init)) => self.listing.clear(),
                Some(Ok(event)) => {
                    failures = 0;
                    self.backoff.reset();
                    self.event(event).await?;
                }
                Some(Err(error)) => {
                    failures += 1;
                    self.failed(&error).await?;
                    tokio::time::sleep(self.backoff.next(backoff::jitter())).await;
                    if failures >= GIVE_UP {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    async fn event(&mut self, event: watcher::Event<DynamicObject>) -> Result<(), Unheard> {
        let kind = self.watched.kind;
        if self.trouble.is_some() {
            self.recovered().await?;
        }
        match event {
            watcher::Event::Init => Ok(()),
            watcher::Event::InitApply(object) => {
                self.listing.push(self.watched.key(&object));
                self.applied(object).await
            }
            watcher::Event::InitDone => {
                let keys = std::mem::take(&mut self.listing);
                self.told(Event::Only(kind, keys), None).await?;
                self.send(Report::Listed(kind)).await
            }
            watcher::Event::Apply(object) => self.applied(object).await,
            watcher::Event::Delete(object) => {
                let version = version(&object);
                self.told(Event::Deleted(self.watched.key(&object)), Some(version)).await
            }
        }
    }

    async fn applied(&self, object: DynamicObject) -> Result<(), Unheard> {
        let version = version(&object);
        self.told(applied(&self.watched, object), Some(version)).await
    }

    async fn told(&self, event: Event, version: Option<Version>) -> Result<(), Unheard> {
        let seen = Seen { version, at: Instant::now() };
        self.send(Report::Event(self.watched.kind, event, seen)).await
    }

    async fn send(&self, report: Report) -> Result<(), Unheard> {
        self.reports.send(report).await.map_err(|_closed| Unheard)
    }

    async fn recovered(&mut self) -> Result<(), Unheard> {
        info!(resource = self.watched.resource_name(), "watching again");
        self.trouble = None;
        self.send(Report::Recovered(self.watched.kind)).await
    }

    /// Logs a failure once, not at each attempt.
    async fn failed(&mut self, error: &watcher::Error) -> Result<(), Unheard> {
        let resource = self.watched.resource_name();
        let (kind, absent) = (self.watched.kind, is_absent(error));
        let reason =
            if absent { "the API server does not serve it".to_owned() } else { error.to_string() };
        if self.trouble.as_ref() == Some(&reason) {
            debug!(resource, "watch: {reason}");
        } else {
            warn!(resource, "watch, trying again: {reason}");
            self.trouble = Some(reason.clone());
        }
        let report = if absent { Report::Absent(kind) } else { Report::Failing(kind, reason) };
        self.send(report).await
    }
}

fn applied(watched: &Watched, object: DynamicObject) -> Event {
    let key = watched.key(&object);
    match watched.read(object) {
        Ok(object) => Event::Applied(object),
        Err(reason) => {
            warn!(object = %key, "set aside: {reason}");
            Event::Unreadable(key, reason)
        }
    }
}

fn version(object: &DynamicObject) -> Version {
    let meta = &object.metadata;
    let resource = meta.resource_version.clone().unwrap_or_default();
    Version { resource, generation: meta.generation }
}

fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
