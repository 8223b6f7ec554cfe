//! Updates published, asked for and forgotten.

use std::net::SocketAddr;

use proxy_model::snapshot::{MeshFacts, NameEntry, OnDemand};

use super::*;

fn on_demand(generation: u64) -> Snapshot {
    let mesh = MeshFacts { on_demand: Some(OnDemand::default()) };
    Snapshot { generation, mesh, ..Snapshot::default() }
}

fn publish(world: &World, snapshot: Snapshot) {
    world.publish(Arc::new(snapshot), HashSet::new());
}

fn cluster(name: &str) -> ResourceName {
    ResourceName::new(TypeUrl::Cluster, name)
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_second() {
    let world = World::new();
    publish(&world, on_demand(1));
    let before = Instant::now();
    assert_eq!(world.ask(cluster("a")).await, Lookup::Unknown(cluster("a")));
    assert_eq!(before.elapsed(), PATIENCE);
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn askers_of_one_name_share_the_question_and_the_answer() {
    let world = World::new();
    publish(&world, on_demand(1));
    let before = Instant::now();
    let answer = async {
        world.woken().await;
        let mut snapshot = on_demand(2);
        snapshot.clusters.absent.insert("a".into());
        publish(&world, snapshot);
    };
    let (one, two, ()) = tokio::join!(world.ask(cluster("a")), world.ask(cluster("a")), answer);
    assert_eq!((one, two), (Lookup::Absent, Lookup::Absent));
    assert_eq!((world.asked().len(), before.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_means_nothing_ends_the_wait() {
    let world = World::new();
    publish(&world, on_demand(1));
    let before = Instant::now();
    let answer = async {
        world.woken().await;
        world.publish(Arc::new(on_demand(2)), [cluster("a")].into());
    };
    let (one, ()) = tokio::join!(world.ask(cluster("a")), answer);
    assert_eq!(one, Lookup::Unknown(cluster("a")), "and the asker fails closed");
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn questions_are_limited_and_silence_is_forgotten() {
    let world = World::new();
    let mut snapshot = on_demand(1);
    snapshot.clusters.absent.insert("0".into());
    publish(&world, snapshot.clone());
    for number in 0..1100 {
        world.enter(&cluster(&number.to_string()));
    }
    assert_eq!(world.asked().len(), 1000);
    assert!(!world.enter(&cluster("further")));
    tokio::time::advance(Duration::from_millis(10)).await;
    assert!(world.enter(&cluster("further")));
    tokio::time::advance(ABSENT_FOR).await;
    world.sweep();
    assert_eq!(world.asked().len(), 1000, "only what there is nothing under goes");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_not_asked_for() {
    let world = World::new();
    assert_eq!(world.ask(cluster("a")).await, Lookup::Absent, "everything is held");
    assert!(world.asked().is_empty());
    let here: SocketAddr = "10.0.0.1:80".parse().unwrap();
    assert!(matches!(world.load().listener_for(here), Lookup::Absent));
}

#[test]
fn the_longest_wildcard_answers() {
    let mut snapshot = Snapshot::default();
    for (host, ip) in [("a.b", "10.0.0.1"), ("*.b", "10.0.0.2"), ("*.c.b", "10.0.0.3")] {
        let entry = NameEntry { addresses: vec![ip.parse().unwrap()], ..NameEntry::default() };
        snapshot.name_table.held.insert(host.into(), Arc::new(entry));
    }
    let table = Table(Arc::new(snapshot));
    for (host, ip) in [
        ("a.b", Some("10.0.0.1")),
        ("x.b", Some("10.0.0.2")),
        ("x.c.b", Some("10.0.0.3")),
        ("b", None),
    ] {
        let found = table.addresses(host).map(|found| found[0].to_string());
        assert_eq!(found.as_deref(), ip, "{host}");
    }
}
