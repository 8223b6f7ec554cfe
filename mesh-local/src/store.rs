//! All objects of the cluster, in memory, in one order of revisions: read, compare-and-swap,
//! watch. Optionally written behind to a file.

mod journal;
mod persist;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::watch;

use self::persist::Persister;
use self::table::Table;
pub use self::table::{Change, ChangeKind};

/// How many changes of one resource are kept for watches that resume.
pub const KEPT_CHANGES: usize = 1024;
/// How far revisions jump ahead at a restart, so that no revision given out before (perhaps
/// never written) can be taken for a current one.
const RESTART_JUMP: u64 = 100_000;
/// Most changes handed to a watcher at once.
const BATCH: usize = 256;

/// Names a table: an API group and a plural resource, whatever the version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// Plural resource, such as `pods`.
    pub resource: Arc<str>,
}

impl ResourceKey {
    /// A key by its two names.
    pub fn new(group: &str, resource: &str) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

/// Names an object within its table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key by its two names.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Why the store could not be opened or flushed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not a store, or is damaged.
    #[error(
        "the cluster's data file {} is damaged ({detail}); move it away to start with an empty \
         cluster, or put back a copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Another process has the file open.
    #[error(
        "the cluster's data file {} is in use by another server; stop that server first",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("the cluster's data file {} cannot be used: {detail}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteError {
    /// The name is taken.
    Exists,
    /// There is no such object.
    Missing,
    /// The object is at another revision than the caller's.
    Stale,
}

/// A watcher asked for changes that are no longer kept: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// Objects of one resource and the revision at which they are all current.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Objects in order of namespace, then name.
    pub items: Vec<Arc<Value>>,
    /// Watch from here to miss nothing.
    pub revision: u64,
    /// Objects left out because of the limit.
    pub remaining: usize,
}

/// Which objects of a resource to list.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    /// Only this namespace.
    pub namespace: Option<&'a str>,
    /// Only objects after this one.
    pub after: Option<&'a ObjectKey>,
    /// At most this many; 0 for all.
    pub limit: usize,
}

/// The store. Every method takes its lock briefly; none waits for the disk.
pub struct Store {
    inner: RwLock<Inner>,
    persister: Option<Persister>,
    kept: usize,
}

struct Inner {
    revision: u64,
    /// Changes at or below this revision are not kept by tables made later.
    start: u64,
    tables: BTreeMap<ResourceKey, Table>,
}

impl Inner {
    fn table(&mut self, resource: &ResourceKey) -> &mut Table {
        let start = self.start;
        self.tables.entry(resource.clone()).or_insert_with(|| Table::new(start))
    }
}

impl Store {
    /// An empty store that forgets everything when dropped.
    pub fn in_memory() -> Self {
        Self::with_kept_changes(KEPT_CHANGES)
    }

    /// As [`Store::in_memory`], keeping `kept` changes per resource.
    pub fn with_kept_changes(kept: usize) -> Self {
        let inner = Inner { revision: 1, start: 0, tables: BTreeMap::new() };
        Self { inner: RwLock::new(inner), persister: None, kept }
    }

    /// The store kept in the file `path`, made when missing. Blocks while reading it.
    ///
    /// # Errors
    /// When the file is damaged, in use by another process, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (persister, loaded) = Persister::open(path)?;
        let revision = if loaded.revision == 0 { 1 } else { loaded.revision + RESTART_JUMP };
        let start = if loaded.revision == 0 { 0 } else { revision };
        let mut inner = Inner { revision, start, tables: BTreeMap::new() };
        for (resource, key, object) in loaded.objects {
            inner.table(&resource).load(key, Arc::new(object));
        }
        Ok(Self { inner: RwLock::new(inner), persister: Some(persister), kept: KEPT_CHANGES })
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.inner.read().revision
    }

    /// The revision of the last write to one resource; 0 when there was none.
    pub fn resource_revision(&self, resource: &ResourceKey) -> u64 {
        self.inner.read().tables.get(resource).map_or(0, Table::last)
    }

    /// One object.
    pub fn get(&self, resource: &ResourceKey, key: &ObjectKey) -> Option<Arc<Value>> {
        self.inner.read().tables.get(resource)?.get(key).cloned()
    }

    /// The objects of a resource.
    pub fn list(&self, resource: &ResourceKey, selection: &Selection<'_>) -> Listing {
        let inner = self.inner.read();
        let revision = inner.revision;
        match inner.tables.get(resource) {
            None => Listing { items: Vec::new(), revision, remaining: 0 },
            Some(table) => {
                let (items, remaining) = table.list(selection);
                Listing { items, revision, remaining }
            }
        }
    }

    /// Number of objects of a resource.
    pub fn count(&self, resource: &ResourceKey) -> usize {
        self.inner.read().tables.get(resource).map_or(0, Table::len)
    }

    /// Every resource of which there are objects.
    pub fn resources(&self) -> Vec<ResourceKey> {
        let inner = self.inner.read();
        inner.tables.iter().filter(|(_, t)| t.len() > 0).map(|(k, _)| k.clone()).collect()
    }

    /// Adds an object; its `metadata.resourceVersion` is set to the new revision.
    ///
    /// # Errors
    /// [`WriteError::Exists`].
    pub fn create(
        &self,
        resource: &ResourceKey,
        key: &ObjectKey,
        object: Value,
    ) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        if inner.table(resource).get(key).is_some() {
            return Err(WriteError::Exists);
        }
        Ok(self.commit(&mut inner, resource, key, Some(object)))
    }

    /// Replaces an object that is still at revision `expected`.
    ///
    /// # Errors
    /// [`WriteError::Missing`] and [`WriteError::Stale`].
    pub fn update(
        &self,
        resource: &ResourceKey,
        key: &ObjectKey,
        expected: u64,
        object: Value,
    ) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        Self::check(&mut inner, resource, key, expected)?;
        Ok(self.commit(&mut inner, resource, key, Some(object)))
    }

    /// Removes an object that is still at revision `expected`; gives its last state.
    ///
    /// # Errors
    /// [`WriteError::Missing`] and [`WriteError::Stale`].
    pub fn delete(
        &self,
        resource: &ResourceKey,
        key: &ObjectKey,
        expected: u64,
    ) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        Self::check(&mut inner, resource, key, expected)?;
        Ok(self.commit(&mut inner, resource, key, None))
    }

    /// A watcher of one resource that sees every change after revision `from`.
    pub fn watch(self: &Arc<Self>, resource: &ResourceKey, from: u64) -> Watcher {
        let news = self.inner.write().table(resource).subscribe();
        Watcher { store: Arc::clone(self), resource: resource.clone(), at: from, news }
    }

    /// Ends every watch of a resource, for when the resource is no longer served.
    pub fn end_watches(&self, resource: &ResourceKey) {
        let mut inner = self.inner.write();
        let revision = inner.revision;
        if let Some(table) = inner.tables.get_mut(resource) {
            table.forget_changes(revision);
        }
    }

    /// Waits until every write so far is on the disk. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.persister.as_ref().map_or(Ok(()), Persister::flush)
    }

    fn check(
        inner: &mut Inner,
        resource: &ResourceKey,
        key: &ObjectKey,
        expected: u64,
    ) -> Result<(), WriteError> {
        let current = inner.table(resource).get(key).ok_or(WriteError::Missing)?;
        if revision_of(current) == expected { Ok(()) } else { Err(WriteError::Stale) }
    }

    fn commit(
        &self,
        inner: &mut Inner,
        resource: &ResourceKey,
        key: &ObjectKey,
        object: Option<Value>,
    ) -> Arc<Value> {
        inner.revision += 1;
        let revision = inner.revision;
        let removed = object.is_none();
        let object = inner.table(resource).apply(key, object, revision, self.kept);
        if let Some(persister) = &self.persister {
            let kept = (!removed).then(|| Arc::clone(&object));
            persister.enqueue(resource, key, kept, revision);
        }
        object
    }

    fn changes(
        &self,
        resource: &ResourceKey,
        after: u64,
    ) -> Result<(Vec<Arc<Change>>, u64), Expired> {
        let inner = self.inner.read();
        let Some(table) = inner.tables.get(resource) else {
            return Ok((Vec::new(), inner.revision));
        };
        let changes = table.changes(after, BATCH)?;
        let at = match changes.last() {
            Some(last) if changes.len() == BATCH => last.revision,
            _ => inner.revision,
        };
        Ok((changes, at))
    }
}

/// Sees every change of one resource, in order. Holds no queue: it reads the store's kept
/// changes, and is [`Expired`] when it falls behind them.
pub struct Watcher {
    store: Arc<Store>,
    resource: ResourceKey,
    at: u64,
    news: watch::Receiver<u64>,
}

impl Watcher {
    /// The revision up to which everything has been handed out.
    pub fn revision(&self) -> u64 {
        self.at
    }

    /// Moves [`Watcher::revision`] to the store's newest when nothing is waiting, for a bookmark.
    ///
    /// # Errors
    /// [`Expired`] when changes were lost.
    pub fn poll(&mut self) -> Result<Vec<Arc<Change>>, Expired> {
        self.news.borrow_and_update();
        let (changes, at) = self.store.changes(&self.resource, self.at)?;
        self.at = at;
        Ok(changes)
    }

    /// The next changes; waits for at least one. Cancel-safe.
    ///
    /// # Errors
    /// [`Expired`] when changes were lost: the client lists again.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Expired> {
        loop {
            let changes = self.poll()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            if self.news.changed().await.is_err() {
                return Err(Expired);
            }
        }
    }
}

/// The `metadata.resourceVersion` of an object, 0 when it has none.
pub fn revision_of(object: &Value) -> u64 {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
