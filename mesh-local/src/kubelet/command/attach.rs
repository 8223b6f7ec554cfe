//! A container's own process as attached clients see it: what it writes from now on, and its
//! standard input where the pod asks for one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, broadcast};

use super::Terminal;
use super::exec::resize_to;
use crate::kubelet::log::line::Stream;
use crate::node_api::{CommandEnd, CommandStreams};
use crate::stream::channel::Incoming;

/// Pieces of output that may wait for an attached client. One that is slower loses some, never
/// the container its time; the log has them all.
const PIECES: usize = 256;

/// Standard input of a container: `None` when it has been closed.
type Input = Arc<Mutex<Option<Box<dyn AsyncWrite + Send + Unpin>>>>;

/// Lets attached clients see a container's output.
#[derive(Clone, Debug)]
pub struct Tap {
    pieces: broadcast::Sender<(Stream, Bytes)>,
}

impl Default for Tap {
    fn default() -> Self {
        Self { pieces: broadcast::channel(PIECES).0 }
    }
}

impl Tap {
    /// Shows output to who is attached.
    pub fn send(&self, stream: Stream, data: &[u8]) {
        if self.pieces.receiver_count() > 0 {
            // The last one may just have gone.
            let _ = self.pieces.send((stream, Bytes::copy_from_slice(data)));
        }
    }
}

/// The streams of a container's process. Attached clients are done when it and its taps are
/// dropped.
#[derive(Clone, Default)]
pub struct Console {
    tap: Tap,
    input: Option<Input>,
    /// Input ends with the first attached client (`stdinOnce`).
    once: bool,
    terminal: Option<Terminal>,
}

impl Console {
    /// A process with an input. `once`: it ends with the first client.
    pub fn with_input(sink: impl AsyncWrite + Send + Unpin + 'static, once: bool) -> Self {
        let input: Input = Arc::new(Mutex::new(Some(Box::new(sink))));
        Self { input: Some(input), once, ..Self::default() }
    }

    /// The process runs on a terminal.
    pub fn on(mut self, terminal: Terminal) -> Self {
        self.terminal = Some(terminal);
        self
    }

    /// Where its output is shown.
    pub fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// A client that sees all from now on.
    pub(super) fn attach(&self) -> Attached {
        Attached {
            pieces: self.tap.pieces.subscribe(),
            input: self.input.clone(),
            once: self.once,
            terminal: self.terminal.clone(),
        }
    }
}

/// An attached client.
pub(super) struct Attached {
    pieces: broadcast::Receiver<(Stream, Bytes)>,
    input: Option<Input>,
    once: bool,
    terminal: Option<Terminal>,
}

impl Attached {
    /// Serves the client until the container's process has ended.
    pub(super) async fn run(mut self, streams: CommandStreams) -> CommandEnd {
        let CommandStreams { stdin, stdout, stderr, resize } = streams;
        if stdin.is_some() && self.input.is_none() {
            let why = "the container reads no standard input: it needs stdin: true in its spec";
            return CommandEnd::Failed(format!("error attaching to container: {why}"));
        }
        let speaking = async {
            speak(stdin, self.input, self.once).await;
            std::future::pending::<()>().await;
        };
        let resizing = async {
            if let Some(terminal) = &self.terminal {
                resize_to(resize, terminal).await;
            }
            std::future::pending::<()>().await;
        };
        let hearing = async {
            loop {
                let client = match self.pieces.recv().await {
                    Ok((Stream::Stdout, data)) => (stdout.as_ref(), data),
                    Ok((Stream::Stderr, data)) => (stderr.as_ref(), data),
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if let (Some(client), data) = client
                    && client.send(data).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::select! {
            () = hearing => {}
            () = speaking => {}
            () = resizing => {}
        }
        for client in [stdout, stderr].into_iter().flatten() {
            client.close().await;
        }
        // The exit code is in the pod's status.
        CommandEnd::Exited(0)
    }
}

/// Gives the process what the client sends.
async fn speak(client: Option<Incoming>, input: Option<Input>, once: bool) {
    let (Some(mut client), Some(input)) = (client, input) else { return };
    while let Some(bytes) = client.recv().await {
        let mut sink = input.lock().await;
        let Some(open) = sink.as_mut() else { return };
        if open.write_all(&bytes).await.is_err() {
            *sink = None;
        }
    }
    if once {
        *input.lock().await = None;
    }
}
