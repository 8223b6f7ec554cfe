//! The gRPC services of one port, told apart by the path of a call.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use mesh_api::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use crate::ca_relay::CaRelay;
use crate::xds::server::AdsServer;

/// The relay's service.
pub type Relay = IstioCertificateServiceServer<CaRelay>;

/// Discovery and certificates.
#[derive(Clone)]
pub struct Services {
    /// Discovery.
    pub discovery: AdsServer,
    /// Certificates; not everywhere.
    pub certificates: Option<Relay>,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match &mut self.certificates {
            _ if service == AdsServer::NAME => Box::pin(self.discovery.call(request)),
            Some(relay) if service == Relay::NAME => Box::pin(relay.call(request)),
            _ => {
                let status = Status::unimplemented("no such service here");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}
