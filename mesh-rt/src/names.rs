//! A counted set of names that somebody holds: what readiness waits for and what drain waits for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// A name given to a holder: static where possible.
pub(crate) type Name = Cow<'static, str>;

/// Names held now, each with how many hold it.
#[derive(Clone, Debug)]
pub(crate) struct HeldNames {
    held: Arc<watch::Sender<BTreeMap<Name, usize>>>,
}

impl HeldNames {
    pub(crate) fn new() -> Self {
        Self { held: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    pub(crate) fn hold(&self, name: impl Into<Name>) -> HeldName {
        let name = name.into();
        self.held.send_modify(|held| *held.entry(name.clone()).or_default() += 1);
        HeldName { name, set: self.clone() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.borrow().is_empty()
    }

    /// The names in order, `name ×3` when held more than once.
    pub(crate) fn list(&self) -> Vec<String> {
        let held = self.held.borrow();
        held.iter()
            .map(|(name, count)| match count {
                1 => name.to_string(),
                many => format!("{name} ×{many}"),
            })
            .collect()
    }

    pub(crate) async fn wait_empty(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let mut held = self.held.subscribe();
        let _empty = held.wait_for(BTreeMap::is_empty).await;
    }
}

/// Holds one name until dropped.
#[derive(Debug)]
pub(crate) struct HeldName {
    name: Name,
    set: HeldNames,
}

impl Drop for HeldName {
    fn drop(&mut self) {
        // Waiters only care about the last one; waking them for each would be a herd.
        self.set.held.send_if_modified(|held| {
            if let Some(count) = held.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&self.name);
                }
            }
            held.is_empty()
        });
    }
}
