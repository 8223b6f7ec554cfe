//! Service addresses: packet rules made from Services and EndpointSlices, and real connections.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_local::net::Node;
use mesh_local::service_proxy::{ServiceTable, rules};
use serde_json::{Value, json};

use crate::bench::{ECHO_PORT, Outcome, Pod, ask, node};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

fn vip(port: u16) -> SocketAddr {
    SocketAddr::from((VIP, port))
}

/// A table in which `VIP:80` (and node port 30080) stands for the echo servers of `pods`. The
/// fields of `spec` replace those of the service.
pub(crate) fn table_of(
    spec: Value,
    pods: &[&Pod],
) -> Result<ServiceTable, Box<dyn std::error::Error>> {
    let mut service = json!({
        "metadata": {"name": "echo", "namespace": "default"},
        "spec": {"clusterIP": VIP.to_string(),
                 "ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    let endpoints: Vec<Value> =
        pods.iter().map(|pod| json!({"addresses": [pod.address.to_string()]})).collect();
    let slice = json!({
        "metadata": {"name": "echo-x", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": ECHO_PORT, "protocol": "TCP"},
                  {"name": "http", "port": ECHO_PORT, "protocol": "UDP"}],
    });
    let service: Service = serde_json::from_value(service)?;
    let slice: EndpointSlice = serde_json::from_value(slice)?;
    Ok(ServiceTable::build([&service], [&slice]))
}

async fn publish(node: &Node, spec: Value, pods: &[&Pod]) -> Outcome {
    let table = table_of(spec, pods)?;
    node.apply_rules(rules(&table, node.config())).await?;
    Ok(())
}

pub(crate) async fn cluster_ip_takes_turns() -> Outcome {
    let node = node().await?;
    let client = Pod::start(&node, "client").await?;
    let (a, b) = (Pod::start(&node, "a").await?, Pod::start(&node, "b").await?);
    publish(&node, json!({}), &[&a, &b]).await?;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.ask(vip(80)).await?);
    }
    let expected: Vec<String> =
        ["a", "b", "a", "b"].iter().map(|name| format!("{name} {}", client.address)).collect();
    assert_eq!(answers, expected);
    // The node itself reaches it, from its own address.
    let from_node = ask(node.connect(vip(80)).await?).await?;
    assert_eq!(from_node, format!("a {}", node.config().node_address()));
    // The same rules again, and other ones, replace the old.
    publish(&node, json!({}), &[&b]).await?;
    assert_eq!(client.ask(vip(80)).await?, format!("b {}", client.address));
    Ok(())
}

pub(crate) async fn hairpin() -> Outcome {
    let node = node().await?;
    let pod = Pod::start(&node, "a").await?;
    publish(&node, json!({}), &[&pod]).await?;
    // It sees the node, since an answer to its own address would never leave it.
    assert_eq!(pod.ask(vip(80)).await?, format!("a {}", node.config().node_address()));
    Ok(())
}

pub(crate) async fn refused() -> Outcome {
    let node = node().await?;
    let client = Pod::start(&node, "client").await?;
    publish(&node, json!({}), &[]).await?;
    let elsewhere = SocketAddr::from(([10, 96, 200, 200], 80));
    let node_port = SocketAddr::from((node.config().node_address(), 30080));
    for target in [vip(80), vip(81), elsewhere, node_port] {
        let kind = client.connect(target).await.err().map(|err| err.kind());
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "a pod to {target}");
        let kind = node.connect(target).await.err().map(|err| err.kind());
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "the node to {target}");
    }
    Ok(())
}

pub(crate) async fn sticky() -> Outcome {
    let node = node().await?;
    let client = Pod::start(&node, "client").await?;
    let (a, b) = (Pod::start(&node, "a").await?, Pod::start(&node, "b").await?);
    publish(&node, json!({"sessionAffinity": "ClientIP"}), &[&a, &b]).await?;
    let mut answers = BTreeSet::new();
    for _ in 0..6 {
        answers.insert(client.ask(vip(80)).await?);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    Ok(())
}

pub(crate) async fn datagrams() -> Outcome {
    let node = node().await?;
    let client = Pod::start(&node, "client").await?;
    let server = Pod::start(&node, "server").await?;
    let spec = json!({"ports": [{"name": "http", "port": 53, "protocol": "UDP"}]});
    publish(&node, spec, &[&server]).await?;
    let answering = server.sockets().bind_udp((Ipv4Addr::UNSPECIFIED, ECHO_PORT).into()).await?;
    let asking = client.sockets().bind_udp((Ipv4Addr::UNSPECIFIED, 0).into()).await?;
    // Connected: only an answer from the service address is taken.
    asking.connect(vip(53)).await?;
    asking.send(b"question").await?;
    let mut buffer = [0; 64];
    let (count, from) = answering.recv_from(&mut buffer).await?;
    assert_eq!((&buffer[..count], from.ip()), (&b"question"[..], client.address.into()));
    answering.send_to(b"answer", from).await?;
    let count = asking.recv(&mut buffer).await?;
    assert_eq!(&buffer[..count], b"answer");
    Ok(())
}

pub(crate) async fn node_port_inside() -> Outcome {
    let node = node().await?;
    let client = Pod::start(&node, "client").await?;
    let a = Pod::start(&node, "a").await?;
    publish(&node, json!({"type": "NodePort"}), &[&a]).await?;
    let target = SocketAddr::from((node.config().node_address(), 30080));
    assert_eq!(client.ask(target).await?, format!("a {}", client.address));
    assert_eq!(
        ask(node.connect(target).await?).await?,
        format!("a {}", node.config().node_address())
    );
    Ok(())
}
