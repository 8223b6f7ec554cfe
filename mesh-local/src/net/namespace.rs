//! A network namespace kept by a file descriptor, and work done inside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

/// A network namespace. It exists as long as a clone of this value, a process or a socket is in
/// it; there is no name under `/run/netns`.
#[derive(Clone, Debug)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes a new, empty network namespace (only `lo`, down).
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`; `ENOSPC` over `user.max_net_namespaces`.
    pub async fn create() -> io::Result<Self> {
        on_thread("netns-create", || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })
        .await
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self::from_fd(File::open("/proc/thread-self/ns/net")?.into()))
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Ok(Self::from_fd(File::open(format!("/proc/{pid}/ns/net"))?.into()))
    }

    /// The namespace an open `ns/net` file stands for.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    /// Runs `work` inside the namespace, on a thread made for it: the thread ends with the work
    /// and never serves another namespace. Child processes started by `work` live in the
    /// namespace too.
    ///
    /// # Errors
    /// Those of `work`; those of entering the namespace.
    pub async fn run<T, F>(&self, name: &str, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let namespace = self.clone();
        on_thread(name, move || {
            namespace.enter()?;
            work()
        })
        .await
    }

    /// Moves the calling thread into the namespace for good.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN` over the namespace.
    pub(crate) fn enter(&self) -> io::Result<()> {
        setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `work` on a thread of its own, which ends with it.
pub(crate) async fn on_thread<T, F>(name: &str, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (answer, outcome) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The caller may have given up waiting; the work is done all the same.
        let _ = answer.send(work());
    })?;
    outcome.await.map_err(|_| io::Error::other("the thread doing the work ended early"))?
}
