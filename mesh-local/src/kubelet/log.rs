//! Container logs: lines in the format of the container runtime interface, one file per run,
//! bounded by rotation, readable while they grow.

pub mod line;
pub mod reader;
pub mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogKey {
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// The run: the container's restart count when it started.
    pub run: u32,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Bytes written in all, so that every write is a change.
    pub written: u64,
    /// How often the file has been rotated.
    pub rotations: u32,
    /// The run is over and all of it is in the file.
    pub closed: bool,
}

/// Size at which a log file is rotated; one older file is kept.
pub const ROTATE_BYTES: u64 = 10 << 20;

/// The logs of a node.
#[derive(Debug)]
pub struct LogStore {
    dir: PathBuf,
    growing: Mutex<HashMap<LogKey, watch::Receiver<Tip>>>,
}

impl LogStore {
    /// Logs below `dir`.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { dir, growing: Mutex::default() })
    }

    /// The file of a run; the one before the last rotation has `.1` appended.
    pub fn path(&self, key: &LogKey) -> PathBuf {
        self.container_dir(&key.pod_uid, &key.container).join(format!("{}.log", key.run))
    }

    /// The latest run of a container that has a log.
    pub fn latest_run(&self, pod_uid: &str, container: &str) -> Option<u32> {
        runs(&self.container_dir(pod_uid, container)).max()
    }

    /// The run before the latest.
    pub fn previous_run(&self, pod_uid: &str, container: &str) -> Option<u32> {
        let latest = self.latest_run(pod_uid, container)?;
        runs(&self.container_dir(pod_uid, container)).filter(|run| *run < latest).max()
    }

    /// Forgets all but the last two runs of a container.
    pub fn prune(&self, pod_uid: &str, container: &str) {
        let dir = self.container_dir(pod_uid, container);
        let mut old: Vec<u32> = runs(&dir).collect();
        old.sort_unstable();
        old.truncate(old.len().saturating_sub(2));
        for run in old {
            for suffix in ["log", "log.1"] {
                // What is gone already is gone.
                let _ = std::fs::remove_file(dir.join(format!("{run}.{suffix}")));
            }
        }
    }

    /// Removes the logs of a pod.
    pub fn remove_pod(&self, pod_uid: &str) {
        self.growing.lock().retain(|key, _| key.pod_uid != pod_uid);
        let _ = std::fs::remove_dir_all(self.dir.join(pod_uid));
    }

    /// Removes the logs of all pods but these.
    pub fn keep_pods(&self, pod_uids: &[String]) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let known = |name: &str| pod_uids.iter().any(|uid| uid == name);
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            if !known(&name) {
                self.remove_pod(&name);
            }
        }
    }

    /// The progress of a run that this server writes; `None` for a log of an earlier server.
    fn tip(&self, key: &LogKey) -> Option<watch::Receiver<Tip>> {
        self.growing.lock().get(key).cloned()
    }

    fn begin(&self, key: &LogKey, tip: watch::Receiver<Tip>) {
        self.growing.lock().insert(key.clone(), tip);
    }

    fn container_dir(&self, pod_uid: &str, container: &str) -> PathBuf {
        self.dir.join(pod_uid).join(container)
    }
}

fn runs(dir: &Path) -> impl Iterator<Item = u32> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
}

#[cfg(test)]
mod tests;
