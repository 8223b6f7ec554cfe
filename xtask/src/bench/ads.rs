//! A discovery server for both proxies: incremental ADS in clear, a fixed set of resources for each
//! node.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use mesh_api::envoy::service::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_api::envoy::service::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use parking_lot::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::run::Error;

/// A running server.
pub struct Server {
    /// Its port.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<HashMap<String, Vec<Resource>>>,
    refused: Mutex<Vec<String>>,
}

impl Server {
    /// Starts on a port of this machine, on a thread that lasts as long as the process.
    pub fn start() -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(format!("cannot start the discovery server: {error}"))
        };
        let socket = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| failed(&error))?;
        let port = socket.local_addr().map_err(|error| failed(&error))?.port();
        socket.set_nonblocking(true).map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared::default());
        let service = AggregatedDiscoveryServiceServer::new(Service(Arc::clone(&shared)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let serve = move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(socket)?;
                let incoming = TcpListenerStream::new(listener);
                let served = tonic::transport::Server::builder()
                    .serve_with_incoming(service, incoming)
                    .await;
                served.map_err(std::io::Error::other)
            })
        };
        let thread = std::thread::Builder::new().name("discovery".to_owned());
        thread.spawn(serve).map_err(|error| failed(&error))?;
        Ok(Self { port, shared })
    }

    /// What the node of that id gets.
    pub fn publish(&self, node: &str, resources: Vec<Resource>) {
        self.shared.nodes.lock().insert(node.to_owned(), resources);
    }

    /// Fails when a proxy refused something.
    pub fn accepted(&self) -> Result<(), Error> {
        let refused = self.shared.refused.lock();
        if refused.is_empty() { Ok(()) } else { Err(Error::new(refused.join("\n"))) }
    }
}

struct Service(Arc<Shared>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::invalid_argument("this server speaks the incremental protocol only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let shared = Arc::clone(&self.0);
        let mut node = String::new();
        let responses = request.into_inner().filter_map(move |request| {
            let request = request.ok()?;
            if let Some(named) = &request.node {
                node.clone_from(&named.id);
            }
            shared.answer(&node, &request).map(Ok)
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Shared {
    /// All resources of a type, when they are asked for; nothing to what only acknowledges.
    fn answer(
        &self,
        node: &str,
        request: &DeltaDiscoveryRequest,
    ) -> Option<DeltaDiscoveryResponse> {
        let kind = &request.type_url;
        if let Some(error) = &request.error_detail {
            self.refused.lock().push(format!("{node} refuses its {kind}: {}", error.message));
        }
        if !request.response_nonce.is_empty() {
            return None;
        }
        let nodes = self.nodes.lock();
        let of_kind = |resource: &&Resource| {
            resource.resource.as_ref().is_some_and(|packed| packed.type_url == *kind)
        };
        let resources = nodes.get(node).into_iter().flatten().filter(of_kind).cloned().collect();
        Some(DeltaDiscoveryResponse {
            type_url: kind.clone(),
            resources,
            system_version_info: "1".to_owned(),
            nonce: kind.clone(),
            ..DeltaDiscoveryResponse::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::protobuf::Any;
    use mesh_api::envoy::rpc;

    use super::*;

    fn request(kind: &str, nonce: &str) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: kind.to_owned(),
            response_nonce: nonce.to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    #[test]
    fn each_node_gets_its_own_once_and_refusals_are_told() {
        let server = Server { port: 0, shared: Arc::default() };
        let packed = Any { type_url: "a".to_owned(), value: Vec::new() };
        let resource =
            Resource { name: "one".to_owned(), resource: Some(packed), ..Resource::default() };
        server.publish("n", vec![resource]);
        let named = |node: &str, kind: &str| {
            let response = server.shared.answer(node, &request(kind, "")).unwrap();
            response.resources.into_iter().map(|resource| resource.name).collect::<Vec<_>>()
        };
        assert_eq!(named("n", "a"), ["one"]);
        assert!(named("n", "b").is_empty() && named("m", "a").is_empty());
        assert!(server.shared.answer("n", &request("a", "a")).is_none());
        server.accepted().unwrap();
        let mut refusal = request("a", "a");
        refusal.error_detail =
            Some(rpc::Status { message: "no port".to_owned(), ..rpc::Status::default() });
        assert!(server.shared.answer("n", &refusal).is_none());
        assert!(server.accepted().unwrap_err().to_string().contains("n refuses its a: no port"));
    }
}
