//! A client's command in a running container: its streams are pipes or a terminal, and it ends
//! with its client.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Current, Guard, Inner, Terminal};
use crate::node_api::{CommandEnd, CommandStreams, TerminalSize};
use crate::sandbox::pod::ExecOutcome;
use crate::sandbox::spec::ProcessSpec;
use crate::stream::channel::{Incoming, Outgoing};

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
/// Bytes that are still read after the end of a command. More than a pipe holds comes from
/// processes that it has left behind.
const LAST: usize = 1 << 20;

/// Runs the command until its end.
pub(super) async fn run(
    inner: Arc<Inner>,
    current: Current,
    argv: Vec<String>,
    tty: bool,
    streams: CommandStreams,
) -> CommandEnd {
    let id = format!("exec-{}", inner.count.fetch_add(1, Ordering::Relaxed));
    let nothing =
        ProcessSpec { stdin: None, stdout: None, stderr: None, terminal: None, ..current.process };
    let process = ProcessSpec { argv, ..nothing };
    let guard = Guard { inner, id: Some(id), paths: Vec::new() };
    let job = Job { guard, container: current.id, process, ended: CancellationToken::new() };
    let outcome = if tty { job.on_terminal(streams).await } else { job.on_pipes(streams).await };
    match outcome {
        Ok(ExecOutcome::Ended(exit)) => CommandEnd::Exited(exit.code()),
        Ok(ExecOutcome::NotStarted(err)) => CommandEnd::Failed(format!(
            "error executing command in container: failed to exec in container: {err}"
        )),
        Ok(ExecOutcome::PodGone) => CommandEnd::Failed("the pod has ended".to_owned()),
        Err(err) => CommandEnd::Failed(format!("error executing command in container: {err}")),
    }
}

struct Job {
    guard: Guard,
    container: String,
    process: ProcessSpec,
    /// The command has ended.
    ended: CancellationToken,
}

impl Job {
    async fn on_terminal(mut self, streams: CommandStreams) -> io::Result<ExecOutcome> {
        let (terminal, far) = Terminal::open(self.process.uid)?;
        self.process.terminal = Some(terminal.path().to_path_buf());
        if !self.process.env.iter().any(|(name, _)| name == "TERM") {
            self.process.env.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        let ended = self.ended.clone();
        let (reader, writer) = (terminal.reader()?, terminal.writer()?);
        let CommandStreams { stdin, stdout, resize, .. } = streams;
        let (outcome, (), (), ()) = tokio::join!(
            self.run(),
            output(Some(reader), stdout, &ended),
            until(&ended, input(stdin, Some(writer), false)),
            until(&ended, resize_to(resize, &terminal)),
        );
        drop(far);
        Ok(outcome)
    }

    async fn on_pipes(mut self, streams: CommandStreams) -> io::Result<ExecOutcome> {
        let CommandStreams { stdin, stdout, stderr, .. } = streams;
        let to_read = match &stdin {
            Some(_) => Some(self.pipe("in")?),
            None => None,
        };
        // Held open, so that what is written before the command opens it is not lost.
        let held = to_read.as_deref().map(|path| pipe::OpenOptions::new().open_receiver(path));
        let held = held.transpose()?;
        let writer = to_read.as_deref().map(|path| pipe::OpenOptions::new().open_sender(path));
        let writer = writer.transpose()?;
        self.process.stdin = to_read;
        let open = |path: &Path| pipe::OpenOptions::new().read_write(true).open_receiver(path);
        let (mut out, mut err) = (None, None);
        if stdout.is_some() {
            let path = self.pipe("out")?;
            out = Some(open(&path)?);
            self.process.stdout = Some(path);
        }
        if stderr.is_some() {
            let path = self.pipe("err")?;
            err = Some(open(&path)?);
            self.process.stderr = Some(path);
        }
        let ended = self.ended.clone();
        let (outcome, (), (), ()) = tokio::join!(
            self.run(),
            output(out, stdout, &ended),
            output(err, stderr, &ended),
            until(&ended, input(stdin, writer, true)),
        );
        drop(held);
        Ok(outcome)
    }

    /// Makes a pipe that every user of the container may open by name (`/dev/stdout`).
    fn pipe(&mut self, suffix: &str) -> io::Result<PathBuf> {
        let id = self.guard.id.as_deref().unwrap_or_default();
        let path = self.guard.inner.dir.join(format!("{id}.{suffix}"));
        mkfifo(&path, Mode::from_bits_truncate(0o600))?;
        self.guard.paths.push(path.clone());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(path)
    }

    /// Runs the process; its streams learn of its end. When the future is dropped it is killed.
    async fn run(mut self) -> ExecOutcome {
        let inner = Arc::clone(&self.guard.inner);
        let id = self.guard.id.clone().unwrap_or_default();
        let outcome = inner.sandbox.exec(&id, &self.container, self.process).await;
        self.guard.id = None;
        self.ended.cancel();
        outcome
    }
}

/// Sends what the command writes, up to what it wrote last.
async fn output(
    source: Option<pipe::Receiver>,
    client: Option<Outgoing>,
    ended: &CancellationToken,
) {
    let (Some(mut source), Some(client)) = (source, client) else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = tokio::select! {
            biased;
            read = source.read(&mut chunk) => read.unwrap_or(0),
            () = ended.cancelled() => 0,
        };
        if count == 0 || client.send(Bytes::copy_from_slice(&chunk[..count])).await.is_err() {
            break;
        }
    }
    ended.cancelled().await;
    let mut room = LAST;
    // Read past the runtime, which may not have heard yet of what is in the pipe.
    while room > 0
        && let Ok(count @ 1..) = nix::unistd::read(source.as_fd(), &mut chunk)
        && client.send(Bytes::copy_from_slice(&chunk[..count])).await.is_ok()
    {
        room = room.saturating_sub(count);
    }
    client.close().await;
}

/// Gives the command what the client sends. Its end is told where `closes`: a terminal has none.
async fn input(client: Option<Incoming>, sink: Option<pipe::Sender>, closes: bool) {
    let (Some(mut client), Some(mut sink)) = (client, sink) else { return };
    while let Some(bytes) = client.recv().await {
        if sink.write_all(&bytes).await.is_err() {
            return;
        }
    }
    if !closes {
        std::future::pending::<()>().await;
    }
}

/// Follows the size of the client's window.
pub(super) async fn resize_to(sizes: Option<mpsc::Receiver<TerminalSize>>, terminal: &Terminal) {
    let Some(mut sizes) = sizes else { return };
    while let Some(size) = sizes.recv().await {
        terminal.resize(size);
    }
}

/// Does `work` as long as the command runs.
async fn until(ended: &CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = ended.cancelled() => {}
        () = work => {}
    }
}
