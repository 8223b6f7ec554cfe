//! Ownership played through: background, foreground and orphaning deletion.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proptest::prelude::{prop, proptest};

use super::{Action, FOREGROUND, Graph, Node, ORPHAN, Policy};
use crate::controllers::cache::Name;

fn owner(uid: &str, block: bool) -> OwnerReference {
    OwnerReference {
        uid: uid.to_owned(),
        block_owner_deletion: Some(block),
        ..OwnerReference::default()
    }
}

fn node(owners: &[&str]) -> Node {
    Node {
        kind: 0,
        name: Name::new("n", "x"),
        version: "1".to_owned(),
        owners: owners.iter().map(|uid| owner(uid, true)).collect(),
        finalizers: Vec::new(),
        leaving: false,
    }
}

fn leaving(node: Node, finalizer: &str) -> Node {
    Node { leaving: true, finalizers: vec![finalizer.to_owned()], ..node }
}

fn chain() -> Graph {
    let mut graph = Graph::default();
    graph.put("deployment", node(&[]));
    graph.put("set", node(&["deployment"]));
    graph.put("pod", node(&["set"]));
    graph
}

#[test]
fn what_has_its_owner_stays() {
    let graph = chain();
    assert_eq!(graph.look("set"), []);
    assert_eq!(graph.look("pod"), []);
    assert_eq!(graph.look("deployment"), []);
}

#[test]
fn background_deletion_goes_down_the_chain() {
    let mut graph = chain();
    assert_eq!(graph.remove("deployment"), ["set"]);
    assert_eq!(graph.look("set"), [Action::Delete(Policy::Background)]);
    assert_eq!(graph.remove("set"), ["pod"]);
    assert_eq!(graph.look("pod"), [Action::Delete(Policy::Background)]);
}

#[test]
fn an_owner_never_seen_is_asked_about_first() {
    let mut graph = Graph::default();
    assert_eq!(graph.put("pod", node(&["ghost"])), ["pod"]);
    assert_eq!(graph.look("pod"), [Action::Verify(owner("ghost", true))]);
    graph.mark_absent("ghost");
    assert_eq!(graph.look("pod"), [Action::Delete(Policy::Background)]);
    graph.put("ghost", node(&[]));
    assert_eq!(graph.look("pod"), []);
}

#[test]
fn one_owner_left_keeps_the_object_and_loses_the_other_reference() {
    let mut graph = chain();
    graph.put("both", node(&["deployment", "set"]));
    graph.remove("set");
    let disown = Action::Disown { dependent: "both".to_owned(), owners: vec!["set".to_owned()] };
    assert_eq!(graph.look("both"), [disown]);
}

#[test]
fn foreground_deletion_waits_from_the_leaves_up() {
    let mut graph = chain();
    let look = graph.put("deployment", leaving(node(&[]), FOREGROUND));
    assert_eq!(look, ["deployment"]);
    assert_eq!(graph.look("deployment"), [Action::Look(vec!["set".to_owned()])]);
    assert_eq!(graph.look("set"), [Action::Delete(Policy::Foreground)]);
    graph.put("set", leaving(node(&["deployment"]), FOREGROUND));
    assert_eq!(graph.look("set"), [Action::Look(vec!["pod".to_owned()])]);
    assert_eq!(graph.look("pod"), [Action::Delete(Policy::Background)]);
    assert_eq!(graph.remove("pod"), ["set"]);
    assert_eq!(graph.look("set"), [Action::Unblock(FOREGROUND)]);
    assert_eq!(graph.remove("set"), ["deployment"]);
    assert_eq!(graph.look("deployment"), [Action::Unblock(FOREGROUND)]);
}

#[test]
fn a_dependent_that_does_not_block_is_not_waited_for() {
    let mut graph = chain();
    graph.put("set", Node { owners: vec![owner("deployment", false)], ..node(&[]) });
    graph.put("deployment", leaving(node(&[]), FOREGROUND));
    assert_eq!(graph.look("deployment"), [Action::Unblock(FOREGROUND)]);
}

#[test]
fn orphaning_frees_before_it_unblocks() {
    let mut graph = chain();
    graph.put("deployment", leaving(node(&[]), ORPHAN));
    let free =
        Action::Disown { dependent: "set".to_owned(), owners: vec!["deployment".to_owned()] };
    assert_eq!(graph.look("deployment"), [free]);
    assert_eq!(graph.put("set", node(&[])), ["deployment"]);
    assert_eq!(graph.look("deployment"), [Action::Unblock(ORPHAN)]);
    assert_eq!(graph.remove("deployment"), Vec::<String>::new());
    assert_eq!(graph.look("set"), []);
}

#[test]
fn an_owner_of_another_namespace_is_none() {
    let mut graph = Graph::default();
    graph.put("far", Node { name: Name::new("m", "x"), ..node(&[]) });
    graph.put("wide", Node { name: Name::new("", "x"), ..node(&[]) });
    graph.put("a", node(&["far"]));
    graph.put("b", node(&["wide"]));
    assert_eq!(graph.look("a"), [Action::Delete(Policy::Background)]);
    assert_eq!(graph.look("b"), []);
}

#[test]
fn a_change_without_meaning_asks_for_nothing() {
    let mut graph = chain();
    let again = Node { version: "2".to_owned(), ..node(&["set"]) };
    assert_eq!(graph.put("pod", again), Vec::<String>::new());
    assert_eq!(graph.get("pod").unwrap().version, "2");
}

proptest! {
    /// However objects come and go, the index of dependents is exactly what the nodes say.
    #[test]
    fn the_index_follows_the_nodes(
        steps in prop::collection::vec((0..6usize, prop::collection::vec(0..6usize, 0..3), prop::bool::ANY), 0..40)
    ) {
        let mut graph = Graph::default();
        let uid = |i: usize| format!("u{i}");
        for (which, owners, put) in steps {
            if put {
                let owners: Vec<_> = owners.into_iter().map(uid).collect();
                let owners: Vec<_> = owners.iter().map(String::as_str).collect();
                graph.put(&uid(which), node(&owners));
            } else {
                graph.remove(&uid(which));
            }
        }
        let mut pairs = std::collections::BTreeSet::new();
        for (dependent, node) in &graph.nodes {
            pairs.extend(node.owners.iter().map(|o| (o.uid.clone(), dependent.clone())));
        }
        let mut indexed = std::collections::BTreeSet::new();
        for (owner, all) in &graph.dependents {
            indexed.extend(all.iter().map(|d| (owner.clone(), d.clone())));
        }
        assert_eq!(pairs, indexed);
    }
}
