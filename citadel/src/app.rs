//! The only file that knows every part of citadel.

use std::sync::Arc;

use kube::Client;
use mesh_api::istio::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::spiffe::SpiffeId;
use mesh_api::trust_domain::TrustDomains;
use mesh_rt::admin::Admin;
use mesh_rt::backoff::{self, Backoff};
use mesh_rt::grpc;
use mesh_rt::identity::{
    IdentityManager, IdentityOptions, LiveIdentity, TimeSource, TrustBundle, tls,
};
use mesh_rt::net::ListenOptions;
use mesh_rt::process::{MainError, Process};
use mesh_rt::tls::{H2, Reloading};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::authn::{Authenticator, ClientCertificate, TokenReviews};
use crate::distribute;
use crate::metrics::{self, Counts};
use crate::service::{CertificateService, MAX_REQUEST, OwnCertificate, Policy, Signer};
use crate::settings::CitadelSettings;
use crate::store::{LiveCa, SecretStore};

/// Starts the parts, with the Kubernetes API of the environment.
///
/// # Errors
/// A mesh configuration, a Kubernetes client or a socket that cannot be used.
pub async fn start(
    process: Process,
    settings: CitadelSettings,
    admin: Admin,
) -> Result<Admin, MainError> {
    let client = Client::try_default().await?;
    let listener = process.sockets.listen(settings.listen, ListenOptions::default())?;
    let _live = start_with(&process, &settings, client, listener, TimeSource::system()).await?;
    Ok(admin)
}

/// Starts the parts on what it is given, and returns the authority.
///
/// # Errors
/// Settings or a mesh configuration that cannot be used.
pub async fn start_with(
    process: &Process,
    settings: &CitadelSettings,
    client: Client,
    listener: TcpListener,
    time: TimeSource,
) -> Result<LiveCa, MainError> {
    let domains = settings.trust_domains().await?;
    let own = SpiffeId {
        trust_domain: domains.primary.clone(),
        namespace: Namespace::parse(&settings.namespace)?,
        service_account: ObjectName::parse(&settings.service_account)?,
    };
    info!(identity = %own, address = %listener.local_addr()?, "certificate authority");
    let (ca, live, counts) = (LiveCa::default(), LiveIdentity::new(), Arc::<Counts>::default());
    metrics::register(&process.metrics, counts.clone(), ca.clone(), time.clone());
    let store = SecretStore::new(
        client.clone(),
        &settings.namespace,
        domains.primary.as_str(),
        settings.root_ttl,
        time.clone(),
    );
    let policy = Policy {
        namespace: settings.namespace.clone(),
        cluster_domain: settings.cluster_domain.clone(),
        default_ttl: settings.default_ttl,
        max_ttl: settings.max_ttl,
    };
    let signer = Signer::new(ca.clone(), policy, time.clone());

    let loaded = process.readiness.block("authority");
    let authority = load(store, ca.clone(), live.clone(), loaded);
    let _detached = process.tasks.spawn_background("authority", authority);
    let distributed = process.readiness.block("roots in every namespace");
    let distribute = distribute::run(client.clone(), ca.clone(), Some(distributed));
    let _detached = process.tasks.spawn_background("root distribution", distribute);
    let certificate = process.readiness.block("serving certificate");
    let keep = own_certificate(own, signer.clone(), settings, live.clone(), time.clone());
    let keep = keep.run(Some(certificate));
    let wait = ca.clone();
    let _detached = process.tasks.spawn_background("serving certificate", async move {
        // Before there is an authority, asking it would only fill the log.
        let mut changes = wait.subscribe();
        while wait.current().is_none() {
            if changes.changed().await.is_err() {
                return;
            }
        }
        keep.await;
    });
    let authenticators = authenticators(settings, client, domains, live.clone(), time);
    serve(process, listener, &live, CertificateService::new(signer, authenticators, counts))?;
    Ok(ca)
}

fn own_certificate(
    own: SpiffeId,
    signer: Signer,
    settings: &CitadelSettings,
    live: LiveIdentity,
    time: TimeSource,
) -> IdentityManager {
    let mut options = IdentityOptions::new(own.clone());
    options.ttl = settings.default_ttl;
    let source = Arc::new(OwnCertificate { spiffe: own, signer });
    IdentityManager::new(live, options, vec![source], time)
}

fn authenticators(
    settings: &CitadelSettings,
    client: Client,
    domains: TrustDomains,
    live: LiveIdentity,
    time: TimeSource,
) -> Vec<Arc<dyn Authenticator>> {
    let tokens = TokenReviews::new(client, settings.audience.clone(), domains.primary.clone());
    vec![Arc::new(ClientCertificate::new(live, domains, time)), Arc::new(tokens)]
}

fn serve(
    process: &Process,
    listener: TcpListener,
    live: &LiveIdentity,
    service: CertificateService,
) -> Result<(), MainError> {
    let config = tls::server_config(live, tls::ClientCertificates::Optional, &[H2])?;
    let service =
        IstioCertificateServiceServer::new(service).max_decoding_message_size(MAX_REQUEST);
    let tasks = process.tasks.clone();
    let serving =
        async move { grpc::serve(&tasks, listener, Some(Reloading::new(config)), service).await };
    let _detached = process.tasks.spawn_critical("certificate service", serving);
    Ok(())
}

/// Loads the authority, trying again until there is one, then follows its Secrets and renews our
/// own certificate under each new authority.
async fn load(
    store: SecretStore,
    ca: LiveCa,
    live: LiveIdentity,
    loaded: mesh_rt::readiness::BlockReady,
) {
    let mut backoff = Backoff::default();
    loop {
        match store.load().await {
            Ok(bundle) => {
                info!(secret = bundle.secret(), "authority loaded");
                ca.publish(bundle);
                break;
            }
            Err(reason) => {
                error!("no authority: {reason}");
                tokio::time::sleep(backoff.next(backoff::jitter())).await;
            }
        }
    }
    drop(loaded);
    let mut changes = ca.subscribe();
    let renew = async {
        while changes.changed().await.is_ok() {
            let Some(current) = ca.current() else { continue };
            match TrustBundle::from_pem(current.root_pem().as_bytes()) {
                Ok(trust) => live.set_trust(trust),
                Err(reason) => warn!("roots of the new authority: {reason}"),
            }
            live.renew();
        }
    };
    tokio::join!(store.follow(ca.clone()), renew);
}
