//! What the stream to pilot brought, for dumps, and how the stream does, for statistics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mesh_api::type_url::TypeUrl;
use proxy_model::stage::{PackedResource, Stage};
use tokio::time::Instant;

/// Accepted resources as they came.
#[derive(Clone, Debug)]
pub struct Held {
    /// By place in [`Stage::TYPES`], each in the order of names.
    by_type: Vec<Vec<PackedResource>>,
    /// What `last_updated` counts from.
    pub epoch: Instant,
}

impl Default for Held {
    fn default() -> Self {
        Self { by_type: Vec::new(), epoch: Instant::now() }
    }
}

impl Held {
    /// All resources of a stage whose clock began at `epoch`.
    pub fn of(stage: &Stage, epoch: Instant) -> Self {
        Self { by_type: Stage::TYPES.iter().map(|ty| stage.packed(ty)).collect(), epoch }
    }

    /// The resources of a type, in the order of their names.
    pub fn of_type(&self, type_url: &TypeUrl) -> &[PackedResource] {
        self.by_type.get(Stage::place(type_url)).map_or(&[], Vec::as_slice)
    }
}

/// How the stream to pilot does.
#[derive(Debug, Default)]
pub struct SyncStats {
    connected: AtomicBool,
    connections: AtomicU64,
    failures: AtomicU64,
    by_type: [Updates; Stage::TYPES.len()],
}

/// Responses of one type.
#[derive(Debug, Default)]
pub struct Updates {
    /// Responses that were accepted as a whole.
    pub accepted: AtomicU64,
    /// Responses with something that was rejected.
    pub rejected: AtomicU64,
}

impl SyncStats {
    /// A stream is open.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }

    /// No stream is open.
    pub fn disconnected(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.connected.store(false, Ordering::Relaxed);
    }

    /// A response came.
    pub fn received(&self, type_url: &TypeUrl, rejected: bool) {
        let Some(updates) = self.by_type.get(Stage::place(type_url)) else { return };
        let counter = if rejected { &updates.rejected } else { &updates.accepted };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a stream is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Streams that were opened, and that ended or could not be opened.
    pub fn streams(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Responses of a type: accepted, rejected.
    pub fn updates(&self, type_url: &TypeUrl) -> (u64, u64) {
        let updates = self.by_type.get(Stage::place(type_url));
        updates.map_or((0, 0), |updates| {
            (updates.accepted.load(Ordering::Relaxed), updates.rejected.load(Ordering::Relaxed))
        })
    }
}
