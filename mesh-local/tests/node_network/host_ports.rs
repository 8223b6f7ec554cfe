//! NodePorts on the host's loopback.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use kube::Client;
use kube::client::Body;
use mesh_local::service_proxy::{ServiceTable, forward_host_ports};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};

use crate::bench::{ECHO_PORT, Outcome, Pod, ask, eventually, node};
use crate::services::table_of;

/// An API server that is down and tells when it was asked: events are lost, nothing else.
fn no_api_server(asked: Arc<Notify>) -> Client {
    let service = tower::service_fn(move |_: http::Request<Body>| {
        asked.notify_one();
        async {
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            Ok::<_, Infallible>(response)
        }
    });
    Client::new(service, "default")
}

/// A port nobody listens on now.
async fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port())
}

pub(crate) async fn node_ports() -> Outcome {
    let node = Arc::new(node().await?);
    let (a, b) = (Pod::start(&node, "a").await?, Pod::start(&node, "b").await?);
    let port = free_port().await?;
    let spec = serde_json::json!({"type": "NodePort", "ports": [
        {"name": "http", "port": 80, "nodePort": port}]});
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

    // Somebody has the port already: an event says so, and it is tried again at the next change.
    let event = Arc::new(Notify::new());
    let taken = TcpListener::bind(address).await?;
    let first = Arc::new(table_of(spec.clone(), &[&a])?);
    let (publish, table) = watch::channel(first);
    let forwarding =
        forward_host_ports(Arc::clone(&node), no_api_server(Arc::clone(&event)), table);
    let checks = async {
        event.notified().await;
        drop(taken);
        publish.send_replace(Arc::new(table_of(spec, &[&a, &b])?));
        eventually("the port is listened on", async || {
            Ok(TcpStream::connect(address).await.is_ok())
        })
        .await?;
        let mut answers = Vec::new();
        for _ in 0..2 {
            answers.push(ask(TcpStream::connect(address).await?).await?);
        }
        answers.sort();
        let node_address = node.config().node_address();
        assert_eq!(answers, [format!("a {node_address}"), format!("b {node_address}")]);
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            assert!(ask(TcpStream::connect(v6).await?).await?.ends_with(&node_address.to_string()));
        }
        publish.send_replace(Arc::new(ServiceTable::default()));
        eventually("the port is given back", async || {
            Ok(TcpStream::connect(address).await.is_err())
        })
        .await
    };
    tokio::select! {
        () = forwarding => Err("the forwarder ended".into()),
        outcome = checks => outcome,
    }
}

pub(crate) async fn datagrams() -> Outcome {
    let node = Arc::new(node().await?);
    let pod = Pod::start(&node, "a").await?;
    let answering = pod.sockets().bind_udp((Ipv4Addr::UNSPECIFIED, ECHO_PORT).into()).await?;
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = probe.local_addr()?.port();
    drop(probe);
    let spec = serde_json::json!({"type": "NodePort", "ports": [
        {"name": "http", "port": 53, "nodePort": port, "protocol": "UDP"}]});
    let (_publish, table) = watch::channel(Arc::new(table_of(spec, &[&pod])?));
    let forwarding = forward_host_ports(node, no_api_server(Arc::default()), table);
    let echo = async {
        let mut buffer = [0; 64];
        loop {
            let (count, from) = answering.recv_from(&mut buffer).await?;
            answering.send_to(&buffer[..count], from).await?;
        }
    };
    let checks = async {
        for question in ["one", "two"] {
            let asking = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            asking.connect((Ipv4Addr::LOCALHOST, port)).await?;
            // Refused as long as nobody listens.
            eventually("an answer", async || {
                let mut buffer = [0; 64];
                let sent = asking.send(question.as_bytes()).await.is_ok();
                Ok(sent
                    && asking.recv(&mut buffer).await.ok() == Some(question.len())
                    && buffer.starts_with(question.as_bytes()))
            })
            .await?;
        }
        Ok(())
    };
    tokio::select! {
        () = forwarding => Err("the forwarder ended".into()),
        ended = echo => ended,
        outcome = checks => outcome,
    }
}
