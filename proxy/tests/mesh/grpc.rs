//! HTTP/2 and gRPC across the mesh, where the port says so and where nobody does.

use std::time::Duration;

use http::Version;
use http::uri::PathAndQuery;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::Setup;
use crate::apps::Text;
use crate::clients::{Sender, request};

/// Services with their addresses: declared as HTTP/2, declared as gRPC, not declared.
const TWO: (&str, &str) = ("two:9005", "10.96.0.5:9005");
const CALLS: (&str, &str) = ("calls:9006", "10.96.0.6:9006");
const FOUND: (&str, &str) = ("found:9007", "10.96.0.7:9007");

/// A channel of the application to a service.
async fn channel(setup: &Setup, (host, vip): (&str, &str)) -> Grpc<Channel> {
    let at = setup.web.captures("virtualOutbound", vip.parse().unwrap());
    let endpoint = Endpoint::from_shared(format!("http://{at}")).unwrap();
    let endpoint = endpoint.origin(format!("http://{host}").parse().unwrap());
    let mut client = Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

async fn unary(client: &mut Grpc<Channel>, text: &str) -> Result<String, Status> {
    client.ready().await.unwrap();
    let (path, request) = (PathAndQuery::from_static("/echo.Echo/Unary"), Text::new(text));
    let answer: tonic::Response<Text> =
        client.unary(tonic::Request::new(request), path, ProstCodec::default()).await?;
    Ok(answer.into_inner().text)
}

async fn list(client: &mut Grpc<Channel>, text: &str) -> (Vec<String>, Code) {
    client.ready().await.unwrap();
    let (path, request) = (PathAndQuery::from_static("/echo.Echo/List"), Text::new(text));
    let codec = ProstCodec::<Text, Text>::default();
    let answer = client.server_streaming(tonic::Request::new(request), path, codec).await;
    let (mut stream, mut texts) = (answer.unwrap().into_inner(), Vec::new());
    loop {
        match stream.message().await {
            Ok(Some(text)) => texts.push(text.text),
            Ok(None) => return (texts, Code::Ok),
            Err(status) => return (texts, status.code()),
        }
    }
}

/// Each message is sent after the answer to the one before came.
async fn chat(client: &mut Grpc<Channel>) {
    client.ready().await.unwrap();
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receive);
    let path = PathAndQuery::from_static("/echo.Echo/Chat");
    let codec = ProstCodec::<Text, Text>::default();
    let answer = client.streaming(tonic::Request::new(stream), path, codec).await;
    let mut answers = answer.unwrap().into_inner();
    for text in ["one", "two", "three"] {
        send.send(Text::new(text)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap().text, text);
    }
    drop(send);
    assert!(answers.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_every_kind_cross_the_mesh() {
    let setup = Setup::new(true).await;
    for service in [CALLS, FOUND] {
        let mut client = channel(&setup, service).await;
        assert_eq!(unary(&mut client, "hello").await.unwrap(), "hello");
        let refused = unary(&mut client, "fail 7").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "as asked for"));
        let all = ["a0", "a1", "a2"].map(str::to_owned).to_vec();
        assert_eq!(list(&mut client, "a").await, (all, Code::Ok));
        let some = ["breaks0", "breaks1"].map(str::to_owned).to_vec();
        assert_eq!(list(&mut client, "breaks").await, (some, Code::DataLoss));
        chat(&mut client).await;
        // Both ends count by gRPC's status.
        let name = service.0.split(':').next().unwrap();
        for (sidecar, reporter) in [(&setup.web, "source"), (&setup.reviews, "destination")] {
            let counted = |status: &str| {
                sidecar.requests(&[
                    ("reporter", reporter),
                    ("request_protocol", "grpc"),
                    ("destination_service_name", name),
                    ("grpc_response_status", status),
                    (
                        "connection_security_policy",
                        match reporter {
                            "source" => "unknown",
                            _ => "mutual_tls",
                        },
                    ),
                ])
            };
            let (wanted, mut found) = ([3, 1, 1], [0; 3]);
            for _turn in 0..1000 {
                found = ["0", "7", "15"].map(counted);
                if found == wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert_eq!(found, wanted, "{name} {reporter}");
        }
    }
    assert_eq!(setup.mesh.nacks(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_an_answer_ends_at_its_deadline() {
    let setup = Setup::new(true).await;
    let at = setup.web.captures("virtualOutbound", CALLS.1.parse().unwrap());
    let mut client = Sender::connect(&setup.tasks, at, Version::HTTP_2).await;
    let mut call = request(Version::HTTP_2, CALLS.0, "/never", "\0\0\0\0\0");
    let headers = call.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    headers.insert("grpc-timeout", "100m".parse().unwrap());
    let answer = client.send(call).await.unwrap().unwrap();
    // The caller's deadline limits the stream, which is "deadline exceeded" to gRPC, as in Envoy;
    // a time-out of the route would be a gateway time-out, "unavailable".
    assert_eq!((answer.status, &answer.headers["grpc-status"]), (200, &"4".parse().unwrap()));
    let line = setup.web.recorded("/never").await;
    assert!(line.contains(" max_duration_timeout "), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_kept_or_changed_as_ports_say() {
    let setup = Setup::new(true).await;
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    // By service: the client's version, and the one that the application sees.
    for (service, client, seen) in [
        (TWO, two, "HTTP/2.0"),
        (TWO, one, "HTTP/2.0"),
        (CALLS, two, "HTTP/2.0"),
        (FOUND, two, "HTTP/2.0"),
        (FOUND, one, "HTTP/1.1"),
    ] {
        let at = setup.web.captures("virtualOutbound", service.1.parse().unwrap());
        let mut sender = Sender::connect(&setup.tasks, at, client).await;
        let body = "x".repeat(100_000);
        let mut sent = request(client, service.0, "/echo", &body);
        sent.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = sender.send(sent).await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{service:?} {client:?} {answer:?}");
        assert_eq!(answer.body, format!("{seen} /echo {body}"), "{service:?} {client:?}");
        if client == two {
            assert_eq!(answer.trailers["x-last"], "yes", "{service:?}");
        }
    }
    // An application of HTTP/1.1 only.
    let at = setup.web.captures("virtualOutbound", super::REVIEWS.parse().unwrap());
    let mut sender = Sender::connect(&setup.tasks, at, two).await;
    let answer = sender.send(request(two, "reviews:9080", "/old", "")).await.unwrap().unwrap();
    assert!(answer.status == 200 && answer.body.starts_with("GET /old HTTP/1.1"), "{answer:?}");
}
