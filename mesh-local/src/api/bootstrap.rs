//! What a cluster starts with: namespaces, roles, priority classes, the `kubernetes` service.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::handler::handle;
use super::identity::{MASTERS, User};
use super::rbac;
use super::server::Server;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing. The `kubernetes` service gets the first address of `services`;
/// `address` is where pods reach this server.
///
/// # Errors
/// When an object is refused, with the server's words.
pub(crate) async fn run(
    server: &Arc<Server>,
    services: Ipv4Net,
    address: SocketAddrV4,
) -> Result<(), String> {
    for name in NAMESPACES {
        let namespace = json!({"metadata": {"name": name}});
        create(server, "/api/v1/namespaces", &namespace).await?;
    }
    for (resource, object) in rbac::bootstrap_objects() {
        create(server, &format!("/apis/{}/v1/{resource}", rbac::GROUP), &object).await?;
    }
    for (name, value) in
        [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class = json!({"metadata": {"name": name}, "value": value});
        create(server, "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
    }
    kubernetes_service(server, services, address).await
}

async fn kubernetes_service(
    server: &Arc<Server>,
    services: Ipv4Net,
    address: SocketAddrV4,
) -> Result<(), String> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": services.hosts().next(),
            "ports": [
                {"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port()},
            ],
        },
    });
    create(server, "/api/v1/namespaces/default/services", &service).await?;
    let port = json!({"name": "https", "port": address.port(), "protocol": "TCP"});
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [port],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    create(server, slices, &slice).await?;
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address.ip().to_string()}], "ports": [port]}],
    });
    create(server, "/api/v1/namespaces/default/endpoints", &endpoints).await
}

/// Creates an object through the server's own front door; one that exists stays as it is.
/// Creates an object unless it is there already, as it is after a restart. What is there is
/// asked for first: a second creation would be refused by allocators before the name is seen.
async fn create(server: &Arc<Server>, path: &str, object: &Value) -> Result<(), String> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let (status, _) = send(server, Method::GET, &format!("{path}/{name}"), Bytes::new()).await?;
    if status.is_success() {
        return Ok(());
    }
    let (status, text) = send(server, Method::POST, path, Bytes::from(object.to_string())).await?;
    if status.is_success() { Ok(()) } else { Err(format!("{path}: {text}")) }
}

async fn send(
    server: &Arc<Server>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, String), String> {
    let user = Arc::new(User::authenticated("system:apiserver", &[MASTERS]));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(Full::new(body))
        .map_err(|e| e.to_string())?;
    let response = handle(Arc::clone(server), Some(user), request).await;
    let status = response.status();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let text = body.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    Ok((status, text))
}
