//! One request to one endpoint: sent over a slot of its pool, answered by a response whose body
//! gives everything back when it ends or is dropped.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use proxy_model::endpoint::{Endpoint, EndpointSet};
use tokio::time::Instant;

use super::body::{BodyError, OutBody};
use super::connection::{ConnState, classify};
use super::pool::{HostPool, Slot};
use super::shared::{HostAddress, Load, Permit};
use crate::failure::{Failure, FailureKind};

/// A chosen endpoint and a slot on a connection to it.
pub struct Exchange {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Where it is.
    pub address: HostAddress,
    /// The set it was picked from.
    pub set: Option<Arc<EndpointSet>>,
    /// Its place in the pool.
    pub slot: Slot,
    /// The pool.
    pub pool: Rc<HostPool>,
    /// Its share of the endpoint's load.
    pub load: Load,
    /// Its place among the cluster's requests.
    pub request: Permit,
}

/// Whom an exchange was with.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Where it is.
    pub address: HostAddress,
    /// The set it was picked from.
    pub set: Option<Arc<EndpointSet>>,
}

/// Why no response came.
pub struct SendFailure {
    /// What went wrong.
    pub failure: Failure,
    /// The request, when not one byte of it was sent: it may go over another connection.
    pub unsent: Option<Request<OutBody>>,
}

impl Exchange {
    /// The connection.
    pub fn connection(&self) -> &Rc<ConnState> {
        self.slot.state()
    }

    /// The endpoint's address, as it is logged: made once per connection pool.
    pub fn label(&self) -> Arc<str> {
        self.pool.label()
    }

    /// Whom it is with.
    pub fn reached(&self) -> Reached {
        Reached {
            endpoint: Arc::clone(&self.endpoint),
            address: self.address.clone(),
            set: self.set.clone(),
        }
    }

    /// Whether the request goes over HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.slot, Slot::Http2(_))
    }

    /// Sends the request and waits for the response's head. Dropping the future resets the
    /// stream, or closes an HTTP/1.1 connection.
    pub async fn send(
        self,
        request: Request<OutBody>,
    ) -> Result<Response<ResponseBody>, SendFailure> {
        let Self { slot, pool, load, request: permit, .. } = self;
        let uploaded = match request.body() {
            OutBody::Empty => None,
            OutBody::Stream { sent, .. } => Some(Rc::clone(sent)),
        };
        let use_ = Use::new(slot.state(), &pool);
        let (result, sender, reused) = match slot {
            Slot::Http1 { mut sender, reused, .. } => {
                (sender.try_send_request(request).await, Some(sender), reused)
            }
            Slot::Http2(connection) => {
                (connection.sender().try_send_request(request).await, None, true)
            }
        };
        match result {
            Ok(response) => Ok(response.map(|incoming| ResponseBody {
                incoming,
                held: Some(Held { sender, uploaded, use_, _load: load, _request: permit }),
            })),
            Err(mut error) => {
                use_.state.closing.set(sender.is_some() || error.error().is_closed());
                let unsent = error.take_message().filter(|_| reused);
                Err(SendFailure { failure: classify(error.error()), unsent })
            }
        }
    }
}

/// A request's place on a connection.
struct Use {
    state: Rc<ConnState>,
    pool: Rc<HostPool>,
}

impl Use {
    fn new(state: &Rc<ConnState>, pool: &Rc<HostPool>) -> Self {
        state.active.set(state.active.get() + 1);
        state.served.set(state.served.get().saturating_add(1));
        Self { state: Rc::clone(state), pool: Rc::clone(pool) }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.state.active.set(self.state.active.get().saturating_sub(1));
        self.state.last_used.set(Instant::now());
        self.pool.notify();
    }
}

struct Held {
    sender: Option<http1::SendRequest<OutBody>>,
    uploaded: Option<Rc<std::cell::Cell<bool>>>,
    use_: Use,
    _load: Load,
    _request: Permit,
}

impl Held {
    /// The response is complete: an HTTP/1.1 connection is free again, if the request was sent
    /// to its end too.
    fn complete(mut self) {
        if self.uploaded.as_ref().is_some_and(|done| !done.get()) {
            self.use_.state.closing.set(self.sender.is_some());
            return;
        }
        if let Some(sender) = self.sender.take() {
            let (pool, state) = (Rc::clone(&self.use_.pool), Rc::clone(&self.use_.state));
            drop(self);
            pool.put_back(sender, state);
        }
    }
}

/// A response body from an endpoint.
pub struct ResponseBody {
    incoming: Incoming,
    held: Option<Held>,
}

impl ResponseBody {
    /// The connection is no longer HTTP: it never returns to its pool.
    pub fn upgraded(&mut self) -> Option<impl Sized + 'static + use<>> {
        let mut held = self.held.take()?;
        held.use_.state.closing.set(true);
        held.sender = None;
        Some(held)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(None) => {
                if let Some(held) = self.held.take() {
                    held.complete();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                self.held = None;
                let mut failure = classify(&error);
                if failure.kind == FailureKind::LocalReset {
                    failure.kind = FailureKind::ConnectionTermination;
                }
                Poll::Ready(Some(Err(BodyError::Upstream(failure))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper does not poll a body again that said it is over.
        if let Some(held) = self.held.take().filter(|_| self.incoming.is_end_stream()) {
            held.complete();
        }
    }
}
