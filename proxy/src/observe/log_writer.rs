//! Access log lines on their way out: a bounded queue from the workers, and one thread that writes
//! what has come together. A full queue loses lines, and counts them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_rt::tasks::{Tasks, spawn_thread};
use proxy_model::access_log::Sink;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

/// Lines that wait to be written.
const QUEUE: usize = 8192;
/// Lines that are written at a time.
const BATCH: usize = 1024;
/// How long lines come together before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// How often the end of everything else is looked for, once the process drains.
const LOOK: Duration = Duration::from_millis(20);
/// Files that are open at a time.
const FILES: usize = 64;
const GUARD: &str = "access log";

/// Where lines go in. Cloning gives another handle to the same queue.
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

enum Message {
    Line(Sink, Box<str>),
    Reopen,
    Flush(oneshot::Sender<()>),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Line(..) => "Line",
            Self::Reopen => "Reopen",
            Self::Flush(_) => "Flush",
        })
    }
}

/// Opens what a sink names. Tests bring their own.
pub type Open = Box<dyn FnMut(&Sink) -> io::Result<Box<dyn Write + Send>> + Send>;

impl LogWriter {
    /// Starts to write to standard output, standard error and files. At the end of the process it
    /// waits until everything else is done, and writes what is left.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start(tasks: &Tasks) -> io::Result<Self> {
        let writer = Self::with(Box::new(open))?;
        let guard = tasks.drain().guard(GUARD);
        let (drain, last) = (tasks.drain().clone(), writer.clone());
        let _detached = tasks.spawn_background("access log", async move {
            drain.draining().await;
            let alone = async {
                while drain.held() != [GUARD] {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = alone => {}
                // Connections that are cut off now get their lines too.
                () = drain.stopped() => tokio::time::sleep(LOOK).await,
            }
            last.flush().await;
            drop(guard);
        });
        Ok(writer)
    }

    /// Starts to write to what `open` opens.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn with(open: Open) -> io::Result<Self> {
        let (queue, lines) = mpsc::channel(QUEUE);
        let written = Arc::<AtomicU64>::default();
        let count = Arc::clone(&written);
        spawn_thread("access log", move || run(lines, open, &count))?;
        Ok(Self { queue, lost: Arc::default(), written })
    }

    /// Queues a line. Never waits.
    pub fn write(&self, sink: &Sink, line: &str) {
        if self.queue.try_send(Message::Line(sink.clone(), line.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ready when everything queued before is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error means that the writer is gone, and with it everything it had.
            let _gone = written.await;
        }
    }

    /// Opens files anew with their next line, as log rotation wants it.
    pub async fn reopen(&self) {
        // An error means that the writer is gone.
        let _gone = self.queue.send(Message::Reopen).await;
    }

    /// Lines that were lost because the queue was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

fn run(mut lines: mpsc::Receiver<Message>, open: Open, written: &AtomicU64) {
    let mut sinks = Sinks { open, held: HashMap::new() };
    let mut batch = Vec::with_capacity(BATCH);
    let mut gathered: HashMap<Sink, String> = HashMap::new();
    while lines.blocking_recv_many(&mut batch, BATCH) > 0 {
        let full = batch.len() == BATCH;
        let mut flushed = Vec::new();
        for message in batch.drain(..) {
            match message {
                Message::Line(sink, line) => {
                    gathered.entry(sink).or_default().push_str(&line);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Message::Reopen => {
                    sinks.write_all(&mut gathered);
                    sinks.held.clear();
                }
                Message::Flush(done) => flushed.push(done),
            }
        }
        sinks.write_all(&mut gathered);
        let waits = flushed.is_empty() && !full;
        for done in flushed {
            // Who asked may have gone.
            let _gone = done.send(());
        }
        if waits {
            std::thread::sleep(GATHER);
        }
    }
}

struct Sinks {
    open: Open,
    held: HashMap<Sink, Box<dyn Write + Send>>,
}

impl Sinks {
    fn write_all(&mut self, gathered: &mut HashMap<Sink, String>) {
        for (sink, text) in gathered.drain().filter(|(_, text)| !text.is_empty()) {
            if let Err(reason) = self.write(&sink, &text) {
                warn!(?sink, "access log: {reason}");
                self.held.remove(&sink);
            }
        }
    }

    fn write(&mut self, sink: &Sink, text: &str) -> io::Result<()> {
        if !self.held.contains_key(sink) {
            if self.held.len() >= FILES {
                self.held.clear();
            }
            let opened = (self.open)(sink)?;
            self.held.insert(sink.clone(), opened);
        }
        let Some(out) = self.held.get_mut(sink) else { return Ok(()) };
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

fn open(sink: &Sink) -> io::Result<Box<dyn Write + Send>> {
    Ok(match sink {
        Sink::Stdout => Box::new(io::stdout()),
        Sink::Stderr => Box::new(io::stderr()),
        Sink::File(path) => Box::new(file(path)?),
    })
}

fn file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_come_out_in_order_and_a_full_queue_counts_what_it_loses() {
        let kept = Kept::default();
        let (entered, at_gate) = std::sync::mpsc::channel();
        let (let_go, gate) = std::sync::mpsc::channel::<()>();
        let opened = kept.clone();
        let writer = LogWriter::with(Box::new(move |_| {
            entered.send(()).unwrap();
            gate.recv().unwrap();
            Ok(Box::new(opened.clone()))
        }))
        .unwrap();
        writer.write(&Sink::Stdout, "first\n");
        at_gate.recv().unwrap();
        for number in 0..QUEUE + 5 {
            writer.write(&Sink::Stdout, &format!("{number}\n"));
        }
        assert_eq!(writer.lost(), 5);
        let_go.send(()).unwrap();
        writer.flush().await;
        let text = String::from_utf8(kept.0.lock().clone()).unwrap();
        assert!(text.starts_with("first\n0\n1\n"), "{}", &text[..20]);
        assert_eq!(text.lines().count(), QUEUE + 1);
        assert_eq!(writer.written(), QUEUE as u64 + 1);
    }

    #[tokio::test]
    async fn files_are_appended_to_and_opened_anew_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let sink = Sink::File(path.clone());
        let writer = LogWriter::with(Box::new(open)).unwrap();
        writer.write(&sink, "a\n");
        writer.flush().await;
        std::fs::rename(&path, dir.path().join("old.log")).unwrap();
        writer.reopen().await;
        writer.write(&sink, "b\n");
        writer.flush().await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("old.log")).unwrap(), "a\n");
    }

    #[tokio::test]
    async fn what_is_queued_at_the_end_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (trigger, _watcher) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger.clone());
        let writer = LogWriter::start(&tasks).unwrap();
        let working = tasks.drain().guard("a connection");
        let sink = Sink::File(path.clone());
        let late = async {
            tokio::task::yield_now().await;
            writer.write(&sink, "the last one\n");
            drop(working);
        };
        let mode = mesh_rt::drain::DrainMode::Graceful { deadline: Duration::from_secs(20) };
        let (outcome, ()) = tokio::join!(trigger.start_drain_and_wait(mode), late);
        assert!(outcome.is_clean());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the last one\n");
    }
}
