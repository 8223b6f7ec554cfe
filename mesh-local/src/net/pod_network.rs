//! The node's network as the kubelet sees it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures::future::{BoxFuture, FutureExt};
use tokio::net::TcpStream;

use super::error::NodeError;
use super::namespace::Namespace;
use super::node::Node;
use super::sockets::SocketFactory;
use crate::sandbox::network::{NetworkError, PodAddresses, PodLink, PodNetwork};

impl PodNetwork for Node {
    fn attach(&self, link: PodLink) -> BoxFuture<'_, Result<PodAddresses, NetworkError>> {
        async move {
            let PodLink { pod_uid, netns, preferred } = link;
            let preferred = match preferred {
                Some(IpAddr::V4(address)) => Some(address),
                _ => None,
            };
            let attached = self.attach_pod(&pod_uid, Namespace::from_fd(netns), preferred).await;
            match attached {
                Ok(Some(address)) => {
                    Ok(PodAddresses { primary: IpAddr::V4(address), others: Vec::new() })
                }
                Ok(None) => Err(NetworkError::AddressesExhausted {
                    cidr: self.config().pod_range.to_string(),
                }),
                Err(NodeError::Step { step, source }) => {
                    Err(NetworkError::Step { step, pod_uid, source })
                }
                Err(other) => Err(NetworkError::Step {
                    step: "attach".to_owned(),
                    pod_uid,
                    source: io::Error::other(other),
                }),
            }
        }
        .boxed()
    }

    fn detach<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, ()> {
        async move {
            if let Err(err) = self.detach_pod(pod_uid).await {
                tracing::warn!(pod_uid, error = %err, "pod network not removed cleanly");
            }
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        pod_uid: &'a str,
        target: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>> {
        async move {
            if !target.ip().is_loopback() {
                return self.connect(target).await;
            }
            let (_, namespace) = self.pod(pod_uid).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("no network for pod {pod_uid}"))
            })?;
            SocketFactory::start(&namespace).await?.connect(target).await
        }
        .boxed()
    }
}
