//! Identities against an authority: its good answers, its bad ones, and time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use mesh_test::ca::{Leaf, TestCa};
use mesh_test::ca_server::CaServer;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::Status;

use super::*;
use crate::grpc::Target;
use crate::tls::{H2, Reloading};

const ME: &str = "spiffe://cluster.local/ns/default/sa/app";
const SERVER: &str = "istiod.istio-system.svc";

fn me() -> mesh_api::spiffe::SpiffeId {
    ME.parse().unwrap()
}

fn request() -> KeyAndCsr {
    let algorithm = KeyAlgorithm::EcdsaP256;
    KeyAndCsr::generate(&CsrSubject { spiffe: me(), algorithm }).unwrap()
}

fn pem_roots(ca: &TestCa) -> TrustBundle {
    TrustBundle::from_pem(ca.root_pem().as_bytes()).unwrap()
}

fn check(chain_pem: Vec<String>, request: KeyAndCsr) -> Result<WorkloadCert, CertError> {
    let issued = Issued { chain_pem };
    WorkloadCert::check(&issued, request.into_key(), &me(), &[], SystemTime::now())
}

/// A certificate of `ca` for `spiffe`, live.
fn live(ca: &TestCa, spiffe: &str, dns: Option<&str>) -> LiveIdentity {
    let (spiffe, mut leaf) = (spiffe.parse().unwrap(), Leaf::spiffe(spiffe));
    leaf.dns.extend(dns.map(str::to_owned));
    let request =
        KeyAndCsr::generate(&CsrSubject { spiffe, algorithm: KeyAlgorithm::EcdsaP256 }).unwrap();
    let issued = Issued { chain_pem: ca.sign(request.csr_pem(), &leaf).unwrap() };
    let expected = leaf.uris[0].parse().unwrap();
    let now = SystemTime::now();
    let cert = WorkloadCert::check(&issued, request.into_key(), &expected, &[], now).unwrap();
    let live = LiveIdentity::new();
    live.publish(cert, pem_roots(ca));
    live
}

#[test]
fn a_good_answer_is_taken_apart() {
    let root = TestCa::root("mesh");
    for (ca, presented) in [(&root, 1), (&root.intermediate("issuing"), 2)] {
        let request = request();
        let answer = ca.sign(request.csr_pem(), &Leaf::spiffe(ME)).unwrap();
        let cert = check(answer, request).unwrap();
        assert_eq!(cert.spiffe(), &me());
        assert_eq!(cert.chain().len(), presented);
        assert_eq!(cert.roots_pem().replace("\r\n", "\n"), root.root_pem().replace("\r\n", "\n"));
        assert_eq!(cert.chain_pem().matches("BEGIN CERTIFICATE").count(), presented);
        assert!(cert.serial().len() > 8 && cert.serial().bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(!format!("{cert:?}").contains("key"), "{cert:?}");
    }
}

#[test]
fn rsa_keys_work_too() {
    let subject = CsrSubject { spiffe: me(), algorithm: KeyAlgorithm::Rsa2048 };
    let request = KeyAndCsr::generate(&subject).unwrap();
    let answer = TestCa::root("mesh").sign(request.csr_pem(), &Leaf::spiffe(ME)).unwrap();
    check(answer, request).unwrap();
}

#[test]
fn bad_answers_are_told_apart() {
    let ca = TestCa::root("mesh");
    let (request_one, now) = (request(), SystemTime::now());
    let sign = |leaf: &Leaf| ca.sign(request_one.csr_pem(), leaf).unwrap();
    let hours = |n: u64| Duration::from_hours(n);
    let mut two_uris = Leaf::spiffe(ME);
    two_uris.uris.push("spiffe://cluster.local/ns/default/sa/b".into());
    let mut foreign_root = sign(&Leaf::spiffe(ME));
    foreign_root[1] = TestCa::root("foreign").root_pem().to_owned();
    let other_key = ca.sign(request().csr_pem(), &Leaf::spiffe(ME)).unwrap();
    let authority = vec![ca.intermediate("x").certificate_pem().to_owned()];
    let huge = vec![sign(&Leaf::spiffe(ME)).concat(); 40];
    let spiffe = Leaf::spiffe;
    type Check = fn(&CertError) -> bool;
    let table: [(&str, Vec<String>, Check); 13] = [
        ("nothing", vec![], |e| *e == CertError::Empty),
        ("no PEM", vec!["certificate".into()], |e| *e == CertError::Empty),
        ("torn", vec!["-----BEGIN CERTIFICATE-----\nAA".into()], |e| {
            matches!(e, CertError::Unreadable(_))
        }),
        (
            "no DER",
            vec!["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".into()],
            |e| matches!(e, CertError::NoIdentity(PeerIdError::Unreadable(_))),
        ),
        ("too much", huge, |e| *e == CertError::TooLarge),
        ("other workload", sign(&spiffe("spiffe://cluster.local/ns/default/sa/b")), |e| {
            matches!(e, CertError::WrongIdentity { .. })
        }),
        ("other form", sign(&spiffe("spiffe://cluster.local/x")), |e| {
            matches!(e, CertError::NoIdentity(PeerIdError::Form(_)))
        }),
        ("two names", sign(&two_uris), |e| *e == CertError::NoIdentity(PeerIdError::Count(2))),
        ("an authority", authority, |e| *e == CertError::NoIdentity(PeerIdError::Authority)),
        ("expired", sign(&spiffe(ME).between(now - hours(2), now - hours(1))), |e| {
            *e == CertError::Expired
        }),
        ("tomorrow's", sign(&spiffe(ME).between(now + hours(24), now + hours(48))), |e| {
            *e == CertError::NotYetValid
        }),
        ("foreign root", foreign_root, |e| matches!(e, CertError::Untrusted(_))),
        ("other key", other_key, |e| matches!(e, CertError::WrongKey(_))),
    ];
    let key = rcgen::KeyPair::generate().unwrap();
    for (what, answer, expected) in table {
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let issued = Issued { chain_pem: answer };
        let error = WorkloadCert::check(&issued, PrivateKey::new(key.into()), &me(), &[], now)
            .expect_err(what);
        assert!(expected(&error), "{what}: {error:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let body = certificates_to_pem(&[bytes.into()]);
        let key = PrivateKey::new(rustls_pki_types::PrivatePkcs8KeyDer::from(vec![1]).into());
        let issued = Issued { chain_pem: vec![body] };
        proptest::prop_assert!(
            WorkloadCert::check(&issued, key, &me(), &[], SystemTime::UNIX_EPOCH).is_err()
        );
    }
}

fn client(address: SocketAddr, ca: &TestCa, token: &Path) -> CaClient {
    let live = LiveIdentity::new();
    live.set_trust(pem_roots(ca));
    let target = Target {
        authority: address.to_string(),
        server_name: Some(SERVER.into()),
        connect_timeout: Duration::from_secs(10),
    };
    let config = tls::client_config(&live, tls::ServerCheck::DnsName, &[H2]).unwrap();
    CaClient::new(target, Reloading::new(config), TokenSource::File(token.into()))
}

#[tokio::test]
async fn the_client_sends_the_token_of_the_moment() {
    let ca = Arc::new(TestCa::root("mesh"));
    let server = CaServer::generous(ca.clone(), SERVER, ME);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let client = client(server.address(), &ca, &token).with_cluster_id("Kubernetes");
    let request = request();
    let ask = async || client.create_certificate(request.csr_pem(), Duration::from_hours(1)).await;

    let missing = ask().await.unwrap_err();
    assert!(matches!(missing, CaError::Local { .. }), "{missing:?}");
    for content in ["", "two words", "ü"] {
        std::fs::write(&token, content).unwrap();
        let bad = ask().await.unwrap_err().to_string();
        assert!(bad.contains("holds no token"), "{bad}");
    }
    for content in ["first", "second\n"] {
        std::fs::write(&token, content).unwrap();
        ask().await.unwrap();
    }
    let calls = server.calls();
    let tokens: Vec<_> = calls.iter().map(|call| call.token.as_deref()).collect();
    assert_eq!(tokens, [Some("first"), Some("second")]);
    assert_eq!(calls[0].cluster_id.as_deref(), Some("Kubernetes"));
    assert_eq!(calls[0].validity_seconds, 3600);
    assert_eq!(calls[0].client_certificates, 0);
}

#[tokio::test]
async fn refusals_and_outages_differ() {
    let ca = TestCa::root("mesh");
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "secret-token").unwrap();
    let statuses: [fn(&str) -> Status; 4] = [
        |text| Status::unauthenticated(text),
        |text| Status::invalid_argument(text),
        |text| Status::unavailable(text),
        |text| Status::internal(text),
    ];
    let next = Arc::new(AtomicUsize::new(0));
    let server = CaServer::start(&ca, SERVER, move |_| {
        Err(statuses[next.fetch_add(1, Ordering::Relaxed)]("the reason"))
    });
    let known = client(server.address(), &ca, &token);
    for transient in [false, false, true, true] {
        let error = known.create_certificate("csr", Duration::ZERO).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.to_string().contains("the reason"), "{error}");
        assert!(!error.to_string().contains("secret-token"), "{error}");
    }
    // A server of a foreign root never sees the token.
    let foreign = client(server.address(), &TestCa::root("foreign"), &token);
    let error = foreign.create_certificate("csr", Duration::ZERO).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("UnknownIssuer"), "{error}");
    assert_eq!(server.calls().len(), 4);
}

/// Signs in this process, on the test's clock, as long as `up` says so.
struct Signer {
    ca: Arc<TestCa>,
    time: TimeSource,
    calls: Arc<AtomicUsize>,
    down: Arc<AtomicUsize>,
}

impl CaSource for Signer {
    fn name(&self) -> &'static str {
        "signer"
    }

    fn create_certificate<'a>(
        &'a self,
        csr_pem: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Issued, CaError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let down = self.down.load(Ordering::Relaxed) > 0;
        let now = self.time.now();
        let leaf = Leaf::spiffe(ME).between(now - Duration::from_secs(120), now + ttl);
        let answer = match down {
            true => Err(CaError::Transient { authority: "signer".into(), reason: "down".into() }),
            false => Ok(Issued { chain_pem: self.ca.sign(csr_pem, &leaf).unwrap() }),
        };
        std::future::ready(answer).boxed()
    }
}

/// The wall clock moves with tokio's, from now.
fn paused_time() -> TimeSource {
    let (wall, start) = (SystemTime::now(), tokio::time::Instant::now());
    TimeSource::of(move || wall + start.elapsed(), || 0.5)
}

struct Managed {
    live: LiveIdentity,
    calls: Arc<AtomicUsize>,
    down: Arc<AtomicUsize>,
    manager: IdentityManager,
}

fn managed(ca: TestCa, options: IdentityOptions) -> Managed {
    let (calls, down) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let time = paused_time();
    let signer =
        Signer { ca: Arc::new(ca), time: time.clone(), calls: calls.clone(), down: down.clone() };
    let live = LiveIdentity::new();
    let manager = IdentityManager::new(live.clone(), options, vec![Arc::new(signer)], time);
    Managed { live, calls, down, manager }
}

#[tokio::test(start_paused = true)]
async fn renews_at_half_life_and_keeps_the_old_certificate_when_it_cannot() {
    let Managed { live, calls, down, manager } =
        managed(TestCa::root("mesh"), IdentityOptions::new(me()));
    let readiness = crate::readiness::Readiness::new();
    let blocked = readiness.block("workload certificate");
    let start = tokio::time::Instant::now();
    let test = async {
        let first = live.ready().await;
        assert!(readiness.is_ready());
        let mut changes = live.subscribe();
        changes.changed().await.unwrap();
        let second = live.current().unwrap();
        assert_ne!(first.serial(), second.serial());
        // Jitter 0.5 is the middle: exactly half of 24 h.
        // Certificates count whole seconds.
        let hours = start.elapsed().as_secs_f64() / 3600.0;
        assert!((11.99..=12.0).contains(&hours), "{hours}");
        assert_eq!(live.generation(), 2);

        down.store(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_hours(13)).await;
        assert_eq!(live.current().unwrap().serial(), second.serial());
        assert!(live.status().last_error.unwrap().contains("down"));
        // At most twice a minute once the backoff has grown.
        let tried = calls.load(Ordering::Relaxed) - 2;
        assert!((60..=260).contains(&tried), "{tried}");

        down.store(0, Ordering::Relaxed);
        changes.changed().await.unwrap();
        assert_ne!(live.current().unwrap().serial(), second.serial());
        assert_eq!(live.status().last_error, None);
    };
    tokio::select! {
        () = manager.run(Some(blocked)) => unreachable!("it runs for ever"),
        () = test => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_source_is_asked_when_one_gives_nothing_good() {
    let time = paused_time();
    let source = |ca, down: usize| Signer {
        ca: Arc::new(ca),
        time: time.clone(),
        calls: Arc::default(),
        down: Arc::new(AtomicUsize::new(down)),
    };
    let sources: Vec<Arc<dyn CaSource>> =
        vec![Arc::new(source(TestCa::root("one"), 1)), Arc::new(source(TestCa::root("two"), 0))];
    let live = LiveIdentity::new();
    let options = IdentityOptions::new(me());
    let manager = IdentityManager::new(live.clone(), options, sources, time.clone());
    tokio::select! {
        () = manager.run(None) => unreachable!("it runs for ever"),
        _ready = live.ready() => {}
    }
    let status = live.status();
    assert_eq!((status.requests, status.failures), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn new_roots_are_trusted_and_renew_what_they_do_not_vouch_for() {
    let (old, new) = (TestCa::root("old"), TestCa::root("new"));
    let (old_pem, new_pem) = (old.root_pem().to_owned(), new.root_pem().to_owned());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("root-cert.pem");
    std::fs::write(&file, &old_pem).unwrap();
    let mut options = IdentityOptions::new(me());
    options.root_file = Some(file.clone());
    let Managed { live, calls, manager, .. } = managed(old, options);
    let test = async {
        live.ready().await;
        assert_eq!(live.trust().certificates().len(), 1);
        let mut changes = live.subscribe();
        // Both: peers of the new root are trusted, and our own certificate is still good.
        std::fs::write(&file, format!("{old_pem}{new_pem}")).unwrap();
        changes.changed().await.unwrap();
        assert_eq!(live.trust().certificates().len(), 2);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // Only the new one: ours must be renewed at once.
        std::fs::write(&file, new_pem).unwrap();
        while calls.load(Ordering::Relaxed) == 1 {
            changes.changed().await.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        // A torn file changes nothing.
        let generation = live.generation();
        std::fs::write(&file, "torn").unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(live.generation(), generation);
    };
    tokio::select! {
        () = manager.run(None) => unreachable!("it runs for ever"),
        () = test => {}
    }
}

/// A handshake in memory: what each side learned of the other.
async fn shake(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
) -> Result<Option<mesh_api::spiffe::SpiffeId>, String> {
    let (one, two) = tokio::io::duplex(64 * 1024);
    let name = rustls_pki_types::ServerName::try_from(SERVER).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let (accepted, connected) =
        tokio::join!(acceptor.accept(one), async { connector.connect(name, two).await });
    connected.map_err(|error| format!("client: {error}"))?;
    let accepted = accepted.map_err(|error| format!("server: {error}"))?;
    let peer = accepted.get_ref().1.peer_certificates();
    Ok(peer.map(|peer| spiffe_id(&peer[0]).unwrap()))
}

#[tokio::test]
async fn tls_follows_the_identity() {
    use tls::{ClientCertificates, ServerCheck};
    let (mesh, foreign) = (TestCa::root("mesh").intermediate("issuing"), TestCa::root("foreign"));
    let istiod = "spiffe://cluster.local/ns/istio-system/sa/istiod";
    let server = live(&mesh, istiod, Some(SERVER));
    let app = live(&mesh, ME, None);
    let stranger = live(&foreign, ME, None);
    stranger.set_trust(pem_roots(&mesh));
    let anonymous = LiveIdentity::new();
    anonymous.set_trust(pem_roots(&mesh));
    let spiffe =
        |ids: &[&str]| ServerCheck::Spiffe(ids.iter().map(|id| id.parse().unwrap()).collect());
    let domains = |primary: &str| {
        let primary = primary.parse().unwrap();
        ServerCheck::TrustDomains(Arc::new(mesh_api::trust_domain::TrustDomains {
            primary,
            aliases: Vec::new(),
        }))
    };
    let (required, optional) = (ClientCertificates::Required, ClientCertificates::Optional);
    let table = [
        ("by name", &app, required, ServerCheck::DnsName, Ok(Some(ME))),
        ("by SPIFFE id", &app, required, spiffe(&[ME, istiod]), Ok(Some(ME))),
        ("by domain", &app, required, domains("cluster.local"), Ok(Some(ME))),
        ("other id", &app, required, spiffe(&[ME]), Err("none of the identities wanted")),
        ("other domain", &app, required, domains("td"), Err("none of the identities wanted")),
        ("no certificate", &anonymous, optional, ServerCheck::DnsName, Ok(None)),
        ("no certificate", &anonymous, required, ServerCheck::DnsName, Err("no certificates")),
        ("foreign", &stranger, optional, ServerCheck::DnsName, Err("UnknownIssuer")),
    ];
    for (what, client, clients, check, expected) in table {
        let server = tls::server_config(&server, clients, &[H2]).unwrap();
        let client = tls::client_config(client, check, &[H2]).unwrap();
        match (shake(server, client).await, expected) {
            (Ok(found), Ok(wanted)) => {
                assert_eq!(found.map(|id| id.to_string()).as_deref(), wanted, "{what}");
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{what}: {error}"),
            (found, _) => panic!("{what}: {found:?}"),
        }
    }

    // The same configurations see what changes.
    let server_config = tls::server_config(&server, required, &[H2]).unwrap();
    let client_config = tls::client_config(&app, ServerCheck::DnsName, &[H2]).unwrap();
    app.set_trust(pem_roots(&foreign));
    let error = shake(server_config.clone(), client_config.clone()).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    app.set_trust(pem_roots(&mesh));
    shake(server_config, client_config).await.unwrap();
}

#[test]
fn metrics_have_the_agents_names() {
    let metrics = crate::metrics::Metrics::new("proxy", "proxy");
    let live = live(&TestCa::root("mesh"), ME, None);
    let end = live.current().unwrap().not_after();
    register_metrics(&metrics, live, TimeSource::of(move || end - Duration::from_secs(90), || 0.0));
    let text = metrics.encode();
    for line in [
        "cert_expiry_seconds{resource_name=\"default\"} 90.0",
        "num_outgoing_requests_total{request_type=\"csr\"} 0",
        "num_failed_outgoing_requests_total{request_type=\"csr\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
