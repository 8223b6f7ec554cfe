//! Watch: the changes of a resource as a stream of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use local_model::refusal::Refusal;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{self, ResponseBody};
use super::error::Result;
use super::query::ListOptions;
use super::read::{Filter, check_version, parse_version};
use super::render::EventWriter;
use super::request::Request;
use super::server::Server;
use crate::store::{Change, ChangeKind, Listing, Watcher};

/// How often an idle watch tells its position.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this long, and up to as long again.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
const INITIAL_END: &str = "k8s.io/initial-events-end";

struct State {
    watcher: Watcher,
    filter: Filter,
    writer: EventWriter,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    shutdown: CancellationToken,
    ended: bool,
}

/// Answers a stream of events.
pub(crate) fn watch(server: &Arc<Server>, request: &Request) -> Result<Response<ResponseBody>> {
    let options = ListOptions::from_query(&request.query, true)?;
    let filter = Filter::new(request, &options)?;
    let wanted = options.resource_version.as_deref();
    check_version(server, wanted)?;
    let from = parse_version(wanted)?;
    let initial = options.send_initial_events.unwrap_or(from == 0);
    let mut writer = EventWriter::new(request)?;
    let mut ready = VecDeque::new();
    let mut start = from;
    if initial {
        let Listing { items, revision, .. } = filter.list(server, request, None);
        ready.extend(items.iter().map(|object| writer.event("ADDED", object)));
        start = revision;
        if options.send_initial_events == Some(true) && options.bookmarks {
            ready.push_back(bookmark(&mut writer, revision, true));
        }
    } else if from == 0 {
        start = server.store.revision();
    }
    let now = Instant::now();
    let lifetime = options
        .timeout_seconds
        .map_or_else(|| LIFETIME.mul_f64(1.0 + rand::random::<f64>()), Duration::from_secs);
    let state = State {
        watcher: server.store.watch(&request.resource.storage, start),
        filter,
        writer,
        ready,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        deadline: now + lifetime,
        shutdown: server.shutdown.clone(),
        ended: false,
    };
    let events = futures::stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), state))
    });
    Ok(body::stream(body::JSON, events))
}

fn bookmark(writer: &mut EventWriter, revision: u64, initial_end: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({INITIAL_END: "true"});
    }
    writer.bookmark(metadata)
}

impl State {
    /// The next bytes of the stream: everything that is ready, in one chunk.
    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            if self.ended {
                return None;
            }
            let timer = self.deadline.min(self.next_bookmark);
            tokio::select! {
                () = self.shutdown.cancelled() => self.ended = true,
                changes = self.watcher.next() => match changes {
                    Ok(changes) => self.take(&changes),
                    Err(_) => self.expire(),
                },
                () = tokio::time::sleep_until(timer) => self.tick(),
            }
        }
        if self.ready.len() == 1 {
            return self.ready.pop_front();
        }
        Some(Bytes::from(self.ready.drain(..).flatten().collect::<Vec<u8>>()))
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.ended = now >= self.deadline;
        self.next_bookmark = now + BOOKMARK_EVERY;
        match self.watcher.poll() {
            Ok(changes) => self.take(&changes),
            Err(_) => return self.expire(),
        }
        if self.bookmarks {
            let line = bookmark(&mut self.writer, self.watcher.revision(), false);
            self.ready.push_back(line);
        }
    }

    fn expire(&mut self) {
        self.ended = true;
        let message = format!("too old resource version: {}", self.watcher.revision());
        self.ready.push_back(EventWriter::error(&Refusal::expired(message).to_status()));
    }

    fn take(&mut self, changes: &[Arc<Change>]) {
        for change in changes {
            if let Some((kind, object)) = self.judge(change) {
                let line = self.writer.event(kind, &object);
                self.ready.push_back(line);
            }
        }
    }

    /// What a change is for this watch: an object that starts to match is added, one that no
    /// longer matches is deleted.
    fn judge(&self, change: &Change) -> Option<(&'static str, Arc<Value>)> {
        let now = self.writer.present(&change.object);
        let before = change.previous.as_ref().map(|p| self.writer.present(p));
        let was = before.as_ref().is_some_and(|object| self.filter.matches(object));
        if change.kind == ChangeKind::Deleted {
            return was.then_some(("DELETED", now));
        }
        match (was, self.filter.matches(&now)) {
            (false, true) => Some(("ADDED", now)),
            (true, true) => Some(("MODIFIED", now)),
            (true, false) => {
                let mut last = before.as_deref().cloned()?;
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                Some(("DELETED", Arc::new(last)))
            }
            (false, false) => None,
        }
    }
}
