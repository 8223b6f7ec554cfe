//! An API server and the node's network together: objects in, connections out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use mesh_local::api::{ApiServer, Config};
use mesh_local::dns::{DnsServer, Upstreams};
use mesh_local::net::{Node, NodeConnector};
use mesh_local::node_api::Connector;
use mesh_local::service_proxy::{run, watch_services};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{ECHO_PORT, Outcome, Pod, ask, eventually, node};

pub(crate) async fn objects_become_connections() -> Outcome {
    let node = Arc::new(node().await?);
    let server = ApiServer::start(Config::default()).await?;
    let client = server.admin_client();
    let api_address = SocketAddr::from((node.config().api_server, 443));
    let listener = node.listen_tcp(api_address).await?;
    let (table, following) = watch_services(client.clone());
    let dns = DnsServer::bind(&node, Upstreams::Fixed(Vec::new())).await?;
    tokio::select! {
        _ = server.serve(listener) => Err("the API server ended".into()),
        () = following => Err("the watch ended".into()),
        () = run(Arc::clone(&node), client.clone(), table.clone()) => Err("the proxy ended".into()),
        () = dns.run(table) => Err("the DNS server ended".into()),
        outcome = checks(&node, client, api_address) => outcome,
    }
}

async fn checks(node: &Arc<Node>, client: kube::Client, api_address: SocketAddr) -> Outcome {
    let pod = Pod::start(node, "web").await?;
    let caller = Pod::start(node, "caller").await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let slices: Api<EndpointSlice> = Api::default_namespaced(client);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port();

    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": port, "targetPort": ECHO_PORT}]}}))?;
    let created = services.create(&PostParams::default(), &service).await?;
    let spec = created.spec.ok_or("no spec")?;
    let cluster_ip: IpAddr = spec.cluster_ip.ok_or("no cluster IP")?.parse()?;
    let node_port = spec.ports.and_then(|p| p.first()?.node_port).ok_or("no node port")?;
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": ECHO_PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [pod.address.to_string()], "conditions": {"ready": true}}]}))?;
    slices.create(&PostParams::default(), &slice).await?;

    // From a pod by cluster IP and by node port, from the API server, from the host.
    let vip = SocketAddr::new(cluster_ip, port);
    eventually("the cluster IP works", async || {
        Ok(caller.ask(vip).await.ok() == Some(format!("web {}", caller.address)))
    })
    .await?;
    let inside = SocketAddr::from((node.config().node_address(), u16::try_from(node_port)?));
    assert_eq!(caller.ask(inside).await?, format!("web {}", caller.address));
    let connector = NodeConnector::new(node);
    let from_node = format!("web {}", node.config().node_address());
    assert_eq!(ask(connector.connect(vip).await?).await?, from_node);
    let outside = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the host port works", async || match TcpStream::connect(outside).await {
        Ok(stream) => Ok(ask(stream).await? == from_node),
        Err(_) => Ok(false),
    })
    .await?;
    eventually("the service has its address", async || {
        let status = services.get("web").await?.status.and_then(|s| s.load_balancer);
        let ingress = status.and_then(|lb| lb.ingress).unwrap_or_default();
        Ok(ingress.iter().any(|i| i.ip.as_deref() == Some("127.0.0.1")))
    })
    .await?;
    // The API server's own address is not translated, whatever its endpoints say.
    drop(caller.connect(api_address).await?);

    services.delete("web", &DeleteParams::default()).await?;
    eventually("the cluster IP is refused", async || {
        let kind = caller.connect(vip).await.err().map(|err| err.kind());
        Ok(kind == Some(io::ErrorKind::ConnectionRefused))
    })
    .await
}
