//! `istio.v1.auth.IstioCertificateService` at pilot's port: requests that carry a token are handed
//! on to the authority, which reviews the token itself.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use mesh_api::istio::ca::istio_certificate_service_server::IstioCertificateService;
use mesh_api::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use mesh_rt::grpc::{self, Target, TargetError};
use mesh_rt::identity::LiveIdentity;
use mesh_rt::tls::Reloading;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::xds::auth::bearer;

/// How long the authority may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest request handed on, and the largest answer.
pub const MESSAGE_BYTES: usize = 256 * 1024;

type Client = IstioCertificateServiceClient<Channel>;

/// The relay.
#[derive(Clone, Debug)]
pub struct CaRelay {
    target: Target,
    tls: Option<Reloading<ClientConfig>>,
    live: LiveIdentity,
    /// The client, and the generation of the identity it was dialled with.
    client: Arc<Mutex<(u64, Client)>>,
}

impl CaRelay {
    /// Hands on to the authority at `target`, over TLS if given. It dials anew whenever the
    /// identity changes, because the authority refuses a connection whose certificate has expired.
    ///
    /// # Errors
    /// When the target cannot be dialled at all.
    pub fn following(
        target: Target,
        tls: Option<Reloading<ClientConfig>>,
        live: LiveIdentity,
    ) -> Result<Self, TargetError> {
        let first = (live.generation(), client(&target, tls.clone())?);
        Ok(Self { target, tls, live, client: Arc::new(Mutex::new(first)) })
    }

    fn client(&self) -> Client {
        let generation = self.live.generation();
        let mut current = self.client.lock();
        if current.0 != generation
            && let Ok(client) = client(&self.target, self.tls.clone())
        {
            *current = (generation, client);
        }
        current.1.clone()
    }
}

fn client(target: &Target, tls: Option<Reloading<ClientConfig>>) -> Result<Client, TargetError> {
    let client = IstioCertificateServiceClient::new(grpc::channel(target, tls)?)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    Ok(client)
}

#[tonic::async_trait]
impl IstioCertificateService for CaRelay {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        if bearer(request.metadata()).is_none() {
            return Err(Status::unauthenticated(
                "no `authorization: Bearer` token; renewals by certificate go to istio-ca directly",
            ));
        }
        let (metadata, _, message) = request.into_parts();
        let mut onward = Request::new(message);
        for name in ["authorization", "clusterid"] {
            if let Some(value) = metadata.get(name) {
                onward.metadata_mut().insert(name, value.clone());
            }
        }
        onward.set_timeout(TIMEOUT);
        let mut client = self.client();
        let call = tokio::time::timeout(TIMEOUT, client.create_certificate(onward));
        match call.await {
            Ok(Ok(response)) => Ok(Response::new(response.into_inner())),
            // The authority's own words, without its trailers.
            Ok(Err(status)) => Err(Status::new(status.code(), status.message())),
            Err(_elapsed) => {
                Err(Status::unavailable("the certificate authority does not answer; try again"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
    use mesh_rt::tasks::Tasks;
    use tokio::net::TcpListener;
    use tonic::Code;

    use super::*;

    struct Authority;

    #[tonic::async_trait]
    impl IstioCertificateService for Authority {
        async fn create_certificate(
            &self,
            request: Request<IstioCertificateRequest>,
        ) -> Result<Response<IstioCertificateResponse>, Status> {
            match bearer(request.metadata()) {
                Some("good") => Ok(Response::new(IstioCertificateResponse {
                    cert_chain: vec![request.into_inner().csr],
                })),
                _ => Err(Status::permission_denied("not you")),
            }
        }
    }

    #[tokio::test]
    async fn tokens_are_handed_on_and_answers_back() {
        let (trigger, _) = mesh_rt::drain::channel();
        let tasks = Tasks::new(trigger);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let group = tasks.clone();
        let _detached = tasks.spawn_background("authority", async move {
            let service = IstioCertificateServiceServer::new(Authority);
            mesh_rt::grpc::serve(&group, listener, None, service).await
        });
        let target = Target {
            authority: address.to_string(),
            server_name: None,
            connect_timeout: Duration::from_secs(5),
        };
        let relay = CaRelay::following(target, None, LiveIdentity::new()).unwrap();
        let ask = async |token: Option<&str>| {
            let message = IstioCertificateRequest { csr: "csr".to_owned(), ..Default::default() };
            let mut request = Request::new(message);
            if let Some(token) = token {
                let value = format!("Bearer {token}").parse().unwrap();
                request.metadata_mut().insert("authorization", value);
            }
            relay.create_certificate(request).await
        };
        assert_eq!(ask(Some("good")).await.unwrap().into_inner().cert_chain, ["csr"]);
        let refused = ask(Some("bad")).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "not you"));
        assert_eq!(ask(None).await.unwrap_err().code(), Code::Unauthenticated);
    }
}
