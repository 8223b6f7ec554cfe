//! Writing a container's output to its log, with rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use crate::kubelet::command::Tap;
use crate::kubelet::log::line::{Splitter, Stream};
use crate::kubelet::log::{LogKey, LogStore, Tip};

/// The log of a run, open for writing. Dropping it closes the log for its readers.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    rotate_at: u64,
    tip: watch::Sender<Tip>,
}

impl LogWriter {
    /// Begins the log of a run, rotated at `rotate_at` bytes.
    pub fn create(store: &Arc<LogStore>, key: &LogKey, rotate_at: u64) -> io::Result<Self> {
        let path = store.path(key);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = open(&path)?;
        let (tip, receiver) = watch::channel(Tip::default());
        store.begin(key, receiver);
        Ok(Self { size: file.metadata()?.len(), path, file, rotate_at, tip })
    }

    /// Copies both streams until both have ended, and lets `tap` see them. What cannot be written (a full disk) is lost,
    /// the container goes on.
    pub async fn pump(
        mut self,
        stdout: impl AsyncRead + Unpin,
        stderr: impl AsyncRead + Unpin,
        tap: &Tap,
        clock: fn() -> Timestamp,
    ) {
        let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
        let mut out_lines = Splitter::new(Stream::Stdout);
        let mut err_lines = Splitter::new(Stream::Stderr);
        let (mut out_chunk, mut err_chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut text = Vec::new();
        while stdout.is_some() || stderr.is_some() {
            tokio::select! {
                read = read_some(&mut stdout, &mut out_chunk) => match read {
                    Some(count) => {
                        tap.send(Stream::Stdout, &out_chunk[..count]);
                        out_lines.push(&out_chunk[..count], clock(), &mut text);
                    }
                    None => {
                        stdout = None;
                        out_lines.finish(clock(), &mut text);
                    }
                },
                read = read_some(&mut stderr, &mut err_chunk) => match read {
                    Some(count) => {
                        tap.send(Stream::Stderr, &err_chunk[..count]);
                        err_lines.push(&err_chunk[..count], clock(), &mut text);
                    }
                    None => {
                        stderr = None;
                        err_lines.finish(clock(), &mut text);
                    }
                },
            }
            if let Err(err) = self.append(&text) {
                tracing::warn!(%err, path = %self.path.display(), "container log lost");
            }
            text.clear();
        }
    }

    /// Appends whole lines.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + lines.len() as u64 > self.rotate_at {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            // Said before the new file exists: a reader that opens it knows which one it has.
            self.tip.send_modify(|tip| tip.rotations += 1);
            self.file = open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        self.tip.send_modify(|tip| tip.written += lines.len() as u64);
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.tip.send_modify(|tip| tip.closed = true);
    }
}

/// Bytes read from a pipe at once.
const CHUNK: usize = 16 * 1024;

/// Reads from a stream that is still open; `None` at its end. Waits for ever on a closed one.
async fn read_some(stream: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> Option<usize> {
    match stream {
        Some(stream) => stream.read(chunk).await.ok().filter(|count| *count > 0),
        None => std::future::pending().await,
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
