//! Reload and drain over real sockets, with certificates made on the spot.

use std::convert::Infallible;
use std::path::Path;

use rcgen::{CertificateParams, CertifiedIssuer, Issuer, KeyPair};
use tokio::sync::watch;

use super::*;
use crate::drain::{self, DrainMode};
use crate::net::{ListenOptions, listen};
use crate::tls::{self, ClientAuth, H2, Identity, TlsFiles, roots_from_pem};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A leaf for `name`, as PEM chain and key.
fn leaf(ca: &Ca, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let issuer: &Issuer<'_, KeyPair> = ca;
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn client_tls(trusted: &Ca, identity: Option<(String, String)>) -> Reloading<ClientConfig> {
    let roots = roots_from_pem(trusted.pem().as_bytes()).unwrap();
    let identity = identity.map(|(c, k)| Identity::from_pem(c.as_bytes(), k.as_bytes()).unwrap());
    Reloading::new(tls::client_config(identity, roots, &[H2]).unwrap())
}

fn target(address: SocketAddr) -> Target {
    Target {
        authority: address.to_string(),
        server_name: Some("istiod.test".into()),
        connect_timeout: Duration::from_secs(20),
    }
}

/// Answers every call at once with how many certificates the peer proved.
#[derive(Clone)]
struct Echo;

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<PeerInfo>().unwrap();
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert("x-certificates", peer.certificates.len().into());
        headers.insert("grpc-status", 0.into());
        std::future::ready(Ok(response))
    }
}

async fn call(channel: &mut Channel) -> Result<Response<Body>, String> {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(|e| format!("{e:?}"))?;
    let request = Request::post("/test.Echo/Call").body(Body::empty()).unwrap();
    channel.call(request).await.map_err(|e| format!("{e:?}"))
}

fn write(dir: &Path, (chain, key): (String, String)) -> TlsFiles {
    let (chain_path, key_path) = (dir.join("chain.pem"), dir.join("key.pem"));
    // The key first: a reload between the writes finds a pair that does not fit, and keeps the old.
    std::fs::write(&key_path, key).unwrap();
    std::fs::write(&chain_path, chain).unwrap();
    TlsFiles { identity: Some((chain_path, key_path)), roots: None }
}

fn group() -> Tasks {
    Tasks::new(drain::channel().0)
}

fn start<S>(tasks: &Tasks, tls: Option<Reloading<ServerConfig>>, service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let listener = listen("127.0.0.1:0".parse().unwrap(), ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let group = tasks.clone();
    let serving = async move { serve(&group, listener, tls, service).await };
    let _detached = tasks.spawn_critical("grpc", serving);
    address
}

#[tokio::test]
async fn new_connections_see_the_new_certificate() {
    let (old, new) = (ca("old"), ca("new"));
    let dir = tempfile::tempdir().unwrap();
    let files = write(dir.path(), leaf(&old, "istiod.test"));
    let tasks = group();
    let build = |material: tls::TlsMaterial| {
        let identity = material.identity.expect("the files name an identity");
        tls::server_config(identity, ClientAuth::None, &[H2])
    };
    let tls = files.reloading(&tasks, Duration::from_millis(2), build).await.unwrap();
    // Held, so that no later configuration can have its address.
    let before = tls.load();
    let address = start(&tasks, Some(tls.clone()), Echo);

    let mut connected = channel(&target(address), Some(client_tls(&old, None))).unwrap();
    assert_eq!(call(&mut connected).await.unwrap().headers()["x-certificates"], "0");

    write(dir.path(), leaf(&new, "istiod.test"));
    while Arc::ptr_eq(&tls.load(), &before) {
        tokio::task::yield_now().await;
    }
    let mut trusts_new = channel(&target(address), Some(client_tls(&new, None))).unwrap();
    call(&mut trusts_new).await.unwrap();
    let mut trusts_old = channel(&target(address), Some(client_tls(&old, None))).unwrap();
    assert!(call(&mut trusts_old).await.unwrap_err().contains("UnknownIssuer"));
    // The connection from before lives on.
    call(&mut connected).await.unwrap();
}

#[tokio::test]
async fn mutual_tls_shows_the_peer_and_refuses_strangers() {
    let ca = ca("mesh");
    let (chain, key) = leaf(&ca, "istiod.test");
    let roots = Arc::new(roots_from_pem(ca.pem().as_bytes()).unwrap());
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let config = tls::server_config(identity, ClientAuth::Required(roots), &[H2]).unwrap();
    let tasks = group();
    let address = start(&tasks, Some(Reloading::new(config)), Echo);

    let known = client_tls(&ca, Some(leaf(&ca, "client.test")));
    let mut known = channel(&target(address), Some(known)).unwrap();
    assert_eq!(call(&mut known).await.unwrap().headers()["x-certificates"], "1");
    let mut stranger = channel(&target(address), Some(client_tls(&ca, None))).unwrap();
    call(&mut stranger).await.unwrap_err();
}

#[tokio::test]
async fn calls_under_way_finish_when_the_server_drains() {
    let tasks = group();
    let (under_way, release) = (watch::Sender::new(0_usize), watch::Sender::new(false));
    let (count, released) = (under_way.clone(), release.clone());
    let slow = tower::service_fn(move |_request: Request<Body>| {
        let (count, mut released) = (count.clone(), released.subscribe());
        async move {
            count.send_modify(|count| *count += 1);
            let _released = released.wait_for(|released| *released).await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let address = start(&tasks, None, slow);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = channel(&target(address), None).unwrap();
        calls.spawn(async move { call(&mut client).await.map(|answer| answer.status()) });
    }
    under_way.subscribe().wait_for(|count| *count == 8).await.unwrap();

    let mode = DrainMode::Graceful { deadline: Duration::from_secs(60) };
    let trigger = tasks.trigger().clone();
    let drained =
        tasks.spawn_background("drain", async move { trigger.start_drain_and_wait(mode).await });
    tasks.drain().draining().await;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send_replace(true);
    for answer in calls.join_all().await {
        assert_eq!(answer.unwrap(), http::StatusCode::OK);
    }
    drop(drained);
    tasks.drain().stopped().await;
    assert!(tasks.failures().is_empty());
}

#[test]
fn targets_that_cannot_be_dialled() {
    let target = |authority: &str, name: Option<&str>| Target {
        authority: authority.into(),
        server_name: name.map(Into::into),
        connect_timeout: Duration::from_secs(1),
    };
    for authority in ["istiod", "istiod:port", "", "a b:1"] {
        let refused = channel(&target(authority, None), None).unwrap_err();
        assert!(matches!(refused, TargetError::Authority { .. }), "{authority}");
    }
    let refused = channel(&target("istiod:15012", Some("no name")), None).unwrap_err();
    assert!(matches!(refused, TargetError::ServerName { .. }));
}
