//! The configuration of the moment, and asking for what is not held.
//!
//! One writer, the xDS driver, publishes snapshots; everybody else reads them without a lock. What
//! a snapshot does not know is asked for by name: askers of one name share the question, new
//! questions are rate-limited, and nobody waits longer than [`PATIENCE`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh_api::type_url::TypeUrl;
use parking_lot::Mutex;
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::snapshot::Snapshot;
use proxy_model::stage::Stage;
use proxy_model::tls::Secret;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::dns::answer::Names;
use crate::dns::serve::NameSource;
use crate::tls::material::Secrets;

pub mod held;
#[cfg(test)]
mod tests;

use held::{Held, SyncStats};

/// How long anybody waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Names that are held because traffic asked for them, at most.
const MAX_ASKED: usize = 10_000;
/// New names per second, and at once, at most. Others fail closed until there is room.
const RATE: f64 = 200.0;
const BURST: f64 = 1000.0;
/// How long an answer that there is nothing is kept after it was last asked for.
const ABSENT_FOR: Duration = Duration::from_secs(300);

/// The configuration of the moment.
pub struct World {
    current: ArcSwap<Snapshot>,
    /// Whether what is in force is a configuration, and not the parts of a first one.
    complete: AtomicBool,
    generation: watch::Sender<u64>,
    held: ArcSwap<Held>,
    /// How the stream to pilot does.
    pub sync: SyncStats,
    asked: Mutex<Asked>,
    wake: Notify,
}

struct Asked {
    /// When each name was last asked for.
    names: HashMap<ResourceName, Instant>,
    /// Names whose answer means nothing: asking longer is no use.
    hopeless: HashSet<ResourceName>,
    allowance: f64,
    refilled: Instant,
}

impl World {
    /// A world of which nothing is known.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            complete: AtomicBool::new(false),
            generation: watch::channel(0).0,
            held: ArcSwap::from_pointee(Held::default()),
            sync: SyncStats::default(),
            asked: Mutex::new(Asked {
                names: HashMap::new(),
                hopeless: HashSet::new(),
                allowance: BURST,
                refilled: Instant::now(),
            }),
            wake: Notify::new(),
        })
    }

    /// The configuration of the moment.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The resources of the moment as they came.
    pub fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// Notes what is held now.
    pub fn hold(&self, held: Held) {
        self.held.store(Arc::new(held));
    }

    /// The configuration of the moment; nothing as long as only parts of the first one are here.
    pub fn configured(&self) -> Option<Arc<Snapshot>> {
        self.complete.load(Ordering::Acquire).then(|| self.load())
    }

    /// What [`World::publish`] puts in force from now on is a configuration.
    pub fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Tells of every new generation.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Ready when there is a generation other than `seen`.
    pub async fn changed(&self, seen: u64) {
        let mut receiver = self.generation.subscribe();
        // The sender lives as long as the world does.
        let _ = receiver.wait_for(|generation| *generation != seen).await;
    }

    /// Puts a snapshot in force. `hopeless` are asked names whose answer means nothing.
    pub fn publish(&self, snapshot: Arc<Snapshot>, hopeless: HashSet<ResourceName>) {
        let generation = snapshot.generation;
        self.asked.lock().hopeless = hopeless;
        self.current.store(snapshot);
        self.generation.send_replace(generation);
    }

    /// Asks for a resource, and waits until it is known, or there is none, or waiting is over:
    /// `Unknown` then, and the asker fails closed.
    pub async fn ask(&self, name: ResourceName) -> Lookup<()> {
        let mut receiver = self.generation.subscribe();
        let known = self.load().lookup(&name);
        if !matches!(known, Lookup::Unknown(_)) || !self.enter(&name) {
            return known;
        }
        let answered = async {
            loop {
                receiver.borrow_and_update();
                match self.load().lookup(&name) {
                    Lookup::Unknown(_) if self.asked.lock().hopeless.contains(&name) => break,
                    Lookup::Unknown(_) => {}
                    _ => break,
                }
                if receiver.changed().await.is_err() {
                    break;
                }
            }
        };
        // Whether or not it came in time, what is known now is the answer.
        let _ = tokio::time::timeout(PATIENCE, answered).await;
        self.load().lookup(&name)
    }

    /// The names that were asked for, by place in [`Stage::TYPES`].
    pub fn asked(&self) -> BTreeSet<(usize, Arc<str>)> {
        let asked = self.asked.lock();
        let place = |name: &ResourceName| (Stage::place(&name.type_url), Arc::clone(&name.name));
        asked.names.keys().map(place).collect()
    }

    /// Names to ask for as if traffic had, of configuration kept on disk.
    pub fn resume(&self, names: impl IntoIterator<Item = ResourceName>) {
        let now = Instant::now();
        let mut asked = self.asked.lock();
        asked.names.extend(names.into_iter().take(MAX_ASKED).map(|name| (name, now)));
    }

    /// Ready when somebody asked for something new.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes out names that there is nothing under and that nobody asked for lately.
    pub fn sweep(&self) {
        let snapshot = self.load();
        let now = Instant::now();
        self.asked.lock().names.retain(|name, last| {
            now.duration_since(*last) < ABSENT_FOR
                || !matches!(snapshot.lookup(name), Lookup::Absent)
        });
    }

    /// Notes that a name is asked for. False when there is no room for another question.
    fn enter(&self, name: &ResourceName) -> bool {
        let mut asked = self.asked.lock();
        let now = Instant::now();
        if let Some(last) = asked.names.get_mut(name) {
            *last = now;
            return true;
        }
        let gained = now.duration_since(asked.refilled).as_secs_f64() * RATE;
        asked.allowance = (asked.allowance + gained).min(BURST);
        asked.refilled = now;
        if asked.allowance < 1.0 {
            return false;
        }
        asked.allowance -= 1.0;
        if asked.names.len() >= MAX_ASKED {
            let oldest = asked.names.iter().min_by_key(|(_, last)| **last);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                asked.names.remove(&oldest);
            }
        }
        asked.names.insert(name.clone(), now);
        drop(asked);
        self.wake.notify_one();
        true
    }
}

impl Secrets for World {
    fn secret(&self, name: &str) -> Lookup<Arc<Secret>> {
        self.load().secret(name).cloned()
    }
}

impl NameSource for World {
    fn names(&self) -> Box<dyn Names + Send + '_> {
        Box::new(Table(self.load()))
    }

    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, ()> {
        // Before the first configuration nobody can answer: the way to pilot itself may be asked for.
        if self.configured().is_none() {
            return std::future::ready(()).boxed();
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        World::ask(self, ResourceName::new(TypeUrl::NameTable, host)).map(|_| ()).boxed()
    }
}

/// The name table of one snapshot.
struct Table(Arc<Snapshot>);

impl Names for Table {
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        let held = &self.0.name_table.held;
        if let Some(entry) = held.get(host) {
            return Some(entry.addresses.clone());
        }
        // The longest wildcard that fits: labels go one by one.
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(entry) = held.get(format!("*.{parent}").as_str()) {
                return Some(entry.addresses.clone());
            }
            rest = parent;
        }
        None
    }
}
