//! Stopping a running server.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Paths, State, lock};

/// How long a server may take to end after it was killed.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// None was running.
    WasNotRunning,
    /// It ended when asked.
    Gracefully,
    /// It did not end in time and was killed; nothing of it is left, since pods die with it.
    Killed,
}

/// Why a server could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The data directory cannot be read.
    #[error("cannot look at the cluster's files: {0}")]
    Files(#[from] io::Error),
    /// A server holds the lock but never said who it is.
    #[error("a server holds {lock} but wrote no state; it is still starting: try again")]
    Unknown {
        /// The lock file.
        lock: String,
    },
    /// The signal was refused.
    #[error("cannot signal the server (process {pid}): {errno}; it may belong to another user")]
    Signal {
        /// The server.
        pid: i32,
        /// Why not.
        errno: Errno,
    },
    /// It still runs.
    #[error("the server (process {0}) does not end")]
    Stuck(i32),
}

/// Asks the server to end, and kills it if it has not after `patience`.
pub fn stop(paths: &Paths, patience: Duration) -> Result<Stopped, StopError> {
    if !lock::is_held(paths)? {
        return Ok(Stopped::WasNotRunning);
    }
    let Some(state) = State::last(paths)? else {
        return Err(StopError::Unknown { lock: paths.lock().display().to_string() });
    };
    signal(state.pid, Signal::SIGTERM)?;
    if lock::wait_until_free(paths, patience)? {
        return Ok(Stopped::Gracefully);
    }
    signal(state.pid, Signal::SIGKILL)?;
    if lock::wait_until_free(paths, AFTER_KILL)? {
        return Ok(Stopped::Killed);
    }
    Err(StopError::Stuck(state.pid))
}

/// Deletes the data of a cluster that does not run; says whether there were any. A directory
/// that holds no cluster of ours is an error, and is left alone.
pub fn purge(paths: &Paths) -> io::Result<bool> {
    if !paths.root().exists() {
        return Ok(false);
    }
    if !paths.lock().exists() {
        let text = format!("{} holds no local cluster", paths.root().display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    std::fs::remove_dir_all(paths.root()).map(|()| true)
}

fn signal(pid: i32, signal: Signal) -> Result<(), StopError> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(StopError::Signal { pid, errno }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_stop_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let stopped = stop(&Paths::new(dir.path()), Duration::ZERO).unwrap();
        assert_eq!(stopped, Stopped::WasNotRunning);
    }

    #[test]
    fn only_a_cluster_s_data_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("cluster"));
        assert!(!purge(&paths).unwrap());
        paths.create().unwrap();
        let error = purge(&paths).unwrap_err().to_string();
        assert!(error.contains("holds no local cluster"), "{error}");
        drop(lock::try_acquire(&paths).unwrap());
        assert!(purge(&paths).unwrap());
        assert!(!paths.root().exists());
    }

    #[test]
    fn a_server_without_a_state_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        let _held = lock::try_acquire(&paths).unwrap().unwrap();
        let error = stop(&paths, Duration::ZERO).unwrap_err();
        assert!(matches!(error, StopError::Unknown { .. }));
    }
}
