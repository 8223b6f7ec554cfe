//! Reading a log: the whole, its tail, from a time on, or along as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::kubelet::log::line::{MAX_TEXT, parse};
use crate::kubelet::log::{LogKey, LogStore, Tip};

/// Which part of a log, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on until the run is over.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// With the time before each line.
    pub timestamps: bool,
    /// No more than this many bytes.
    pub limit_bytes: Option<u64>,
}

/// Opens the log of a run.
pub async fn open(
    store: &Arc<LogStore>,
    key: &LogKey,
    options: Options,
) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let path = store.path(key);
    let tip = store.tip(key);
    let reader = blocking(move || Reader::open(&path, tip, options)).await?;
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        loop {
            // Looked at before reading, so that nothing written meanwhile is missed.
            let seen = reader.tip.as_mut().map(|tip| *tip.borrow_and_update());
            let (back, piece) = blocking(move || {
                let piece = reader.piece()?;
                Ok((reader, piece))
            })
            .await?;
            reader = back;
            if !piece.is_empty() {
                return Ok(Some((piece, reader)));
            }
            if reader.is_full() {
                return Ok(None);
            }
            match (reader.advance(seen)?, &mut reader.tip) {
                (Next::Read, _) => {}
                (Next::Wait, Some(tip)) => {
                    if tip.changed().await.is_err() {
                        return Ok(None);
                    }
                }
                (Next::Wait, None) | (Next::End, _) => return Ok(None),
            }
        }
    });
    Ok(pieces.boxed())
}

/// Bytes handed out at once, about.
const PIECE: usize = 64 * 1024;

/// What to do at the end of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There is more already.
    Read,
    /// There may be more later.
    Wait,
    /// That was all.
    End,
}

/// A log being read. All its methods may block on the disk.
#[derive(Debug)]
struct Reader {
    path: PathBuf,
    /// Files yet to be read, the one being read last.
    files: Vec<BufReader<File>>,
    tip: Option<watch::Receiver<Tip>>,
    rotations: u32,
    options: Options,
    skip: u64,
    left: u64,
    /// A line whose end has not been written yet.
    partial: Vec<u8>,
    /// The next text starts a line.
    at_start: bool,
}

impl Reader {
    fn open(path: &Path, tip: Option<watch::Receiver<Tip>>, options: Options) -> io::Result<Self> {
        let (rotations, current) = open_current(path, tip.as_ref())?;
        let mut old = path.as_os_str().to_owned();
        old.push(".1");
        let mut files = vec![BufReader::new(current)];
        if let Ok(old) = File::open(Path::new(&old)) {
            files.push(BufReader::new(old));
        }
        let mut reader = Self {
            path: path.to_owned(),
            files,
            tip,
            rotations,
            options,
            skip: 0,
            left: options.limit_bytes.unwrap_or(u64::MAX),
            partial: Vec::new(),
            at_start: true,
        };
        if let Some(tail) = options.tail_lines {
            let total = reader.count()?;
            reader.skip = total.saturating_sub(tail);
        }
        Ok(reader)
    }

    /// Counts the lines there are, and goes back to the beginning.
    fn count(&mut self) -> io::Result<u64> {
        let mut total = 0;
        let mut line = Vec::new();
        let mut open_line = false;
        for file in self.files.iter_mut().rev() {
            loop {
                line.clear();
                if file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                if let Some(found) = parse(trim(&line)) {
                    total += u64::from(found.is_whole);
                    open_line = !found.is_whole;
                }
            }
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(total + u64::from(open_line))
    }

    /// The next piece of text; empty at the end of what is written.
    fn piece(&mut self) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < PIECE && !self.is_full() {
            let Some(file) = self.files.last_mut() else { break };
            let room = MAX_LINE.saturating_sub(self.partial.len() as u64);
            let read = file.by_ref().take(room).read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') || room == 0 {
                let line = std::mem::take(&mut self.partial);
                self.show(trim(&line), &mut out);
            } else if read == 0 {
                if self.files.len() == 1 {
                    break;
                }
                self.files.pop();
            }
        }
        if (out.len() as u64) > self.left {
            out.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left -= out.len() as u64;
        Ok(out.freeze())
    }

    fn show(&mut self, line: &[u8], out: &mut BytesMut) {
        let Some(line) = parse(line) else { return };
        if self.skip > 0 {
            self.skip -= u64::from(line.is_whole);
            return;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        if self.options.timestamps && self.at_start {
            out.put_slice(line.time.as_bytes());
            out.put_u8(b' ');
        }
        out.put_slice(line.text);
        if line.is_whole {
            out.put_u8(b'\n');
        }
        self.at_start = line.is_whole;
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Called at the end of what is written, with the tip as it was before reading. Moves on to
    /// the new file after a rotation.
    fn advance(&mut self, seen: Option<Tip>) -> io::Result<Next> {
        let Some(seen) = seen.filter(|_| self.options.follow) else { return Ok(Next::End) };
        if seen.rotations != self.rotations {
            let (rotations, current) = open_current(&self.path, self.tip.as_ref())?;
            self.files = vec![BufReader::new(current)];
            self.rotations = rotations;
            return Ok(Next::Read);
        }
        Ok(if seen.closed { Next::End } else { Next::Wait })
    }
}

/// Opens the file that is written now, with the number of its rotation.
fn open_current(path: &Path, tip: Option<&watch::Receiver<Tip>>) -> io::Result<(u32, File)> {
    let rotations = || tip.map_or(0, |tip| tip.borrow().rotations);
    loop {
        let before = rotations();
        let file = File::open(path)?;
        if rotations() == before {
            return Ok((before, file));
        }
    }
}

/// A line of a log file: its text and what stands before it.
const MAX_LINE: u64 = MAX_TEXT as u64 + 256;

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Runs disk work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
