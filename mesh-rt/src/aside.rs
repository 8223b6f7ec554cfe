//! A future that waits beside a busy one.
//!
//! A task that waits for several things polls all of them whenever one has something to do. What
//! seldom has, such as the end of the process, is asked only when it said so itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls its future at first and then only after that future's own waker was used.
///
/// ```
/// use mesh_rt::aside::Aside;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (sender, receiver) = tokio::sync::oneshot::channel();
/// let mut ended = Aside::new(receiver);
/// sender.send(7).ok();
/// assert_eq!((&mut ended).await, Ok(7));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Aside<F> {
    future: F,
    signal: Arc<Signal>,
    waker: Waker,
}

#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Aside<F> {
    /// Puts a future aside; pin it first if it has to be.
    pub fn new(future: F) -> Self {
        let signal = Arc::new(Signal { woken: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&signal));
        Self { future, signal, waker }
    }

    /// The future, to be changed: it is polled next time.
    pub fn get_mut(&mut self) -> &mut F {
        self.signal.woken.store(true, Ordering::Release);
        &mut self.future
    }
}

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // First: a wake in between is then either seen below or reaches the task.
        this.signal.task.register(cx.waker());
        if !this.signal.woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.signal.woken.store(false, Ordering::Release);
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::Aside;

    #[tokio::test]
    async fn it_is_polled_only_when_it_was_woken() {
        let (polls, notify) = (Cell::new(0), Notify::new());
        let mut notified = pin!(notify.notified());
        let counted = poll_fn(|cx| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(cx)
        });
        let mut aside = Aside::new(counted);
        for _ in 0..3 {
            assert!((&mut aside).now_or_never().is_none());
        }
        assert_eq!(polls.get(), 1);
        notify.notify_one();
        (&mut aside).await;
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn a_wake_reaches_the_task_that_waits() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut aside = Aside::new(receiver);
        let (received, sent) = tokio::join!(&mut aside, async { sender.send(1) });
        assert_eq!((received, sent), (Ok(1), Ok(())));
    }

    #[tokio::test]
    async fn another_future_in_its_place_is_polled() {
        let mut aside = Aside::new(Box::pin(std::future::pending()).left_future());
        assert!((&mut aside).now_or_never().is_none());
        *aside.get_mut() = std::future::ready(()).right_future();
        assert!((&mut aside).now_or_never().is_some());
    }
}
