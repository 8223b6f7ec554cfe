//! Pods on the node's network.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mesh_local::net::Namespace;

use crate::bench::{Outcome, Pod, ask, node};

pub(crate) async fn pods_reach_each_other() -> Outcome {
    let node = node().await?;
    let a = Pod::start(&node, "a").await?;
    let b = Pod::start(&node, "b").await?;
    // Each sees the other's own address, and the node its address.
    assert_eq!(a.ask(b.server()).await?, format!("b {}", a.address));
    assert_eq!(b.ask(a.server()).await?, format!("a {}", b.address));
    let from_node = ask(node.connect(a.server()).await?).await?;
    assert_eq!(from_node, format!("a {}", node.config().node_address()));
    // Its own loopback works too.
    let own = a.ask(SocketAddr::from((Ipv4Addr::LOCALHOST, a.server().port()))).await?;
    assert_eq!(own, "a 127.0.0.1");

    // Listeners in the node's namespace are reached by pods.
    let api = SocketAddr::from((node.config().api_server, 443));
    let listener = node.listen_tcp(api).await?;
    let (accepted, connected) = tokio::join!(listener.accept(), a.connect(api));
    assert_eq!(accepted?.1.ip(), a.address);
    assert_eq!(connected?.peer_addr()?, api);
    // The host does not have them.
    let from_host = std::net::TcpListener::bind(api).map_err(|err| err.kind());
    assert_eq!(from_host.err(), Some(io::ErrorKind::AddrNotAvailable));

    node.detach_pod(&a.uid).await?;
    assert!(b.ask(a.server()).await.is_err(), "a is gone");
    Ok(())
}

pub(crate) async fn pods_come_and_go() -> Outcome {
    const PODS: usize = 40;
    let node = node().await?;
    for round in 0..2 {
        let mut namespaces = Vec::new();
        for _ in 0..PODS {
            namespaces.push(Namespace::create().await?);
        }
        let started = Instant::now();
        let attach = namespaces.into_iter().enumerate().map(|(i, namespace)| {
            let node = &node;
            async move { node.attach_pod(&format!("pod-{i}"), namespace, None).await }
        });
        let attached = futures::future::join_all(attach).await;
        let took = started.elapsed();
        let mut addresses = BTreeSet::new();
        for address in attached {
            addresses.insert(address?.ok_or("no address")?);
        }
        assert_eq!(addresses.len(), PODS);
        let started = Instant::now();
        let detach = (0..PODS).map(|i| {
            let node = &node;
            async move { node.detach_pod(&format!("pod-{i}")).await }
        });
        for detached in futures::future::join_all(detach).await {
            detached?;
        }
        println!(
            "  round {round}: {PODS} pods attached in {took:?}, detached in {:?}",
            started.elapsed()
        );
    }
    // Addresses were given back: one may be had again, and its old link is no obstacle.
    let again = Namespace::create().await?;
    let wanted = Some(Ipv4Addr::new(10, 244, 0, 2));
    assert_eq!(node.attach_pod("again", again, wanted).await?, wanted);
    Ok(())
}

pub(crate) async fn egress_is_refused() -> Outcome {
    let node = node().await?;
    let pod = Pod::start(&node, "inside").await?;
    let outside = SocketAddr::from(([192, 0, 2, 1], 80));
    let err = pod.connect(outside).await.err().ok_or("reached the outside")?;
    assert!(
        matches!(err.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable),
        "{err}"
    );
    Ok(())
}
