//! Names of clusters, with answers that the test gives.

use std::collections::BTreeMap;
use std::io;

use futures::future::LocalBoxFuture;
use proxy_model::endpoint::{EndpointMetadata, Health, Priority};

use super::*;

/// What a server says of a name: addresses, and seconds they hold.
type Said = (Vec<&'static str>, Option<u64>);

#[derive(Default)]
struct Scripted {
    says: RefCell<BTreeMap<&'static str, Said>>,
    asked: Cell<usize>,
}

impl Scripted {
    fn says(&self, name: &'static str, addresses: &[&'static str], ttl: Option<u64>) {
        self.says.borrow_mut().insert(name, (addresses.to_vec(), ttl));
    }

    fn fails(&self, name: &'static str) {
        self.says.borrow_mut().remove(name);
    }
}

impl Resolver for Rc<Scripted> {
    fn resolve(&self, name: Arc<str>) -> LocalBoxFuture<'static, io::Result<Resolved>> {
        self.asked.set(self.asked.get() + 1);
        let said = self.says.borrow().get(&*name).cloned();
        let answer = said.map(|(addresses, ttl)| Resolved {
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            ttl: ttl.map(Duration::from_secs),
        });
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such host")) })
    }
}

fn names(hosts: &[&str], first_only: bool) -> (Rc<Names>, Rc<Scripted>) {
    let endpoint = |host: &&str| {
        Arc::new(Endpoint {
            address: EndpointAddress::Host { name: (*host).into(), port: 80 },
            weight: 1,
            health: Health::Unknown,
            metadata: EndpointMetadata::default(),
            hostname: None,
            locality: Arc::default(),
            priority: 0,
        })
    };
    let endpoints: Vec<Arc<Endpoint>> = hosts.iter().map(endpoint).collect();
    let locality =
        LocalityEndpoints { locality: Arc::default(), weight: None, endpoints: endpoints.into() };
    let template = Arc::new(EndpointSet {
        name: "c".into(),
        version: "1".into(),
        weighted_localities: false,
        priorities: vec![Priority { localities: vec![locality] }],
        overprovisioning_factor: 140,
        drop_overload: 0,
    });
    let settings = DnsSettings {
        refresh_rate: Duration::from_secs(60),
        respect_ttl: true,
        family: DnsFamily::V4Preferred,
    };
    let scripted = Rc::new(Scripted::default());
    let resolver: Rc<dyn Resolver> = Rc::new(Rc::clone(&scripted));
    (Names::new(&template, &settings, first_only, &resolver), scripted)
}

fn tasks() -> Tasks {
    Tasks::new(mesh_rt::drain::channel().0)
}

/// The addresses that the next use sees.
async fn used(names: &Rc<Names>, tasks: &Tasks) -> Vec<String> {
    let set = names.endpoints(tasks).await;
    let all = set.iter().flat_map(|set| set.endpoints());
    let all = all.map(|endpoint| endpoint.address.to_string()).collect();
    // What was begun by this use is done before the next one.
    tokio::time::sleep(Duration::from_millis(1)).await;
    all
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn all_addresses_of_all_names_are_endpoints() {
    let (names, server) = names(&["a", "b"], false);
    let tasks = tasks();
    assert_eq!(used(&names, &tasks).await, Vec::<String>::new());
    server.says("a", &["10.0.0.1", "10.0.0.2", "fd00::1"], None);
    server.says("b", &["fd00::2"], None);
    assert_eq!(used(&names, &tasks).await, ["10.0.0.1:80", "10.0.0.2:80", "[fd00::2]:80"]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn one_address_of_a_logical_name_is_the_endpoint() {
    let (names, server) = names(&["a"], true);
    server.says("a", &["10.0.0.1", "10.0.0.2"], None);
    assert_eq!(used(&names, &tasks()).await, ["10.0.0.1:80"]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn answers_hold_as_long_as_they_say() {
    let (names, server) = names(&["a", "b"], false);
    let tasks = tasks();
    server.says("a", &["10.0.0.1"], Some(10));
    server.says("b", &["10.0.1.1"], Some(300));
    used(&names, &tasks).await;
    server.says("a", &["10.0.0.9"], None);
    tokio::time::sleep(Duration::from_secs(9)).await;
    used(&names, &tasks).await;
    assert_eq!(server.asked.get(), 2, "nothing is asked before its time");
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The use that begins a resolution does not wait for it.
    assert_eq!(used(&names, &tasks).await, ["10.0.0.1:80", "10.0.1.1:80"]);
    assert_eq!(used(&names, &tasks).await, ["10.0.0.9:80", "10.0.1.1:80"]);
    // The least of what was said counts, and what the cluster says where nothing was.
    server.says("b", &["10.0.1.1"], None);
    tokio::time::sleep(Duration::from_secs(300)).await;
    used(&names, &tasks).await;
    let asked = server.asked.get();
    tokio::time::sleep(Duration::from_secs(59)).await;
    used(&names, &tasks).await;
    assert_eq!(server.asked.get(), asked);
    tokio::time::sleep(Duration::from_secs(1)).await;
    used(&names, &tasks).await;
    assert_eq!(server.asked.get(), asked + 2);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_name_that_no_longer_resolves_keeps_its_addresses() {
    let (names, server) = names(&["a", "b"], false);
    let tasks = tasks();
    server.says("a", &["10.0.0.1"], None);
    server.says("b", &["10.0.1.1"], None);
    used(&names, &tasks).await;
    server.fails("a");
    server.says("b", &["10.0.1.2"], None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    used(&names, &tasks).await;
    assert_eq!(used(&names, &tasks).await, ["10.0.0.1:80", "10.0.1.2:80"]);
}

#[test]
fn families_are_chosen_as_the_cluster_says() {
    let v4: IpAddr = "10.0.0.1".parse().unwrap();
    let v6: IpAddr = "fd00::1".parse().unwrap();
    for (family, both, only_v4) in [
        (DnsFamily::All, vec![v4, v6], vec![v4]),
        (DnsFamily::V4Only, vec![v4], vec![v4]),
        (DnsFamily::V6Only, vec![v6], vec![]),
        (DnsFamily::Auto, vec![v6], vec![v4]),
        (DnsFamily::V4Preferred, vec![v4], vec![v4]),
    ] {
        assert_eq!(filter(vec![v4, v6], family), both, "{family:?}");
        assert_eq!(filter(vec![v4], family), only_v4, "{family:?}");
    }
}
