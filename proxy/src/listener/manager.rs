//! Bound listeners follow the snapshot: new ones are bound, changed ones bound again, removed ones
//! drained. Changes that do not touch a socket need nothing: connections read the snapshot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_rt::net::{ListenOptions, SocketSource};
use mesh_rt::tasks::{TaskHandle, Tasks};
use proxy_model::listener::Listener;
use proxy_model::snapshot::Snapshot;
use tokio::sync::watch;
use tracing::{info, warn};

use super::accept::Acceptor;
use crate::worker::{Ledger, Workers};

/// How long until a listener that could not be bound is tried again.
pub const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The listeners that are bound.
pub struct Manager {
    sockets: SocketSource,
    workers: Workers,
    tasks: Tasks,
    bound: HashMap<Arc<str>, Bound>,
    addresses: watch::Sender<Addresses>,
}

/// Where each listener listens.
pub type Addresses = HashMap<Arc<str>, Vec<SocketAddr>>;

struct Bound {
    socket_hash: u64,
    ledger: Ledger,
    addresses: Vec<SocketAddr>,
    removed: watch::Sender<bool>,
    accepting: Vec<TaskHandle<()>>,
}

/// A listener that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: {reason}")]
pub struct BindError {
    /// The listener.
    pub listener: Arc<str>,
    /// Why, with a remedy where there is a usual one.
    pub reason: String,
}

impl Manager {
    /// Nothing is bound yet.
    pub fn new(sockets: SocketSource, workers: Workers, tasks: Tasks) -> Self {
        let (bound, addresses) = (HashMap::new(), watch::Sender::default());
        Self { sockets, workers, tasks, bound, addresses }
    }

    /// Makes the bound listeners those of `snapshot`. What could not be bound is told, and does
    /// not hinder the rest; calling again tries again.
    pub async fn apply(&mut self, snapshot: &Snapshot) -> Vec<BindError> {
        let wanted: HashMap<&Arc<str>, &Arc<Listener>> =
            snapshot.bound_listeners().map(|listener| (&listener.name, listener)).collect();
        let stale = |name: &Arc<str>, bound: &Bound| {
            wanted.get(name).is_none_or(|wanted| wanted.socket_hash != bound.socket_hash)
        };
        let removed: Vec<(Arc<str>, Bound)> =
            self.bound.extract_if(|name, bound| stale(name, bound)).collect();
        for (name, bound) in removed {
            // Where ports can be shared, the next socket listens before the last one closes; the
            // others are bound below.
            let shares = wanted.get(&name).filter(|listener| listener.reuse_port);
            if let Some(next) = shares.and_then(|listener| self.bind(listener).ok()) {
                info!(listener = %name, addresses = ?next.addresses, "listening anew");
                self.bound.insert(name, next);
            }
            info!(addresses = ?bound.addresses, "listener removed: draining");
            bound.close().await;
        }
        let mut failures = Vec::new();
        for (name, listener) in wanted {
            let limit = limit(listener);
            if let Some(bound) = self.bound.get_mut(name) {
                bound.ledger.set_limit(limit);
                continue;
            }
            match self.bind(listener) {
                Ok(bound) => {
                    info!(listener = %name, addresses = ?bound.addresses, "listening");
                    self.bound.insert(name.clone(), bound);
                }
                Err(reason) => failures.push(BindError { listener: name.clone(), reason }),
            }
        }
        let now = self.addresses();
        self.addresses.send_if_modified(|addresses| {
            let changed = *addresses != now;
            *addresses = now;
            changed
        });
        failures
    }

    /// Follows snapshots until everything has stopped: `load` gives what is in force, nothing before
    /// there is a configuration; `changes` tells that it is another. `first` is dropped once all
    /// listeners of a snapshot are bound.
    pub async fn follow(
        mut self,
        load: impl Fn() -> Option<Arc<Snapshot>>,
        mut changes: watch::Receiver<u64>,
        first: impl Sized,
    ) {
        let mut first = Some(first);
        loop {
            changes.borrow_and_update();
            let failures = match load() {
                Some(snapshot) => {
                    let failures = self.apply(&snapshot).await;
                    if failures.is_empty() {
                        first.take();
                    }
                    failures
                }
                None => Vec::new(),
            };
            for failure in &failures {
                warn!("{failure}");
            }
            let again = async {
                match failures.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(TRY_AGAIN).await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Where each listener listens.
    pub fn addresses(&self) -> Addresses {
        let pair = |(name, bound): (&Arc<str>, &Bound)| (name.clone(), bound.addresses.clone());
        self.bound.iter().map(pair).collect()
    }

    /// Tells where each listener listens, now and after every change.
    pub fn watch(&self) -> watch::Receiver<Addresses> {
        self.addresses.subscribe()
    }

    fn bind(&self, listener: &Listener) -> Result<Bound, String> {
        if listener.transparent || listener.freebind {
            return Err("transparent, freebind: such sockets are not made here".to_owned());
        }
        let backlog = listener.tcp_backlog.and_then(|backlog| i32::try_from(backlog).ok());
        let mut options = ListenOptions::default();
        options.backlog = backlog.unwrap_or(options.backlog);
        options.reuse_port = listener.reuse_port;
        // One socket of both families where IPv6's unspecified address stands alone.
        options.only_v6 = listener.addresses().any(|address| address.is_ipv4());
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for address in listener.addresses() {
            let socket = self.sockets.listen(address, options).map_err(|e| e.to_string())?;
            addresses.push(socket.local_addr().map_err(|error| error.to_string())?);
            sockets.push(socket);
        }
        let (removed, watching) = watch::channel(false);
        let ledger = Ledger::new(limit(listener));
        let accept = |socket| {
            let acceptor = Acceptor {
                name: listener.name.clone(),
                workers: self.workers.clone(),
                ledger: ledger.clone(),
                removed: watching.clone(),
            };
            self.tasks.spawn_background(format!("accept {}", listener.name), acceptor.run(socket))
        };
        let accepting = sockets.into_iter().map(accept).collect();
        let socket_hash = listener.socket_hash;
        Ok(Bound { socket_hash, ledger, addresses, removed, accepting })
    }
}

impl Bound {
    /// Stops accepting, and tells connections to come to an end. Returns when the port is free.
    async fn close(self) {
        self.removed.send_replace(true);
        for accepting in self.accepting {
            // However it ended, its socket is closed.
            let _ended = accepting.await;
        }
    }
}

fn limit(listener: &Listener) -> usize {
    let limit = listener.connection_limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.unwrap_or(usize::MAX)
}
