//! A pseudo-terminal of the host whose far end becomes a process's controlling terminal.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::{Uid, fchown};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::net::unix::pipe;

use crate::node_api::TerminalSize;

/// The near end. Clones share the terminal.
#[derive(Clone, Debug)]
pub struct Terminal {
    near: Arc<OwnedFd>,
    path: PathBuf,
}

impl Terminal {
    /// A new terminal whose far end belongs to `uid`, where that can be given, and the far end
    /// itself: while it is held, what was written before the end of the process can be read.
    ///
    /// # Errors
    /// When the machine has no terminal left.
    pub fn open(uid: u32) -> io::Result<(Self, OwnedFd)> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let near = posix_openpt(flags)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let path = PathBuf::from(ptsname_r(&near)?);
        let far: File = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits())
            .open(&path)?;
        // An id that is not mapped cannot own it; it is open to the process all the same.
        let _ = fchown(&far, Some(Uid::from_raw(uid)), None);
        Ok((Self { near: Arc::new(near.into()), path }, far.into()))
    }

    /// The far end, as the host names it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what the process writes. When no process has the far end, that is an error (`EIO`).
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn reader(&self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_file_unchecked(self.near.try_clone()?.into())
    }

    /// Writes what the process reads.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn writer(&self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_file_unchecked(self.near.try_clone()?.into())
    }

    /// Tells the process how large the client's window is.
    pub fn resize(&self, size: TerminalSize) {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        // A process that has ended has no window.
        let _ = tcsetwinsize(&*self.near, size);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn both_ends_and_the_size() {
        let (terminal, far) = Terminal::open(nix::unistd::getuid().as_raw()).unwrap();
        let (mut near, mut keys) = (terminal.reader().unwrap(), terminal.writer().unwrap());
        terminal.resize(TerminalSize { width: 101, height: 31 });
        let size = rustix::termios::tcgetwinsize(&far).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (101, 31));
        nix::unistd::write(&far, b"out\n").unwrap();
        let mut text = [0; 5];
        near.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"out\r\n", "a terminal, not a pipe");
        keys.write_all(b"in\n").await.unwrap();
        let mut echo = [0; 4];
        near.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"in\r\n");
        let mut line = [0; 8];
        assert_eq!(nix::unistd::read(&far, &mut line), Ok(3));
        drop(far);
        near.read(&mut line).await.unwrap_err();
    }
}
