//! Handshakes between two keystores over an in-memory pipe.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_rt::identity::{
    CsrSubject, Issued, KeyAlgorithm, KeyAndCsr, LiveIdentity, TrustBundle, WorkloadCert,
};
use mesh_test::ca::{Leaf, TestCa};
use parking_lot::Mutex;
use proxy_model::lookup::{Lookup, ResourceName};
use proxy_model::matcher::StringMatcher;
use proxy_model::tls::{
    DataSource, DownstreamTls, SanKind, SanMatcher, Secret, SecretContent, SecretRef, SecretSource,
    TlsVersion, TlsVersions, UpstreamTls, Validation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::client::{self, Overrides};
use super::keystore::Keystore;
use super::material::Secrets;
use super::peer::PeerCertificate;
use super::{TlsFailure, server};

const PATIENCE: Duration = Duration::from_secs(10);
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

#[derive(Default)]
struct Sent(Mutex<HashMap<String, Arc<Secret>>>);

impl Secrets for Sent {
    fn secret(&self, name: &str) -> Lookup<Arc<Secret>> {
        match self.0.lock().get(name) {
            Some(secret) => Lookup::Found(secret.clone()),
            None => Lookup::Unknown(ResourceName::new(mesh_api::type_url::TypeUrl::Secret, name)),
        }
    }
}

fn identity(live: &LiveIdentity, ca: &TestCa, spiffe: &str) {
    let id: mesh_api::spiffe::SpiffeId = spiffe.parse().unwrap();
    let subject = CsrSubject { spiffe: id.clone(), algorithm: KeyAlgorithm::default() };
    let key = KeyAndCsr::generate(&subject).unwrap();
    let chain_pem = ca.sign(key.csr_pem(), &Leaf::spiffe(spiffe)).unwrap();
    let trusted = TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap();
    let roots = trusted.certificates().to_vec();
    let certificate =
        WorkloadCert::check(&Issued { chain_pem }, key.into_key(), &id, &roots, SystemTime::now());
    live.publish(certificate.unwrap(), trusted);
}

fn workload(ca: &TestCa, spiffe: &str) -> Keystore {
    let live = LiveIdentity::new();
    identity(&live, ca, spiffe);
    Keystore::new(live, Arc::new(Sent::default()))
}

fn sds(name: &str) -> SecretRef {
    SecretRef { name: name.into(), source: SecretSource::Sds }
}

fn san(kind: SanKind, matcher: StringMatcher) -> Vec<SanMatcher> {
    vec![SanMatcher { kind, matcher }]
}

fn mesh_server() -> DownstreamTls {
    DownstreamTls {
        certificates: vec![sds("default")],
        validation: Validation {
            roots: Some(sds("ROOTCA")),
            sans: san(SanKind::Uri, StringMatcher::prefix("spiffe://cluster.local/").unwrap()),
            ..Validation::default()
        },
        require_client_certificate: true,
        alpn: vec!["h2".into(), "http/1.1".into()],
        versions: TlsVersions::default(),
        ciphers: vec!["ECDHE-ECDSA-AES256-GCM-SHA384".into(), "AES128-SHA".into()],
        policy_hash: 1,
    }
}

fn mesh_client(server: &str) -> UpstreamTls {
    UpstreamTls {
        certificate: Some(sds("default")),
        validation: Validation {
            roots: Some(sds("ROOTCA")),
            sans: san(SanKind::Uri, StringMatcher::exact(server)),
            ..Validation::default()
        },
        alpn: vec!["istio".into()],
        sni: "outbound_.9080_._.reviews.shop.svc.cluster.local".into(),
        auto_sni: false,
        auto_san_validation: false,
        versions: TlsVersions::default(),
        ciphers: Vec::new(),
        hash: 1,
    }
}

struct Outcome {
    client: Result<PeerCertificate, TlsFailure>,
    server: Result<Option<PeerCertificate>, TlsFailure>,
    alpn: Option<Vec<u8>>,
    resumed: bool,
}

async fn shake(
    (client, up): (&Keystore, UpstreamTls),
    (server, down): (&Keystore, DownstreamTls),
    overrides: Overrides,
) -> Outcome {
    mesh_rt::crypto::install();
    let (near, far) = duplex(64 * 1024);
    let (up, down) = (Arc::new(up), Arc::new(down));
    let server_side = async {
        let (mut stream, peer) = server::accept(far, &down, server, PATIENCE).await?;
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let kind = stream.get_ref().1.handshake_kind();
        stream.write_all(b"hello").await.map_err(|e| TlsFailure::Handshake(e.to_string()))?;
        stream.shutdown().await.map_err(|e| TlsFailure::Handshake(e.to_string()))?;
        Ok((peer, alpn, kind == Some(rustls::HandshakeKind::Resumed)))
    };
    let client_side = async {
        let (mut stream, peer) = client::connect(near, &up, &overrides, client).await?;
        // A server that refuses the client says so only now in TLS 1.3.
        let mut greeting = Vec::new();
        let read = stream.read_to_end(&mut greeting).await;
        read.map_err(|e| TlsFailure::Handshake(e.to_string()))?;
        Ok(peer)
    };
    let (server, client): (Result<_, TlsFailure>, _) = tokio::join!(server_side, client_side);
    let (server, alpn, resumed) = match server {
        Ok((peer, alpn, resumed)) => (Ok(peer), alpn, resumed),
        Err(failure) => (Err(failure), None, false),
    };
    Outcome { client, server, alpn, resumed }
}

fn with_alpn(protocol: &str) -> Overrides {
    Overrides { alpn: Some([Arc::from(protocol)].into()), ..Overrides::default() }
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let ca = TestCa::root("root");
    let (client, server) = (workload(&ca, CLIENT), workload(&ca, SERVER));
    for (version, resumes) in [(TlsVersion::V1_3, false), (TlsVersion::V1_2, false)] {
        let mut up = mesh_client(SERVER);
        up.versions.max = version;
        up.hash = version as u64;
        let outcome = shake((&client, up), (&server, mesh_server()), with_alpn("h2")).await;
        let principal = |peer: &PeerCertificate| peer.identity.principal.clone().unwrap();
        assert_eq!(principal(&outcome.client.unwrap()).to_string(), SERVER);
        let peer = outcome.server.unwrap().unwrap();
        assert_eq!(principal(&peer).to_string(), CLIENT);
        assert_eq!((peer.hash.len(), peer.identity.subject.as_deref()), (64, None));
        assert_eq!(outcome.alpn.as_deref(), Some(&b"h2"[..]));
        assert_eq!(outcome.resumed, resumes);
    }
}

#[tokio::test]
async fn whoever_is_not_wanted_is_refused() {
    let (ca, foreign) = (TestCa::root("root"), TestCa::root("foreign"));
    let (client, server) = (workload(&ca, CLIENT), workload(&ca, SERVER));
    let alpn = || with_alpn("h2");
    // Another server than the one that was wanted.
    let other = "spiffe://cluster.local/ns/shop/sa/ratings";
    let outcome = shake((&client, mesh_client(other)), (&server, mesh_server()), alpn()).await;
    let reason = outcome.client.unwrap_err().to_string();
    assert!(reason.contains(SERVER), "{reason}");
    // A client of a foreign authority that trusts ours.
    let stranger = workload(&foreign, CLIENT);
    let ours = TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap();
    stranger.live().set_trust(ours);
    let outcome = shake((&stranger, mesh_client(SERVER)), (&server, mesh_server()), alpn()).await;
    assert!(outcome.server.is_err() && outcome.client.is_err());
    // A client of the right authority and a foreign trust domain.
    let abroad = workload(&ca, "spiffe://elsewhere/ns/shop/sa/web");
    let outcome = shake((&abroad, mesh_client(SERVER)), (&server, mesh_server()), alpn()).await;
    let reason = outcome.server.unwrap_err().to_string();
    assert!(reason.contains("spiffe://elsewhere/"), "{reason}");
    // A client without a certificate.
    let mut bare = mesh_client(SERVER);
    bare.certificate = None;
    let outcome = shake((&client, bare), (&server, mesh_server()), alpn()).await;
    assert!(outcome.server.is_err());
}

#[tokio::test]
async fn a_client_of_other_protocols_is_served_without_one() {
    let ca = TestCa::root("root");
    let (client, server) = (workload(&ca, CLIENT), workload(&ca, SERVER));
    let istio = with_alpn("istio");
    let outcome = shake((&client, mesh_client(SERVER)), (&server, mesh_server()), istio).await;
    outcome.server.expect("served");
    assert_eq!(outcome.alpn, None);
}

#[tokio::test]
async fn sessions_die_with_the_roots_they_were_made_under() {
    let ca = TestCa::root("root");
    let (client, server) = (workload(&ca, CLIENT), workload(&ca, SERVER));
    let again = || shake((&client, mesh_client(SERVER)), (&server, mesh_server()), with_alpn("h2"));
    assert!(!again().await.resumed);
    let second = again().await;
    assert!(second.resumed);
    let peer = second.server.unwrap().unwrap();
    assert_eq!(&*peer.identity.uris[0], CLIENT, "the peer is known on resumption");
    // The server's trust moves on: its tickets are worth nothing.
    identity(server.live(), &ca, SERVER);
    assert!(!again().await.resumed);
}

#[tokio::test]
async fn secrets_from_pilot_and_files_serve_by_name() {
    let ca = TestCa::root("root");
    let directory = tempfile::tempdir().unwrap();
    let (file_chain, file_key) = ca.leaf(&Leaf::spiffe(SERVER).with_dns("file.example"));
    let paths = [directory.path().join("chain.pem"), directory.path().join("key.pem")];
    std::fs::write(&paths[0], file_chain).unwrap();
    std::fs::write(&paths[1], file_key).unwrap();
    let (chain, key) = ca.leaf(&Leaf::spiffe(SERVER).with_dns("*.shop.example"));
    let inline = |text: String| DataSource::Inline(text.into_bytes().into());
    let sent = Arc::new(Sent::default());
    let secret = Secret {
        name: "kubernetes://web".into(),
        version: "1".into(),
        content: SecretContent::Certificate {
            chain: inline(chain),
            key: inline(key),
            ocsp_staple: None,
        },
    };
    let gateway = Keystore::new(LiveIdentity::new(), sent.clone());
    let mut down = mesh_server();
    let file = format!("file-cert:{}~{}", paths[0].display(), paths[1].display());
    down.certificates = vec![sds(&file), sds("kubernetes://web")];
    down.validation = Validation::default();
    down.require_client_certificate = false;
    let mut up = mesh_client(SERVER);
    up.certificate = None;
    let roots = DataSource::Inline(ca.root_pem().as_bytes().into());
    up.validation.roots =
        Some(SecretRef { name: "root".into(), source: SecretSource::Roots(roots) });
    let client = Keystore::new(LiveIdentity::new(), Arc::new(Sent::default()));
    let ask = async |name: &str| {
        let mut up = up.clone();
        up.validation.sans = san(SanKind::Dns, StringMatcher::exact(name));
        up.hash = name.len() as u64;
        let overrides = Overrides { sni: Some(name.into()), ..with_alpn("h2") };
        shake((&client, up), (&gateway, down.clone()), overrides).await
    };
    let missing = ask("a.shop.example").await.server.unwrap_err().to_string();
    assert!(missing.contains("kubernetes://web") && missing.contains("not sent"), "{missing}");
    sent.0.lock().insert("kubernetes://web".to_owned(), Arc::new(secret));
    assert!(ask("a.shop.example").await.client.is_ok());
    assert!(ask("file.example").await.client.is_ok());
    assert!(ask("elsewhere.example.org").await.client.is_err());
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let ca = TestCa::root("root");
    let keystore = workload(&ca, SERVER);
    let mut policy = mesh_server();
    policy.ciphers = vec!["AES128-SHA".into()];
    let refused = keystore.server(&policy).unwrap_err().to_string();
    assert!(refused.contains("cipher_suites"), "{refused}");
    let mut policy = mesh_server();
    policy.validation.crl = Some(DataSource::Inline(b"x"[..].into()));
    assert!(keystore.server(&policy).unwrap_err().to_string().contains("crl"));
    let mut policy = mesh_server();
    policy.certificates = vec![sds("file-cert:/nonexistent~/nonexistent")];
    assert!(keystore.server(&policy).unwrap_err().to_string().contains("/nonexistent"));
    let nobody = Keystore::new(LiveIdentity::new(), Arc::new(Sent::default()));
    let refused = nobody.server(&mesh_server()).unwrap_err().to_string();
    assert!(refused.contains("no certificate yet"), "{refused}");
}
