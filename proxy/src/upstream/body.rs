//! The bodies that cross between the router and a connection to an endpoint.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's connection broke, or its bytes are no HTTP.
    #[error("the client's request broke off: {0}")]
    Downstream(Box<dyn std::error::Error + Send + Sync>),
    /// The endpoint's connection broke, or its bytes are no HTTP.
    #[error("the endpoint's response broke off: {0}")]
    Upstream(crate::failure::Failure),
    /// This proxy ended the exchange.
    #[error("the exchange was ended by this proxy: {0}")]
    Local(&'static str),
}

/// A request body on its way to an endpoint.
pub enum OutBody {
    /// None: the request ends with its head.
    Empty,
    /// Streamed. Boxed: requests with bodies pay for it, the others do not.
    Stream {
        /// Its frames.
        body: Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>,
        /// Whether the last frame was taken.
        sent: Rc<Cell<bool>>,
    },
}

impl OutBody {
    /// A body that is streamed; [`OutBody::Empty`] when it has already ended.
    pub fn stream(body: impl Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Stream { body: Box::pin(body), sent: Rc::default() }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream { body, sent } => {
                let frame = body.as_mut().poll_frame(cx);
                if matches!(frame, Poll::Ready(None)) || body.is_end_stream() {
                    sent.set(true);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}
