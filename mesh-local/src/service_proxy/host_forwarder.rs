//! Listens on the host's loopback for NodePorts and load balancer ports, and forwards in user
//! space: the host's namespace gets no rule and no route.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::address::Transport;
use super::host_ports::{Forward, HostPort, PortOrigin, host_ports};
use super::table::ServiceTable;
use crate::net::Node;

mod tcp;
mod udp;

/// How long to wait before ports that were taken are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The name in events.
const COMPONENT: &str = "lateen-service-proxy";

/// The backends of a port, as the forwarding task sees them.
type Backends = watch::Receiver<Forward>;

/// Listens on the ports the table asks for and follows its changes; connections in progress
/// outlive the removal of an endpoint but not that of the port. Ends when the table's publisher
/// is gone.
pub async fn forward_host_ports(
    node: Arc<Node>,
    client: Client,
    mut table: watch::Receiver<Arc<ServiceTable>>,
) {
    let reporter = Reporter { controller: COMPONENT.to_owned(), instance: None };
    let mut ports = Ports {
        node,
        recorder: Recorder::new(client, reporter),
        open: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    loop {
        let wanted = host_ports(&table.borrow_and_update());
        ports.follow(wanted).await;
        let changed = if ports.refused.is_empty() {
            table.changed().await
        } else {
            tokio::time::timeout(RETRY, table.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

struct Ports {
    node: Arc<Node>,
    recorder: Recorder,
    open: BTreeMap<HostPort, OpenPort>,
    /// What could not be listened on, with the message that was reported.
    refused: BTreeMap<HostPort, String>,
}

struct OpenPort {
    forward: watch::Sender<Forward>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Ports {
    async fn follow(&mut self, wanted: BTreeMap<HostPort, Forward>) {
        self.open.retain(|port, _| wanted.contains_key(port));
        self.refused.retain(|port, _| wanted.contains_key(port));
        for (port, forward) in wanted {
            if let Some(open) = self.open.get(&port) {
                open.forward.send_if_modified(|current| {
                    let changed = *current != forward;
                    *current = forward;
                    changed
                });
                continue;
            }
            match open(&self.node, port, forward.clone()).await {
                Ok(open) => {
                    self.refused.remove(&port);
                    self.open.insert(port, open);
                }
                Err(err) => self.report(port, &forward, &err).await,
            }
        }
    }

    /// Says once why a port is not listened on.
    async fn report(&mut self, port: HostPort, forward: &Forward, err: &io::Error) {
        let message = refusal(port, forward.origin, err);
        if self.refused.get(&port) == Some(&message) {
            return;
        }
        tracing::warn!(namespace = forward.namespace, service = forward.service, "{message}");
        self.refused.insert(port, message.clone());
        let event = Event {
            type_: EventType::Warning,
            reason: "PortUnavailable".to_owned(),
            note: Some(message),
            action: "Listen".to_owned(),
            secondary: None,
        };
        let service = ObjectReference {
            api_version: Some(Service::api_version(&()).into_owned()),
            kind: Some(Service::kind(&()).into_owned()),
            namespace: Some(forward.namespace.clone()),
            name: Some(forward.service.clone()),
            ..ObjectReference::default()
        };
        if let Err(err) = self.recorder.publish(&event, &service).await {
            tracing::debug!(error = %err, "event not written");
        }
    }
}

/// Why a port is not listened on, and what can be done.
fn refusal(port: HostPort, origin: PortOrigin, err: &io::Error) -> String {
    let HostPort { transport, port } = port;
    let flag = match transport {
        Transport::Tcp => 't',
        Transport::Udp => 'u',
    };
    let mut message = match err.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port}/{transport} of 127.0.0.1 is taken by another program, or by another \
             local cluster: `ss -ln{flag}p 'sport = :{port}'` shows which"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "only root may listen on port {port}/{transport} of 127.0.0.1 (sysctl \
             net.ipv4.ip_unprivileged_port_start)"
        ),
        _ => format!("cannot listen on port {port}/{transport} of 127.0.0.1: {err}"),
    };
    if origin == PortOrigin::LoadBalancer {
        message.push_str("; the service's node port works all the same");
    }
    message
}

/// Listens on both loopback addresses, on IPv6 only where there is one, and starts forwarding.
async fn open(node: &Arc<Node>, port: HostPort, forward: Forward) -> io::Result<OpenPort> {
    let (sender, backends) = watch::channel(forward);
    let mut tasks = JoinSet::new();
    let sockets = node.sockets().clone();
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(ip, port.port);
        let opened = match port.transport {
            Transport::Tcp => TcpListener::bind(address).await.map(|listener| {
                tasks.spawn(tcp::forward(listener, sockets.clone(), backends.clone()));
            }),
            Transport::Udp => UdpSocket::bind(address).await.map(|socket| {
                tasks.spawn(udp::forward(socket, sockets.clone(), backends.clone()));
            }),
        };
        match opened {
            Ok(()) => {}
            Err(err) if ip.is_ipv6() => {
                tracing::debug!(%address, error = %err, "not listening");
            }
            Err(err) => return Err(err),
        }
    }
    Ok(OpenPort { forward: sender, _tasks: tasks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_port_and_a_remedy() {
        let tcp = HostPort { transport: Transport::Tcp, port: 30080 };
        let taken = refusal(tcp, PortOrigin::NodePort, &io::ErrorKind::AddrInUse.into());
        assert!(taken.contains("30080") && taken.contains("ss -lntp"), "{taken}");
        let low = HostPort { transport: Transport::Tcp, port: 80 };
        let denied =
            refusal(low, PortOrigin::LoadBalancer, &io::ErrorKind::PermissionDenied.into());
        assert!(denied.contains("root") && denied.contains("node port"), "{denied}");
    }
}
