//! The workload's certificate and the channel to the control plane, from the bootstrap document.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::bootstrap::{Bootstrap, Discovery, Identity, IdentitySource};
use mesh_api::name::ObjectName;
use mesh_api::spiffe::SpiffeId;
use mesh_rt::grpc::{self, Target};
use mesh_rt::identity::{
    CaClient, CaSource, IdentityManager, IdentityOptions, LiveIdentity, TimeSource, TokenSource,
    tls,
};
use mesh_rt::process::{MainError, Process};
use mesh_rt::tls::{H2, Reloading, client_config, roots_from_pem};
use rustls::ClientConfig;
use tonic::transport::Channel;

use crate::upstream::dial::SOCKET_MARK;

const CONNECT: Duration = Duration::from_secs(5);
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Starts to obtain and renew the workload's certificate; the process is not ready before the
/// first. Without an identity in the document there is none, and nothing waits for it.
///
/// # Errors
/// When the document's identity cannot be one, or its source is not spoken.
pub fn start(process: &Process, document: &Bootstrap) -> Result<LiveIdentity, MainError> {
    let live = LiveIdentity::new();
    let Some(identity) = &document.identity else { return Ok(live) };
    let IdentitySource::Ca { address, root_cert, token_path } = &identity.source else {
        return Err("identity.source: only an authority is asked here; unset PROV_CERT".into());
    };
    let mut options = IdentityOptions::new(own_id(document, identity)?);
    options.ttl = identity.ttl.get();
    options.grace_ratio = identity.grace_ratio;
    options.root_file.clone_from(root_cert);
    let token = match token_path {
        Some(path) => TokenSource::File(path.clone()),
        None => TokenSource::None,
    };
    let target = Target { authority: address.clone(), server_name: None, connect_timeout: CONNECT };
    let tls = server_by_name(&live, root_cert.as_deref())?;
    let client = CaClient::new(target, Reloading::new(tls), token).with_mark(SOCKET_MARK);
    let cluster = document.node.metadata.cluster_id.as_deref().unwrap_or_default();
    let sources: Vec<Arc<dyn CaSource>> = vec![Arc::new(client.with_cluster_id(cluster))];
    let manager = IdentityManager::new(live.clone(), options, sources, TimeSource::system());
    manager.start(&process.tasks, Some(&process.readiness));
    Ok(live)
}

/// Who the workload is.
///
/// # Errors
/// When the document's service account cannot be one.
pub fn own_id(document: &Bootstrap, identity: &Identity) -> Result<SpiffeId, MainError> {
    let service_account = ObjectName::parse(&identity.service_account)
        .map_err(|error| format!("identity.serviceAccount: {error}"))?;
    Ok(SpiffeId {
        trust_domain: identity.trust_domain.clone(),
        namespace: document.node.id.namespace.clone(),
        service_account,
    })
}

/// The channel to the discovery server: it proves its DNS name, and we prove the identity of the
/// moment.
///
/// # Errors
/// When the server's address cannot be dialled at all.
pub fn discovery_channel(discovery: &Discovery, live: &LiveIdentity) -> Result<Channel, MainError> {
    let target = Target {
        authority: discovery.address.clone(),
        server_name: discovery.san.first().cloned(),
        connect_timeout: CONNECT,
    };
    let tls = match discovery.plaintext {
        true => None,
        false => Some(Reloading::new(server_by_name(live, discovery.root_cert.as_deref())?)),
    };
    Ok(grpc::marked_channel(&target, tls, Some(SOCKET_MARK))?)
}

/// Checks a server by its DNS name: against the live roots, which the mounted file is part of, or
/// against the system's where no file is named.
fn server_by_name(live: &LiveIdentity, roots: Option<&Path>) -> Result<ClientConfig, MainError> {
    if roots.is_some() {
        return Ok(tls::client_config(live, tls::ServerCheck::DnsName, &[H2])?);
    }
    let pem = std::fs::read(SYSTEM_ROOTS).map_err(|e| format!("{SYSTEM_ROOTS}: {e}"))?;
    Ok(client_config(None, roots_from_pem(&pem)?, &[H2])?)
}
