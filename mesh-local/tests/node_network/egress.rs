//! Pods and the outside, which here is another node: its pods are hosts of that world.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use mesh_local::egress::Egress;
use mesh_local::net::{Node, NodeConfig, NodeConnector};
use tokio::io::AsyncReadExt;

use crate::bench::{Outcome, Pod, node};

/// A world outside, with an address range for documentation.
async fn outside() -> Result<Node, Box<dyn std::error::Error>> {
    let pod_range = Ipv4Net::new(Ipv4Addr::new(203, 0, 113, 0), 24)?;
    Ok(Node::create(NodeConfig { pod_range, ..NodeConfig::default() }).await?)
}

/// Runs `checks` while the pods of `node` have a way to `outside`.
async fn connected(node: &Node, outside: &Node, checks: impl Future<Output = Outcome>) -> Outcome {
    let egress = Egress::bind(node, Arc::new(NodeConnector::new(outside))).await?;
    tokio::select! {
        () = egress.run() => Err("the relay ended".into()),
        outcome = checks => outcome,
    }
}

pub(crate) async fn hosts_are_reached() -> Outcome {
    let (node, outside) = (node().await?, outside().await?);
    let pod = Pod::start(&node, "pod").await?;
    let other = Pod::start(&node, "other").await?;
    let web = Pod::start(&outside, "web").await?;
    connected(&node, &outside, async {
        // The outside sees the host, and both directions end one after the other.
        let seen = format!("web {}", outside.config().node_address());
        assert_eq!(pod.ask(web.server()).await?, seen);
        let many = futures::future::try_join_all((0..32).map(|_| pod.ask(web.server()))).await?;
        assert_eq!(many, vec![seen; 32]);
        // Pods are reached as before, from their own address.
        assert_eq!(pod.ask(other.server()).await?, format!("other {}", pod.address));
        Ok(())
    })
    .await
}

pub(crate) async fn closed_ports_reset() -> Outcome {
    let (node, outside) = (node().await?, outside().await?);
    let pod = Pod::start(&node, "pod").await?;
    connected(&node, &outside, async {
        let closed = SocketAddr::from((outside.config().node_address(), 9));
        let nowhere = SocketAddr::from(([203, 0, 113, 99], 80));
        for target in [closed, nowhere] {
            let mut stream = pod.connect(target).await?;
            let heard = stream.read(&mut [0; 1]).await.map_err(|err| err.kind());
            assert_eq!(heard, Err(io::ErrorKind::ConnectionReset), "{target}");
        }
        Ok(())
    })
    .await
}

pub(crate) async fn inside_stays_inside() -> Outcome {
    let (node, outside) = (node().await?, outside().await?);
    let pod = Pod::start(&node, "pod").await?;
    connected(&node, &outside, async {
        let unreachable = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable];
        for target in [[169, 254, 169, 254], [10, 244, 0, 99], [240, 0, 0, 1]] {
            let kind = pod.connect((target, 80).into()).await.err().map(|err| err.kind());
            assert!(kind.is_some_and(|kind| unreachable.contains(&kind)), "{target:?}: {kind:?}");
        }
        let unused = SocketAddr::from(([10, 96, 200, 200], 80));
        let kind = pod.connect(unused).await.err().map(|err| err.kind());
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused));
        Ok(())
    })
    .await
}
