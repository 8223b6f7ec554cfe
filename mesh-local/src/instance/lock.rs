//! The lock that a running server holds on its data directory. The kernel lets go of it when
//! the server ends, however it ends, so it never lies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Paths;

/// How long to wait between looks at a lock that should become free.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The held lock; dropping it lets go.
#[derive(Debug)]
pub struct Held {
    _file: Flock<File>,
}

/// Takes the lock, or says (`None`) that a server holds it.
pub fn try_acquire(paths: &Paths) -> io::Result<Option<Held>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(paths.lock())?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Held { _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Whether a server runs on this data directory.
pub fn is_held(paths: &Paths) -> io::Result<bool> {
    if !paths.lock().exists() {
        return Ok(false);
    }
    Ok(try_acquire(paths)?.is_none())
}

/// Waits until no server runs; false if one still does after `patience`.
pub fn wait_until_free(paths: &Paths, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    while is_held(paths)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert!(!is_held(&paths).unwrap());
        let held = try_acquire(&paths).unwrap().expect("free");
        assert!(is_held(&paths).unwrap());
        assert!(try_acquire(&paths).unwrap().is_none());
        drop(held);
        assert!(wait_until_free(&paths, Duration::ZERO).unwrap());
    }
}
