//! The bodies of requests and responses on the client's side, counted into the record.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use proxy_model::flags::ResponseFlags;
use tokio::time::{Instant, Sleep};

use crate::http::context::Stream;
use crate::http::grpc::MessageCounter;
use crate::observe::record::RequestLog;
use crate::upstream::body::BodyError;
use crate::upstream::exchange::ResponseBody;

/// The client is answered by a reset of its stream, or by closing its connection.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream is reset")]
pub struct Reset;

/// A request's body.
pub struct RequestBody {
    incoming: Incoming,
    log: Rc<RequestLog>,
    messages: Option<MessageCounter>,
}

impl RequestBody {
    /// Counts into `log`.
    pub fn new(incoming: Incoming, log: Rc<RequestLog>) -> Self {
        Self { incoming, log, messages: None }
    }

    /// Counts gRPC messages too.
    pub fn count_messages(&mut self) {
        self.messages = Some(MessageCounter::default());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut this.incoming).poll_frame(cx));
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    let messages = this.messages.as_mut().map_or(0, |count| count.feed(data));
                    this.log.with(|record| {
                        record.bytes_received += data.len() as u64;
                        record.grpc_request_messages += messages;
                    });
                }
                Ok(frame)
            }
            Err(error) => Err(BodyError::Downstream(Box::new(error))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// How long a response may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The whole exchange, and the flag when it takes longer.
    pub deadline: Option<(Instant, ResponseFlags, &'static str)>,
    /// Without a frame.
    pub idle: Option<Duration>,
}

/// A response's body on its way to the client. Ends the request's record.
pub struct ReplyBody {
    source: Source,
    stream: Option<Stream>,
    messages: Option<MessageCounter>,
    limits: Limits,
    timer: Option<Pin<Box<Sleep>>>,
    last_frame: Instant,
}

enum Source {
    Own(Bytes),
    Upstream(ResponseBody),
}

impl ReplyBody {
    /// A reply of the proxy's own.
    pub fn own(bytes: Bytes, stream: Stream) -> Self {
        Self::new(Source::Own(bytes), stream, Limits::default())
    }

    /// A response of an endpoint.
    pub fn upstream(body: ResponseBody, stream: Stream, limits: Limits) -> Self {
        Self::new(Source::Upstream(body), stream, limits)
    }

    /// The empty body of a response after which the connection is no longer HTTP. The record is
    /// ended elsewhere.
    pub fn detached() -> Self {
        Self {
            source: Source::Own(Bytes::new()),
            stream: None,
            messages: None,
            limits: Limits::default(),
            timer: None,
            last_frame: Instant::now(),
        }
    }

    fn new(source: Source, stream: Stream, limits: Limits) -> Self {
        let last_frame = Instant::now();
        let first = [limits.deadline.map(|(at, ..)| at), limits.idle.map(|idle| last_frame + idle)];
        let first = first.into_iter().flatten().min();
        let timer = first.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let messages = stream.log.with(|record| record.grpc).then(MessageCounter::default);
        Self { source, stream: Some(stream), messages, limits, timer, last_frame }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Option<(ResponseFlags, &'static str)> {
        let timer = self.timer.as_mut()?;
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some((at, flags, details)) = self.limits.deadline
                && now >= at
            {
                return Some((flags, details));
            }
            let idle_at = self.limits.idle.map(|idle| self.last_frame + idle);
            if idle_at.is_some_and(|at| now >= at) {
                return Some((ResponseFlags::SI, "stream_idle_timeout"));
            }
            let next = [self.limits.deadline.map(|(at, ..)| at), idle_at];
            timer.as_mut().reset(next.into_iter().flatten().min()?);
        }
        None
    }

    fn ended(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.log.finish();
        }
    }

    fn broken(&mut self, flags: ResponseFlags, details: String) {
        if let Some(stream) = self.stream.take() {
            stream.log.with(|record| {
                record.flags.insert(flags);
                record.details = details.into();
            });
            stream.log.finish();
        }
    }

    fn count(&mut self, frame: &Frame<Bytes>) {
        let Some(stream) = &self.stream else { return };
        if let Some(data) = frame.data_ref() {
            let messages = self.messages.as_mut().map_or(0, |count| count.feed(data));
            stream.log.with(|record| {
                record.bytes_sent += data.len() as u64;
                record.grpc_response_messages += messages;
            });
        } else if let Some(trailers) = frame.trailers_ref() {
            let status = crate::http::grpc::status(trailers);
            stream.log.with(|record| record.grpc_status = status.or(record.grpc_status));
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                if this.timer.is_some() {
                    this.last_frame = Instant::now();
                }
                this.count(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                if let BodyError::Upstream(failure) = &error {
                    this.broken(failure.flags(), failure.details(true));
                }
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => match this.poll_timer(cx) {
                Some((flags, details)) => {
                    this.broken(flags, details.to_owned());
                    Poll::Ready(Some(Err(BodyError::Local(details))))
                }
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body that is over is not polled again; any other that is dropped was not wanted.
        if self.is_end_stream() {
            self.ended();
        }
    }
}
