//! How a pod's network namespace is joined to the node: the contract between kubelet and node
//! network, and a loopback-only network that needs no node at all.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use nix::sched::{CloneFlags, setns};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpStream;

/// A pod whose network namespace exists and wants an address.
#[derive(Debug)]
pub struct PodLink {
    /// The pod's UID, the key of every later call.
    pub pod_uid: String,
    /// The pod's network namespace (`/proc/<pid>/ns/net`), with nothing but a `lo` that is down.
    pub netns: OwnedFd,
    /// The address the pod had before a restart of the server: given again when it is free.
    pub preferred: Option<IpAddr>,
}

/// The addresses a pod answers on, at most one for each family, the primary one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddresses {
    /// `status.podIP`.
    pub primary: IpAddr,
    /// Further `status.podIPs`.
    pub others: Vec<IpAddr>,
}

impl PodAddresses {
    /// All addresses in the order of `status.podIPs`.
    pub fn all(&self) -> Vec<IpAddr> {
        std::iter::once(self.primary).chain(self.others.iter().copied()).collect()
    }
}

/// Why a pod could not be joined to the node network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No address is left in the pod CIDR.
    #[error("no free pod address is left in {cidr}: delete pods that are no longer needed")]
    AddressesExhausted {
        /// The range that is used up.
        cidr: String,
    },
    /// A step on the node's or the pod's side failed.
    #[error("node network: {step} for pod {pod_uid}: {source}")]
    Step {
        /// What was being done, such as `create veth`.
        step: String,
        /// The pod it was done for.
        pod_uid: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Joins pods to the node's network. One implementation per node; calls for different pods may
/// run at the same time, calls for one pod come one after another.
pub trait PodNetwork: Send + Sync + 'static {
    /// Brings the pod's `lo` up, gives it addresses and routes. Called once per sandbox, before
    /// any container starts. On an error nothing of the pod is kept.
    fn attach(&self, link: PodLink) -> BoxFuture<'_, Result<PodAddresses, NetworkError>>;

    /// Gives the pod's addresses back. Unknown pods are ignored. The pod's processes may already
    /// be gone.
    fn detach<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, ()>;

    /// Connects to a port of the pod: `target` is one of its addresses (reached from the node, as
    /// probes are), or a loopback address (reached inside the pod's own namespace, as
    /// port-forward wants). No time limit of its own: the caller sets one.
    fn dial<'a>(
        &'a self,
        pod_uid: &'a str,
        target: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>>;
}

/// Runs `work` on a thread of its own that has entered `netns`, and never goes back to a pool.
pub async fn inside<T, F>(netns: OwnedFd, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (answer, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("in-netns".to_owned()).spawn(move || {
        let result = setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .and_then(|()| work());
        // The caller may have given up waiting.
        let _ = answer.send(result);
    })?;
    outcome.await.map_err(|_| io::Error::other("the thread inside the namespace ended early"))?
}

/// Connects from inside `netns`: the socket belongs to that namespace, the stream is driven by
/// the caller's runtime.
pub async fn connect_inside(netns: OwnedFd, target: SocketAddr) -> io::Result<TcpStream> {
    let domain = Domain::for_address(target);
    let socket = inside(netns, move || {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })
    .await?;
    // A socket stays in the namespace it was made in, so the connect may happen anywhere.
    match socket.connect(&SockAddr::from(target)) {
        Ok(()) => {}
        Err(err) if err.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
        Err(err) => return Err(err),
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(err) => Err(err),
        None => Ok(stream),
    }
}

/// A network without a node: every pod has only its own `lo`, and `dial` enters the pod. Enough
/// for pods that talk to themselves; used where no node network is wanted.
#[derive(Debug, Default)]
pub struct LoopbackNetwork {
    pods: Mutex<HashMap<String, Arc<OwnedFd>>>,
}

impl LoopbackNetwork {
    /// A network with no pods.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PodNetwork for LoopbackNetwork {
    fn attach(&self, link: PodLink) -> BoxFuture<'_, Result<PodAddresses, NetworkError>> {
        async move {
            let PodLink { pod_uid, netns, .. } = link;
            let failed = |step: &str, source: io::Error| NetworkError::Step {
                step: step.to_owned(),
                pod_uid: pod_uid.clone(),
                source,
            };
            let inner = netns.try_clone().map_err(|e| failed("keep the namespace", e))?;
            inside(inner, raise_loopback).await.map_err(|e| failed("raise lo", e))?;
            self.pods.lock().insert(pod_uid.clone(), Arc::new(netns));
            Ok(PodAddresses { primary: IpAddr::V4(Ipv4Addr::LOCALHOST), others: Vec::new() })
        }
        .boxed()
    }

    fn detach<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, ()> {
        async move {
            self.pods.lock().remove(pod_uid);
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        pod_uid: &'a str,
        target: SocketAddr,
    ) -> BoxFuture<'a, io::Result<TcpStream>> {
        async move {
            let netns = self.pods.lock().get(pod_uid).cloned().ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("no network for pod {pod_uid}"))
            })?;
            connect_inside(netns.try_clone()?, target).await
        }
        .boxed()
    }
}

/// Sets `lo` up in the namespace of the calling thread, with a netlink runtime of its own.
fn raise_loopback() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let raise = async move {
            let mut links = handle.link().get().match_name("lo".to_owned()).execute();
            let found = futures::TryStreamExt::try_next(&mut links).await;
            let index = found
                .map_err(io::Error::other)?
                .ok_or_else(|| io::Error::other("the namespace has no lo"))?
                .header
                .index;
            let up = rtnetlink::LinkUnspec::new_with_index(index).up().build();
            handle.link().change(up).execute().await.map_err(io::Error::other)
        };
        tokio::select! {
            result = raise => result,
            () = connection => Err(io::Error::other("the netlink connection closed early")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unknown_pods_are_not_dialled() {
        let network = LoopbackNetwork::new();
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let err = network.dial("nobody", target).await.expect_err("no such pod");
        assert_eq!(err.kind(), io::ErrorKind::NotFound);
        network.detach("nobody").await;
    }
}
