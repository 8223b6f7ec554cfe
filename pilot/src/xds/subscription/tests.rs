//! The protocol against a small client model, with drops and reconnects.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::xds::source::testing::{TinyWorld, item};

/// A client that believes what it is sent.
#[derive(Clone, Debug, Default)]
struct Model {
    wildcard: bool,
    asked: BTreeSet<String>,
    held: BTreeMap<String, String>,
    aliases: BTreeMap<String, String>,
}

impl Model {
    fn take(&mut self, outgoing: &[Outgoing]) -> usize {
        let mut received = 0;
        for response in outgoing {
            for (item, aliases) in &response.resources {
                received += 1;
                self.held.insert(item.name.to_string(), item.version.to_string());
                self.aliases.remove(&*item.name);
                for alias in aliases {
                    self.held.remove(alias);
                    self.aliases.insert(alias.clone(), item.name.to_string());
                }
            }
            for name in &response.removed {
                self.held.remove(name);
                self.aliases.remove(name);
            }
        }
        received
    }

    /// As a reconnecting client: aliases are claimed with the version of what answers them.
    fn request(&self) -> Request {
        let mut versions = self.held.clone();
        for (alias, of) in &self.aliases {
            versions.extend(self.held.get(of).map(|version| (alias.clone(), version.clone())));
        }
        let mut subscribe: Vec<String> = self.asked.iter().cloned().collect();
        if self.wildcard && !subscribe.is_empty() {
            subscribe.push("*".to_owned());
        }
        Request { subscribe, versions, ..Request::default() }
    }
}

fn client(on_demand: bool) -> Client {
    Client::new(Dialect { on_demand, state_of_the_world: false }, "n".to_owned())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ask(subscribe: &[&str]) -> Request {
    Request { subscribe: names(subscribe), ..Request::default() }
}

#[test]
fn a_client_that_names_nothing_gets_everything_and_then_only_differences() {
    let world = TinyWorld::default().with(TypeUrl::Cluster, &[("a", 1), ("b", 1)]);
    let mut client = client(false);
    let reaction = client.request(&TypeUrl::Cluster, Request::default()).unwrap();
    assert_eq!(reaction, Reaction { verdict: Verdict::None, respond: true });
    let sent = client.respond(&world, None);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].resources, [(item("a", 1), vec![]), (item("b", 1), vec![])]);
    let ack = Request { nonce: sent[0].nonce.clone(), ..Request::default() };
    let reaction = client.request(&TypeUrl::Cluster, ack).unwrap();
    assert_eq!(reaction, Reaction { verdict: Verdict::Acknowledged, respond: false });
    assert!(client.respond(&world, None).is_empty());
    let world = world.with(TypeUrl::Cluster, &[("b", 2), ("c", 1)]);
    let sent = client.respond(&world, None);
    assert_eq!(sent[0].resources, [(item("b", 2), vec![]), (item("c", 1), vec![])]);
    assert_eq!(sent[0].removed, ["a"]);
}

#[test]
fn generations_are_acknowledged_when_all_their_parts_are() {
    let world = TinyWorld::default().with(TypeUrl::Cluster, &[("a", 1)]);
    let mut client = client(false);
    client.request(&TypeUrl::Cluster, Request::default()).unwrap();
    let first = client.respond(&world, None);
    let world = world.with(TypeUrl::Cluster, &[("a", 2)]);
    let second = client.respond(&world, None);
    let progress = |client: &Client| client.progress().next().unwrap().1;
    let ack = |nonce: &str| Request { nonce: nonce.to_owned(), ..Request::default() };
    client.request(&TypeUrl::Cluster, ack(&first[0].nonce)).unwrap();
    assert_eq!((progress(&client).acked_generation, progress(&client).sent_generation), (1, 2));
    let refuse = Request { error: Some("no".to_owned()), ..ack(&second[0].nonce) };
    let reaction = client.request(&TypeUrl::Cluster, refuse).unwrap();
    assert_eq!(reaction.verdict, Verdict::Refused("no".to_owned()));
    assert_eq!(progress(&client).acked_generation, 1);
    assert_eq!(progress(&client).error.as_deref(), Some("no"));
    let reaction = client.request(&TypeUrl::Cluster, ack("other")).unwrap();
    assert_eq!(reaction.verdict, Verdict::UnknownNonce);
}

#[test]
fn names_without_a_resource_are_answered() {
    let world = TinyWorld::default();
    let mut upstream = client(false);
    upstream.request(&TypeUrl::Route, ask(&["9080"])).unwrap();
    let sent = upstream.respond(&world, None);
    assert_eq!(&*sent[0].resources[0].0.name, "9080");
    let mut ours = client(true);
    ours.request(&TypeUrl::Route, ask(&["9080"])).unwrap();
    let sent = ours.respond(&world, None);
    assert_eq!((sent[0].resources.len(), &sent[0].removed[..]), (0, &names(&["9080"])[..]));
    assert_eq!(ours.misses(&TypeUrl::Route, &names(&["9080", "b"])), 1);
    assert!(ours.respond(&world, None).is_empty());
}

#[test]
fn a_more_specific_resource_replaces_an_alias_and_a_refusal() {
    let ty = TypeUrl::Listener;
    let world = TinyWorld::default().with(ty.clone(), &[("0.0.0.0_80", 1)]).alias(
        ty.clone(),
        "10.0.0.1_80",
        "0.0.0.0_80",
    );
    let mut client = client(true);
    client.request(&ty, ask(&["10.0.0.1_80", "10.0.0.2_80"])).unwrap();
    let sent = client.respond(&world, None);
    assert_eq!(sent[0].resources, [(item("0.0.0.0_80", 1), names(&["10.0.0.1_80"]))]);
    assert_eq!(sent[0].removed, ["10.0.0.2_80"]);
    let world =
        world.with(ty.clone(), &[("0.0.0.0_80", 1), ("10.0.0.1_80", 1), ("10.0.0.2_80", 1)]);
    let sent = client.respond(&world, None);
    assert_eq!(
        sent[0].resources,
        [(item("10.0.0.1_80", 1), vec![]), (item("10.0.0.2_80", 1), vec![])]
    );
    assert_eq!(sent[0].removed, ["0.0.0.0_80"]);
    // And when they go again, what answered before does, or nothing.
    let world = world.with(ty.clone(), &[("0.0.0.0_80", 1)]);
    let sent = client.respond(&world, None);
    assert_eq!(sent[0].resources, [(item("0.0.0.0_80", 1), names(&["10.0.0.1_80"]))]);
    assert_eq!(sent[0].removed, ["10.0.0.2_80"]);
}

#[test]
fn an_answer_brings_what_it_refers_to_in_the_order_of_a_push() {
    let world = TinyWorld::default()
        .with(TypeUrl::VirtualHost, &[("80/a", 1)])
        .with(TypeUrl::Cluster, &[("c", 1), ("d", 1)])
        .with(TypeUrl::Endpoint, &[("c", 1)])
        .refer((TypeUrl::VirtualHost, "80/a"), (TypeUrl::Cluster, "c"))
        .refer((TypeUrl::Cluster, "c"), (TypeUrl::Endpoint, "c"));
    let mut client = client(true);
    client.request(&TypeUrl::VirtualHost, ask(&["80/a"])).unwrap();
    let sent = client.respond(&world, Some(&[TypeUrl::VirtualHost]));
    let types: Vec<_> = sent.iter().map(|response| response.ty.short()).collect();
    assert_eq!(types, ["CDS", "EDS", "VHDS"]);
    // Later changes of what it holds reach it, others do not.
    let world = world.with(TypeUrl::Cluster, &[("c", 2), ("d", 2)]);
    let sent = client.respond(&world, Some(&[TypeUrl::Cluster]));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].resources, [(item("c", 2), vec![])]);
    // The client lets go.
    let drop = Request { unsubscribe: names(&["c"]), ..Request::default() };
    client.request(&TypeUrl::Cluster, drop).unwrap();
    let world = world.with(TypeUrl::Cluster, &[("c", 3)]);
    assert!(
        client.respond(&world, Some(&[TypeUrl::Cluster])).iter().all(|r| r.resources.is_empty())
    );
}

#[test]
fn large_differences_are_sent_in_parts() {
    let mut world = TinyWorld::default();
    let big = |name: &str| Item { body: vec![0; 400 * 1024].into(), ..item(name, 1) };
    let set: ItemSet = ["a", "b", "c", "d", "e"].map(|n| (n.into(), big(n))).into();
    world.sets.push((TypeUrl::Endpoint, Arc::new(set)));
    let mut client = client(false);
    client.request(&TypeUrl::Endpoint, ask(&["a", "b", "c", "d", "e"])).unwrap();
    let sent = client.respond(&world, None);
    let sizes: Vec<_> = sent.iter().map(|response| response.resources.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn clusters_of_the_world_are_sent_whole() {
    let world = TinyWorld::default().with(TypeUrl::Cluster, &[("a", 1), ("b", 1)]);
    let dialect = Dialect { on_demand: false, state_of_the_world: true };
    let mut client = Client::new(dialect, "n".to_owned());
    client.request(&TypeUrl::Cluster, Request::default()).unwrap();
    client.respond(&world, None);
    let world = world.with(TypeUrl::Cluster, &[("a", 1), ("b", 2)]);
    assert_eq!(client.respond(&world, None)[0].resources.len(), 2);
    assert!(client.respond(&world, None).is_empty());
}

#[test]
fn bounds_are_kept() {
    let mut client = client(true);
    let long = Request { subscribe: vec!["x".repeat(2000)], ..Request::default() };
    assert!(matches!(client.request(&TypeUrl::Route, long), Err(Refused::LongName { .. })));
    let many = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
    let many = Request { subscribe: many, ..Request::default() };
    assert!(matches!(client.request(&TypeUrl::Route, many), Err(Refused::TooManyNames { .. })));
    let other = |n: usize| TypeUrl::parse(&format!("t{n}")).unwrap();
    let refused = (0..100).find_map(|n| client.request(&other(n), Request::default()).err());
    assert_eq!(refused, Some(Refused::TooManyTypes));
}

#[derive(Clone, Debug)]
enum Step {
    World(Vec<(usize, u32)>),
    Subscribe(usize),
    Unsubscribe(usize),
    Reconnect,
    LoseAndReconnect,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::collection::vec((0..4_usize, 0..3_u32), 0..4).prop_map(Step::World),
        (0..4_usize).prop_map(Step::Subscribe),
        (0..4_usize).prop_map(Step::Unsubscribe),
        Just(Step::Reconnect),
        Just(Step::LoseAndReconnect),
    ]
}

proptest! {
    #[test]
    fn the_client_converges_and_a_reconnect_resends_nothing(
        steps in proptest::collection::vec(step(), 1..30),
        wildcard in proptest::bool::ANY,
        on_demand in proptest::bool::ANY,
    ) {
        let ty = TypeUrl::Cluster;
        // `d` is answered by `a` where there is no `d`.
        let mut world = TinyWorld::default().with(ty.clone(), &[("a", 0)]).alias(ty.clone(), "d", "a");
        let on_demand = on_demand && !wildcard;
        let mut server = client(on_demand);
        let mut model = Model { wildcard, ..Model::default() };
        if !wildcard {
            model.asked.insert("a".to_owned());
        }
        server.request(&ty, model.request()).unwrap();
        model.take(&server.respond(&world, None));
        for step in steps {
            match step {
                Step::World(items) => {
                    let mut items: Vec<_> =
                        items.into_iter().map(|(n, v)| (NAMES[n], v)).collect();
                    items.dedup_by_key(|(name, _)| *name);
                    world = world.with(ty.clone(), &items);
                    model.take(&server.respond(&world, None));
                }
                Step::Subscribe(n) if !wildcard => {
                    model.asked.insert(NAMES[n].to_owned());
                    server.request(&ty, ask(&[NAMES[n]])).unwrap();
                    model.take(&server.respond(&world, None));
                }
                Step::Unsubscribe(n) if !wildcard && model.asked.len() > 1 => {
                    let name = NAMES[n].to_owned();
                    if model.asked.remove(&name) {
                        model.held.remove(&name);
                        if let Some(of) = model.aliases.remove(&name)
                            && !model.asked.contains(&of)
                            && !model.aliases.values().any(|other| *other == of)
                        {
                            model.held.remove(&of);
                        }
                        let gone = Request { unsubscribe: vec![name], ..Request::default() };
                        server.request(&ty, gone).unwrap();
                        model.take(&server.respond(&world, None));
                    }
                }
                Step::Reconnect => {
                    server = client(on_demand);
                    server.request(&ty, model.request()).unwrap();
                    let sent = server.respond(&world, None);
                    prop_assert_eq!(model.take(&sent), 0, "{:?}", sent);
                }
                Step::LoseAndReconnect => {
                    world = world.with(ty.clone(), &[("b", 9), ("c", 9)]);
                    let _lost = server.respond(&world, None);
                    server = client(on_demand);
                    server.request(&ty, model.request()).unwrap();
                    model.take(&server.respond(&world, None));
                }
                Step::Subscribe(_) | Step::Unsubscribe(_) => {}
            }
            let mut expected = BTreeMap::new();
            if wildcard {
                expected.extend(world.all(&ty).values().map(|i| (i.name.to_string(), i.version.to_string())));
            }
            for name in &model.asked {
                let item = world.named(&ty, name).item();
                expected.extend(item.map(|i| (i.name.to_string(), i.version.to_string())));
            }
            if on_demand {
                // What it held by reference before a reconnect it may go on holding, as it is now.
                for name in model.held.keys() {
                    let item = world.all(&ty).get(name.as_str()).cloned();
                    expected.extend(item.map(|i| (i.name.to_string(), i.version.to_string())));
                }
            }
            prop_assert_eq!(&model.held, &expected);
        }
    }
}
