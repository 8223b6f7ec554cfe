//! Writes the store behind to a file, on a thread of its own: what changed in the last
//! milliseconds goes into one transaction. Until then it is in a journal.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use serde_json::Value;

use super::journal::{Entry, Journals};
use super::{ObjectKey, ResourceKey, StoreError};

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
/// How long changes gather before they are written together.
const GATHER: Duration = Duration::from_millis(10);
/// Pause after a failed write.
const RETRY: Duration = Duration::from_secs(1);
/// Separates the parts of a key; no API name may contain it.
const SEPARATOR: char = '\n';

pub(super) struct Loaded {
    pub(super) revision: u64,
    pub(super) objects: Vec<(ResourceKey, ObjectKey, Value)>,
}

pub(super) struct Persister {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<Pending>,
    work: Condvar,
    done: Condvar,
}

struct Pending {
    journals: Journals,
    /// Latest state per key, so the queue is bounded by the number of objects.
    dirty: BTreeMap<String, Option<Arc<Value>>>,
    /// Revision of the newest change enqueued.
    enqueued: u64,
    /// Revision up to which everything is on the disk.
    written: u64,
    flush: bool,
    closing: bool,
    failure: Option<String>,
}

impl Persister {
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), StoreError> {
        // A damaged file must end in a message, also where the storage engine asserts.
        let (database, loaded) =
            catch_unwind(AssertUnwindSafe(|| load(path))).unwrap_or_else(|_| {
                Err(StoreError::Damaged { path: path.into(), detail: "unreadable pages".into() })
            })?;
        let io = |e: std::io::Error| StoreError::Io { path: path.into(), detail: e.to_string() };
        let (journals, left) = Journals::open(path).map_err(io)?;
        let loaded = recover(&database, loaded, left)
            .map_err(|detail| StoreError::Damaged { path: path.into(), detail })?;
        let state = Pending::new(journals, loaded.revision).map_err(io)?;
        let shared = Arc::new(Shared {
            path: path.into(),
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || worker.run(&database))
            .map_err(|e| StoreError::Io { path: path.into(), detail: e.to_string() })?;
        Ok((Self { shared, thread: Some(thread) }, loaded))
    }

    pub(super) fn enqueue(
        &self,
        resource: &ResourceKey,
        key: &ObjectKey,
        object: Option<Arc<Value>>,
        revision: u64,
    ) {
        let row = row(resource, key);
        let mut state = self.shared.state.lock();
        let entry = Entry { revision, row: row.as_str(), object: object.as_deref() };
        if let Err(error) = state.journals.append(&entry) {
            tracing::error!(path = %self.shared.path.display(), %error, "cannot write the journal");
        }
        state.dirty.insert(row, object);
        state.enqueued = revision;
        self.shared.work.notify_one();
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock();
        let wanted = state.enqueued;
        state.failure = None;
        state.flush = true;
        self.shared.work.notify_one();
        while state.written < wanted {
            if let Some(detail) = state.failure.clone() {
                return Err(StoreError::Io { path: self.shared.path.clone(), detail });
            }
            self.shared.done.wait(&mut state);
        }
        Ok(())
    }
}

impl Drop for Persister {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the store's writer panicked");
        }
    }
}

impl Shared {
    fn run(&self, database: &Database) {
        loop {
            let (batch, revision, journal) = {
                let mut state = self.state.lock();
                while state.dirty.is_empty() && !state.closing {
                    state.flush = false;
                    self.work.wait(&mut state);
                }
                if state.dirty.is_empty() {
                    return;
                }
                if !state.closing && !state.flush {
                    self.work.wait_while_for(&mut state, |s| !s.closing && !s.flush, GATHER);
                }
                (std::mem::take(&mut state.dirty), state.enqueued, state.journals.turn())
            };
            let result = write(database, &batch, revision);
            let mut state = self.state.lock();
            match result {
                Ok(()) => {
                    state.written = revision;
                    state.failure = None;
                    if let Err(error) = state.journals.clear(journal) {
                        let path = self.path.display();
                        tracing::error!(%path, %error, "cannot empty the journal");
                    }
                }
                Err(detail) => {
                    tracing::error!(path = %self.path.display(), %detail, "cannot write the store");
                    for (key, object) in batch {
                        state.dirty.entry(key).or_insert(object);
                    }
                    state.failure = Some(detail);
                    if state.closing {
                        return;
                    }
                    self.done.notify_all();
                    self.work.wait_while_for(&mut state, |s| !s.closing && !s.flush, RETRY);
                }
            }
            self.done.notify_all();
        }
    }
}

impl Pending {
    /// Nothing is pending: all up to `revision` is in the file, so the journals can be emptied.
    fn new(mut journals: Journals, revision: u64) -> std::io::Result<Self> {
        for journal in [0, 1] {
            journals.clear(journal)?;
        }
        Ok(Self {
            journals,
            dirty: BTreeMap::new(),
            enqueued: revision,
            written: revision,
            flush: false,
            closing: false,
            failure: None,
        })
    }
}

/// Brings changes that an earlier process left in its journals into the file, and into what was
/// loaded from it.
fn recover(
    database: &Database,
    loaded: Loaded,
    left: Vec<Entry<String, Value>>,
) -> Result<Loaded, String> {
    let mut batch = BTreeMap::new();
    let mut revision = loaded.revision;
    for entry in left.into_iter().filter(|entry| entry.revision > loaded.revision) {
        revision = entry.revision;
        batch.insert(entry.row, entry.object.map(Arc::new));
    }
    if batch.is_empty() {
        return Ok(loaded);
    }
    write(database, &batch, revision)?;
    read(database).map_err(|e| e.to_string())
}

fn row(resource: &ResourceKey, key: &ObjectKey) -> String {
    [&*resource.group, &*resource.resource, &*key.namespace, &*key.name]
        .join(&SEPARATOR.to_string())
}

fn write(
    database: &Database,
    batch: &BTreeMap<String, Option<Arc<Value>>>,
    revision: u64,
) -> Result<(), String> {
    let run = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            for (key, object) in batch {
                match object {
                    Some(object) => {
                        let bytes = object.to_string();
                        objects.insert(key.as_str(), bytes.as_bytes())?;
                    }
                    None => {
                        objects.remove(key.as_str())?;
                    }
                }
            }
            transaction.open_table(META)?.insert(REVISION, revision)?;
        }
        transaction.commit()?;
        Ok(())
    };
    run().map_err(|e| e.to_string())
}

fn load(path: &Path) -> Result<(Database, Loaded), StoreError> {
    let database = Database::create(path).map_err(|e| open_error(path, &e))?;
    let damaged = |detail: String| StoreError::Damaged { path: path.into(), detail };
    let loaded = read(&database).map_err(|e| damaged(e.to_string()))?;
    Ok((database, loaded))
}

fn read(database: &Database) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_write()?;
    let revision = transaction.open_table(META)?.get(REVISION)?.map_or(0, |v| v.value());
    transaction.open_table(OBJECTS)?;
    transaction.commit()?;
    let mut loaded = Loaded { revision, objects: Vec::new() };
    for entry in database.begin_read()?.open_table(OBJECTS)?.iter()? {
        let (key, bytes) = entry?;
        let corrupt = |what: &str| {
            redb::Error::Corrupted(format!("the entry {:?} is not {what}", key.value()))
        };
        let mut parts = key.value().split(SEPARATOR);
        let mut part = || parts.next().ok_or_else(|| corrupt("an object's key"));
        let resource = ResourceKey::new(part()?, part()?);
        let key = ObjectKey::new(part()?, part()?);
        let object = serde_json::from_slice(bytes.value()).map_err(|_| corrupt("a JSON object"))?;
        loaded.objects.push((resource, key, object));
    }
    Ok(loaded)
}

fn open_error(path: &Path, error: &DatabaseError) -> StoreError {
    let path = path.to_path_buf();
    let detail = error.to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::Storage(StorageError::Io(e))
            if !matches!(
                e.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Io { path, detail }
        }
        _ => StoreError::Damaged { path, detail },
    }
}
