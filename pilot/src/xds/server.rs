//! `envoy.service.discovery.v3.AggregatedDiscoveryService`, both methods, over our own messages.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};

use http::{Request as HttpRequest, Response as HttpResponse};
use mesh_rt::grpc::PeerInfo;
use mesh_rt::tasks::Tasks;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::session::{self, Context};
use super::wire::{Delta, StateOfTheWorld, Wire};

/// Responses that wait for a client to read.
const WAITING: usize = 16;

/// The largest request.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Streams at the same time.
const STREAMS: usize = 20_000;

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// The service.
#[derive(Clone)]
pub struct AdsServer {
    context: Arc<Context>,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

impl AdsServer {
    /// Serves sessions with what `context` has.
    #[must_use]
    pub fn new(context: Arc<Context>, tasks: Tasks) -> Self {
        Self { context, tasks, streams: Arc::new(Semaphore::new(STREAMS)) }
    }

    async fn stream<W: Wire>(
        self,
        request: Request<Streaming<W::Request>>,
    ) -> Result<Response<ReceiverStream<Result<W::Response, Status>>>, Status> {
        let slot = self.streams.clone().try_acquire_owned().map_err(|_full| {
            Status::resource_exhausted("this replica serves as many streams as it can; try another")
        })?;
        let peer = request.extensions().get::<PeerInfo>().cloned();
        let caller = self.context.auth.caller(peer.as_ref(), request.metadata()).await?;
        let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
        let (send, receive) = mpsc::channel(WAITING);
        let context = self.context;
        let _detached = self.tasks.spawn_background("ads session", async move {
            let requests = request.into_inner();
            let metrics = context.metrics.clone();
            let run = session::run::<W>(context, caller, address, requests, send.clone());
            if let Err(status) = Box::pin(run).await {
                metrics.ended(&status);
                // A client that does not read is not told either.
                let _told = send.try_send(Err(status));
            }
            drop(slot);
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

struct Method<W> {
    server: AdsServer,
    wire: std::marker::PhantomData<fn() -> W>,
}

impl<W: Wire> StreamingService<W::Request> for Method<W> {
    type Response = W::Response;
    type ResponseStream = ReceiverStream<Result<W::Response, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<W::Request>>) -> Self::Future {
        Box::pin(self.server.clone().stream::<W>(request))
    }
}

impl<B> Service<HttpRequest<B>> for AdsServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _poller: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        match method {
            "DeltaAggregatedResources" => Box::pin(serve::<Delta, B>(self.clone(), request)),
            "StreamAggregatedResources" => {
                Box::pin(serve::<StateOfTheWorld, B>(self.clone(), request))
            }
            _ => {
                let status = Status::unimplemented("no such method of the discovery service");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

async fn serve<W: Wire, B>(
    server: AdsServer,
    request: HttpRequest<B>,
) -> Result<HttpResponse<Body>, Infallible>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let codec = ProstCodec::<W::Response, W::Request>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(REQUEST_BYTES);
    let method = Method::<W> { server, wire: std::marker::PhantomData };
    Ok(grpc.streaming(method, request).await)
}

impl NamedService for AdsServer {
    const NAME: &'static str = SERVICE;
}

#[cfg(test)]
mod tests;
