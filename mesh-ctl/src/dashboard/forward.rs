//! A port of this machine that leads to a port of a pod, by the API server's port-forward.

use std::io::ErrorKind;
use std::net::SocketAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, lookup_host};

use crate::error::Error;
use crate::output;

/// Connections at a time; further ones wait until one has ended.
const MAX_CONNECTIONS: usize = 128;

/// Addresses that are listened on: a name may stand for one of each family.
const MAX_ADDRESSES: usize = 8;

/// A port of this machine, listened on.
#[derive(Debug)]
pub struct Forward {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Forward {
    /// Listens on all addresses that `address` stands for; port 0 is any free one.
    ///
    /// # Errors
    /// When it stands for none, or the port is taken.
    pub async fn bind(address: &str, port: u16) -> Result<Self, Error> {
        let failed = |error| Error::file(format!("listen on {address}:{port}"), error);
        let found: Vec<SocketAddr> =
            lookup_host((address, port)).await.map_err(failed)?.take(MAX_ADDRESSES).collect();
        let (mut listeners, mut chosen) = (Vec::new(), port);
        let mut refused = None;
        for one in found {
            match TcpListener::bind((one.ip(), chosen)).await {
                Ok(listener) => {
                    chosen = listener.local_addr().map_err(failed)?.port();
                    listeners.push(listener);
                }
                // Somebody else's answers would be shown under a port that the user chose.
                Err(error) if error.kind() == ErrorKind::AddrInUse && port != 0 => {
                    return Err(failed(error));
                }
                // One of a name's addresses is enough: IPv6 may be off.
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            _ if !listeners.is_empty() => Ok(Self { listeners, port: chosen }),
            Some(error) => Err(failed(error)),
            None => Err(Error::Usage(format!("{address} stands for no address to listen on"))),
        }
    }

    /// The port that is listened on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads connections to a port of a pod until the pod is gone.
    ///
    /// # Errors
    /// When the API server does not lead there any more.
    pub async fn run(
        self,
        client: &Client,
        (pod, namespace): (&str, &str),
        port: u16,
    ) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let what = format!("{pod}.{namespace} port {port}");
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = accept(&self.listeners), if open.len() < MAX_CONNECTIONS => {
                    let stream = accepted
                        .map_err(|error| Error::file(format!("accept on port {}", self.port), error))?;
                    open.push(lead(&pods, pod, port, stream));
                }
                Some(ended) = open.next() => match ended {
                    Ok(()) => {}
                    Err(error) if is_gone(&pods, pod).await => {
                        return Err(Error::Failed(format!("{what}: {error}; the pod is gone")));
                    }
                    Err(error) => output::progress(&format!("{what}: {error}")),
                },
            }
        }
    }
}

async fn accept(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    let all = listeners.iter().map(|listener| Box::pin(listener.accept()));
    let (accepted, _, _) = futures::future::select_all(all).await;
    accepted.map(|(stream, _)| stream)
}

async fn lead(pods: &Api<Pod>, pod: &str, port: u16, mut from: TcpStream) -> Result<(), String> {
    let mut forward = pods.portforward(pod, &[port]).await.map_err(|error| error.to_string())?;
    let refused = forward.take_error(port);
    let mut to = forward.take_stream(port).ok_or_else(|| "no stream".to_owned())?;
    // How a browser ends a connection is its own affair; why the pod did not take it is not.
    let _ended = copy_bidirectional(&mut from, &mut to).await;
    drop(to);
    drop(from);
    match refused {
        Some(refused) => match futures::FutureExt::now_or_never(refused).flatten() {
            Some(reason) => Err(reason),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

async fn is_gone(pods: &Api<Pod>, pod: &str) -> bool {
    matches!(pods.get_opt(pod).await, Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_port_is_found_and_a_taken_one_is_named() {
        let forward = Forward::bind("localhost", 0).await.unwrap();
        assert_ne!(forward.port(), 0);
        let taken = Forward::bind("localhost", forward.port()).await.unwrap_err().to_string();
        assert!(taken.contains(&format!("localhost:{}", forward.port())), "{taken}");
        let unknown = Forward::bind("no such host", 0).await.unwrap_err().to_string();
        assert!(unknown.contains("no such host"), "{unknown}");
    }
}
