//! The request's body, shared by its tries: what one try took is kept, up to a limit, for the
//! next one.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::body::BodyError;

/// The body of a request and what was read of it so far.
pub struct Replay<B>(Rc<RefCell<Inner<B>>>);

struct Inner<B> {
    source: B,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    limit: usize,
    overflowed: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    generation: u64,
    waiting: Vec<Waker>,
}

impl<B> Clone for Replay<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static> Replay<B> {
    /// Keeps at most `limit` bytes.
    pub fn new(source: B, limit: usize) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            overflowed: false,
            trailers: None,
            ended: false,
            generation: 0,
            waiting: Vec::new(),
        })))
    }

    /// Whether another try can send the whole body.
    pub fn can_replay(&self) -> bool {
        !self.0.borrow().overflowed
    }

    /// Whether the client's request is complete.
    pub fn is_complete(&self) -> bool {
        let inner = self.0.borrow();
        inner.ended || inner.source.is_end_stream()
    }

    /// Ready when the client's request is complete.
    pub async fn completed(&self) {
        std::future::poll_fn(|cx| {
            if self.is_complete() {
                return Poll::Ready(());
            }
            let waiting = &mut self.0.borrow_mut().waiting;
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// The whole body, if it has come to its end and was kept.
    pub fn kept(&self) -> Option<Vec<Bytes>> {
        let inner = self.0.borrow();
        (inner.ended && !inner.overflowed).then(|| inner.kept.clone())
    }

    /// This is the last try: nothing needs to be kept any longer.
    pub fn release(&self) {
        let mut inner = self.0.borrow_mut();
        inner.limit = 0;
    }

    /// The body from its first byte, for one more try. Earlier ones end.
    pub fn attempt(&self) -> Attempt<B> {
        let mut inner = self.0.borrow_mut();
        inner.generation += 1;
        Attempt { shared: Rc::clone(&self.0), generation: inner.generation, next: 0, over: false }
    }
}

/// The body as one try sends it.
pub struct Attempt<B> {
    shared: Rc<RefCell<Inner<B>>>,
    generation: u64,
    next: usize,
    over: bool,
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Body for Attempt<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        let mut guard = this.shared.borrow_mut();
        let inner = &mut *guard;
        if inner.generation != this.generation {
            return Poll::Ready(Some(Err(BodyError::Local("another try sends the request"))));
        }
        if let Some(chunk) = inner.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if inner.ended {
            this.over = true;
            let trailers = inner.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = Pin::new(&mut inner.source).poll_frame(cx);
        if frame.is_ready() {
            // The frame, or the end that follows it, may complete the request.
            inner.waiting.drain(..).for_each(Waker::wake);
        }
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                let frame = match frame.into_data() {
                    Ok(data) => {
                        inner.keep(&data);
                        inner.ended = inner.source.is_end_stream();
                        this.next = inner.kept.len();
                        Frame::data(data)
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => {
                            inner.ended = true;
                            inner.trailers = Some(trailers.clone());
                            this.over = true;
                            Frame::trailers(trailers)
                        }
                        Err(frame) => frame,
                    },
                };
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                inner.overflowed = true;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                inner.ended = true;
                this.over = true;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.shared.borrow();
        self.over
            || (self.next >= inner.kept.len()
                && inner.trailers.is_none()
                && (inner.ended || inner.source.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.shared.borrow();
        let ahead: usize = inner.kept.iter().skip(self.next).map(Bytes::len).sum();
        match inner.source.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None => SizeHint::default(),
        }
    }
}

impl<B> Inner<B> {
    fn keep(&mut self, data: &Bytes) {
        if self.overflowed {
            return;
        }
        self.kept_bytes += data.len();
        if self.kept_bytes > self.limit {
            self.overflowed = true;
            self.kept = Vec::new();
        } else {
            self.kept.push(data.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Body;
    use http_body_util::{BodyExt, Full};

    use super::Replay;
    use crate::upstream::body::BodyError;

    fn source(text: &'static str) -> impl Body<Data = Bytes, Error = BodyError> + Unpin + 'static {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {})
    }

    #[tokio::test]
    async fn every_try_sends_the_whole_body() {
        let replay = Replay::new(source("hello"), 16);
        for _ in 0..2 {
            let attempt = replay.attempt();
            assert_eq!(attempt.size_hint().exact(), Some(5));
            assert_eq!(attempt.collect().await.unwrap().to_bytes(), "hello");
        }
        assert!(replay.can_replay());
    }

    #[tokio::test]
    async fn an_abandoned_try_ends_and_a_long_body_is_sent_once() {
        let replay = Replay::new(source("hello"), 4);
        let (old, new) = (replay.attempt(), replay.attempt());
        assert!(old.collect().await.is_err());
        assert_eq!(new.collect().await.unwrap().to_bytes(), "hello");
        assert!(!replay.can_replay());
    }
}
