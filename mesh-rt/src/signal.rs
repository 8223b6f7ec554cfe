//! Signals: the first SIGTERM or SIGINT drains, a second one stops at once.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::drain::{DrainMode, DrainOutcome, DrainTrigger};

/// A request to end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// What Kubernetes sends.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Where signals come from.
pub trait SignalSource: Send {
    /// The next signal.
    fn next(&mut self) -> impl Future<Output = Signal> + Send;
}

/// The process's own signals. From its creation on they no longer kill the process.
#[derive(Debug)]
pub struct ProcessSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl ProcessSignals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The operating system's, when a handler cannot be installed.
    pub fn install() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }
}

impl SignalSource for ProcessSignals {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

/// Waits for the first signal, or for a drain that something else started, and drains with at most
/// `deadline` for work under way. A further signal ends the wait.
pub async fn drain_on_signal(
    mut signals: impl SignalSource,
    trigger: &DrainTrigger,
    deadline: Duration,
) -> DrainOutcome {
    let watcher = trigger.watcher();
    tokio::select! {
        signal = signals.next() => info!(%signal, ?deadline, "draining; a second signal stops at once"),
        () = watcher.draining() => info!(?deadline, "draining, as asked from within"),
    }
    let drained = trigger.start_drain_and_wait(DrainMode::Graceful { deadline });
    let mut drained = std::pin::pin!(drained);
    let outcome = tokio::select! {
        outcome = &mut drained => outcome,
        signal = signals.next() => {
            warn!(%signal, held = ?watcher.held(), "second signal: stopping at once");
            trigger.force();
            drained.await
        }
    };
    if outcome.is_clean() {
        info!("drained");
    } else {
        warn!(cut_off = ?outcome.cut_off, stuck = ?outcome.stuck, "not everything finished in time");
    }
    outcome
}

/// Held by tests that install handlers or send signals: a signal reaches the whole test process.
#[cfg(test)]
pub(crate) static ONE_AT_A_TIME: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::drain::{self, Phase};

    struct Scripted(mpsc::Receiver<Signal>);

    impl SignalSource for Scripted {
        async fn next(&mut self) -> Signal {
            match self.0.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            }
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn first_signal_drains_second_stops() {
        let (trigger, watcher) = drain::channel();
        let (send, receive) = mpsc::channel(2);
        let guard = watcher.guard("slow request");
        let script = async {
            send.send(Signal::Terminate).await.unwrap();
            watcher.draining().await;
            assert_eq!(watcher.phase(), Phase::Draining);
            send.send(Signal::Interrupt).await.unwrap();
            watcher.stopped().await;
            drop(guard);
        };
        let (outcome, ()) =
            tokio::join!(drain_on_signal(Scripted(receive), &trigger, LONG), script);
        assert!(outcome.stuck.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_from_within_needs_no_signal() {
        let (trigger, _watcher) = drain::channel();
        let (_send, receive) = mpsc::channel(1);
        trigger.start();
        assert!(drain_on_signal(Scripted(receive), &trigger, LONG).await.is_clean());
    }

    #[test]
    fn the_kernel_delivers() {
        let _alone = ONE_AT_A_TIME.lock();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let mut signals = ProcessSignals::install().unwrap();
        nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGTERM).unwrap();
        assert_eq!(runtime.block_on(signals.next()), Signal::Terminate);
    }
}
