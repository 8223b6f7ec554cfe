//! An application that speaks HTTP/1.1 and HTTP/2, and gRPC under `/echo.Echo/`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_rt::tasks::Tasks;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

/// What is said in calls.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

/// Starts it on a free port of `ip`.
pub(crate) async fn start(tasks: &Tasks, ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = tasks.clone();
    tasks.spawn_background("app", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            own.spawn_background("app connection", async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ended =
                    builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let request = request.map(Body::new);
    let codec = ProstCodec::<Text, Text>::default();
    Ok(match request.uri().path() {
        "/echo.Echo/Unary" => Grpc::new(codec).unary(Unary, request).await,
        "/echo.Echo/List" => Grpc::new(codec).server_streaming(List, request).await,
        "/echo.Echo/Chat" => Grpc::new(codec).streaming(Chat, request).await,
        "/never" => std::future::pending().await,
        _ => echo(request).await,
    })
}

/// Version and body of the request as body, and a trailer.
async fn echo(request: Request<Body>) -> Response<Body> {
    let said = format!("{:?} {} ", request.version(), request.uri().path());
    let asks = request.headers().get("te").is_some_and(|te| te == "trailers");
    if !asks && request.body().is_end_stream() {
        return Response::new(Body::new(Full::from(said)));
    }
    let first = tokio_stream::once(Ok(Frame::data(Bytes::from(said))));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-last", "yes".parse().unwrap());
    let last = tokio_stream::once(Ok(Frame::trailers(trailers)));
    let body = request.into_body().into_data_stream().map(|data| data.map(Frame::data));
    Response::new(Body::new(StreamBody::new(first.chain(body).chain(last))))
}

struct Unary;

impl UnaryService<Text> for Unary {
    type Response = Text;
    type Future = BoxFuture<'static, Result<tonic::Response<Text>, Status>>;

    fn call(&mut self, request: tonic::Request<Text>) -> Self::Future {
        Box::pin(async move {
            match request.get_ref().text.strip_prefix("fail ") {
                Some(code) => {
                    let code = Code::from_i32(code.parse().unwrap());
                    Err(Status::new(code, "as asked for"))
                }
                None => Ok(tonic::Response::new(request.into_inner())),
            }
        })
    }
}

struct List;

type Texts = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Text, Status>> + Send>>;

impl ServerStreamingService<Text> for List {
    type Response = Text;
    type ResponseStream = Texts;
    type Future = BoxFuture<'static, Result<tonic::Response<Texts>, Status>>;

    fn call(&mut self, request: tonic::Request<Text>) -> Self::Future {
        let Text { text } = request.into_inner();
        // The last one is a failure, which comes after messages.
        let items = (0..3).map(move |n| match n {
            2 if text == "breaks" => Err(Status::data_loss("in the middle")),
            n => Ok(Text { text: format!("{text}{n}") }),
        });
        let stream: Texts = Box::pin(tokio_stream::iter(items));
        Box::pin(std::future::ready(Ok(tonic::Response::new(stream))))
    }
}

struct Chat;

impl StreamingService<Text> for Chat {
    type Response = Text;
    type ResponseStream = Texts;
    type Future = BoxFuture<'static, Result<tonic::Response<Texts>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Text>>) -> Self::Future {
        let stream: Texts = Box::pin(request.into_inner());
        Box::pin(std::future::ready(Ok(tonic::Response::new(stream))))
    }
}
