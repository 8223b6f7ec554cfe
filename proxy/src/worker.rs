//! Workers: threads with a runtime each, to which accepted connections are handed.
//!
//! A connection stays on its worker for life, so everything of it may be `!Send`. The worker with
//! the fewest connections gets the next one: two long connections never share one of four.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::LocalBoxFuture;
use mesh_rt::tasks::{self, Tasks};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

/// Connections that may wait for one worker to take them over.
const QUEUE: usize = 1024;

/// An accepted connection on its way to a worker.
pub struct Accepted {
    /// The socket, non-blocking.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// The name of the listener whose socket accepted it.
    pub listener: Arc<str>,
    /// True once that listener is to be drained.
    pub removed: watch::Receiver<bool>,
    /// Its place in the ledgers; counts until it is dropped.
    pub entry: Vec<Entry>,
}

/// How many there are of something, and how many there may be. Clones share both.
#[derive(Clone, Debug)]
pub struct Ledger {
    count: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

/// One of what a [`Ledger`] counts.
#[derive(Debug)]
pub struct Entry(Arc<AtomicUsize>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ledger {
    /// A ledger of at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { count: Arc::default(), limit: Arc::new(AtomicUsize::new(limit)) }
    }

    /// Changes how many there may be; those there are stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Release);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// One more; `None` when the limit is reached.
    pub fn enter(&self) -> Option<Entry> {
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        let entry = Entry(self.count.clone());
        (before < self.limit.load(Ordering::Acquire)).then_some(entry)
    }
}

/// What a worker does with a connection.
pub type Serve = Rc<dyn Fn(Accepted) -> LocalBoxFuture<'static, ()>>;

/// All workers. Clones share them.
#[derive(Clone)]
pub struct Workers {
    workers: Arc<[Worker]>,
    total: Ledger,
}

struct Worker {
    queue: mpsc::Sender<Accepted>,
    ledger: Ledger,
}

impl Workers {
    /// Starts `count` workers, which serve at most `limit` connections together. `make` is called
    /// on each worker's thread, inside its runtime, with the worker's number.
    ///
    /// # Errors
    /// When the operating system has no thread or descriptors to give.
    pub fn start(
        tasks: &Tasks,
        count: usize,
        limit: usize,
        make: impl Fn(usize) -> Serve + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let make = Arc::new(make);
        let start = |number| {
            let (queue, accepted) = mpsc::channel(QUEUE);
            let (tasks, make) = (tasks.clone(), make.clone());
            tasks::spawn_thread(format!("worker {number}"), move || {
                if let Err(reason) = run(&tasks, accepted, || make(number)) {
                    error!(number, "worker cannot start, shutting down: {reason}");
                    tasks.trigger().start();
                }
            })?;
            Ok(Worker { queue, ledger: Ledger::new(usize::MAX) })
        };
        let workers: io::Result<Vec<_>> = (0..count.max(1)).map(start).collect();
        Ok(Self { workers: workers?.into(), total: Ledger::new(limit) })
    }

    /// Hands a connection to the least loaded worker. It is dropped, and with that closed, when
    /// there are too many already; then the answer is false.
    pub fn hand(&self, mut accepted: Accepted) -> bool {
        let Some(total) = self.total.enter() else { return false };
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.ledger.count()) else {
            return false;
        };
        accepted.entry.push(total);
        accepted.entry.extend(worker.ledger.enter());
        worker.queue.try_send(accepted).is_ok()
    }

    /// Connections of each worker.
    pub fn loads(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.ledger.count()).collect()
    }
}

fn run(
    tasks: &Tasks,
    mut accepted: mpsc::Receiver<Accepted>,
    make: impl FnOnce() -> Serve,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let serve = make();
        loop {
            let next = tokio::select! {
                next = accepted.recv() => next,
                () = tasks.drain().stopped() => None,
            };
            let Some(connection) = next else { break };
            let _detached = tasks.spawn_local("connection", serve(connection));
        }
        // Connections end by themselves now that everything is stopped.
        for _turn in 0..2 {
            tokio::task::yield_now().await;
        }
    });
    Ok(())
}

/// How many connections the limit of open files allows, each with an upstream one. Raises the soft
/// limit to the hard one first.
pub fn connection_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// Descriptors for everything else.
    const RESERVED: u64 = 256;
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(reason) => {
            warn!("the limit of open files cannot be read: {reason}");
            (1024, 1024)
        }
    };
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let limit = if raised { hard } else { soft };
    usize::try_from(limit.saturating_sub(RESERVED) / 2).unwrap_or(usize::MAX).max(64)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn pair(workers: &Workers, listener: &TcpListener) -> (TcpStream, bool) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (_keep, removed) = watch::channel(false);
        let accepted = Accepted { stream, peer, listener: "l".into(), removed, entry: Vec::new() };
        (client, workers.hand(accepted))
    }

    #[test]
    fn connections_spread_and_the_surplus_is_closed() {
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        // Holds each connection until the other end closes it.
        let hold = |_number| -> Serve {
            Rc::new(|accepted: Accepted| {
                Box::pin(async move {
                    let stream = tokio::net::TcpStream::from_std(accepted.stream).unwrap();
                    let _closed = stream.readable().await;
                    drop(accepted.entry);
                })
            })
        };
        let workers = Workers::start(&tasks, 4, 8, hold).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut clients = Vec::new();
        for _ in 0..8 {
            let (client, taken) = pair(&workers, &listener);
            assert!(taken);
            clients.push(client);
        }
        assert_eq!(workers.loads(), [2, 2, 2, 2]);
        let (mut surplus, taken) = pair(&workers, &listener);
        assert!(!taken);
        assert_eq!(surplus.read(&mut [0]).unwrap(), 0, "closed");
        clients.clear();
        mesh_test::eventually("all are gone", Duration::from_secs(10), || {
            let loads = workers.loads();
            if loads.iter().sum::<usize>() == 0 { Ok(()) } else { Err(format!("{loads:?}")) }
        });
        trigger.force();
    }

    #[test]
    fn the_limit_leaves_room() {
        assert!(connection_limit() >= 64);
    }
}
