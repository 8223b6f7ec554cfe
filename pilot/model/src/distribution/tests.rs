//! The ledger, with clients 1 and 2 and time in milliseconds.

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn reviews() -> ResourceKey {
    ResourceKey::new(Kind::VirtualService, "default", "reviews")
}

fn version(number: u64) -> Version {
    Version { resource: number.to_string(), generation: i64::try_from(number / 10).ok() }
}

#[test]
fn a_version_is_distributed_with_the_last_acknowledgement() {
    let mut ledger = Ledger::default();
    ledger.published(1, [], ms(0));
    ledger.applied(reviews(), version(10), ms(100));
    assert_eq!(ledger.of(&reviews()).unwrap().generation, None);
    ledger.published(2, [1, 2], ms(200));
    ledger.acknowledged(1, 2, ms(230));
    ledger.acknowledged(2, 1, ms(240));
    let standing = ledger.of(&reviews()).unwrap();
    assert_eq!((standing.generation, standing.distributed_in), (Some(2), None));
    ledger.acknowledged(2, 2, ms(250));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, Some(ms(150)));
}

#[test]
fn clients_that_leave_are_not_waited_for() {
    let mut ledger = Ledger::default();
    ledger.applied(reviews(), version(10), ms(0));
    ledger.published(1, [1, 2], ms(1));
    ledger.gone(1, ms(2));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, None);
    ledger.gone(2, ms(3));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, Some(ms(3)));
    assert!(ledger.open.is_empty());
}

#[test]
fn a_write_that_changes_nothing_is_as_far_as_what_is_published() {
    let mut ledger = Ledger::default();
    ledger.applied(reviews(), version(10), ms(0));
    ledger.unchanged(ms(0));
    assert_eq!(ledger.of(&reviews()).unwrap().generation, None, "nothing is published yet");
    ledger.published(1, [1], ms(1));
    ledger.applied(reviews(), version(11), ms(5));
    ledger.unchanged(ms(5));
    let standing = ledger.of(&reviews()).unwrap();
    assert_eq!((standing.generation, standing.distributed_in), (Some(1), None));
    ledger.acknowledged(1, 1, ms(9));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, Some(ms(4)));
    ledger.applied(reviews(), version(12), ms(20));
    ledger.unchanged(ms(20));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, Some(ms(0)));
}

#[test]
fn a_later_version_is_waited_for_by_itself() {
    let mut ledger = Ledger::default();
    ledger.applied(reviews(), version(10), ms(0));
    ledger.published(1, [1], ms(1));
    ledger.applied(reviews(), version(20), ms(2));
    ledger.acknowledged(1, 1, ms(3));
    let standing = ledger.of(&reviews()).unwrap();
    assert_eq!((standing.generation, standing.distributed_in), (None, None));
    ledger.published(2, [1], ms(4));
    ledger.acknowledged(1, 2, ms(7));
    assert_eq!(ledger.of(&reviews()).unwrap().distributed_in, Some(ms(5)));
}

#[test]
fn deletions_are_followed_however_they_are_told() {
    let mut ledger = Ledger::default();
    let other = ResourceKey::new(Kind::VirtualService, "default", "other");
    for key in [reviews(), other.clone()] {
        ledger.applied(key, version(10), ms(0));
    }
    ledger.published(1, [], ms(0));
    ledger.deleted(reviews(), Some(version(13)), ms(1));
    ledger.only(Kind::VirtualService, &[], ms(2));
    ledger.published(2, [1], ms(3));
    ledger.acknowledged(1, 2, ms(5));
    let standing = ledger.of(&reviews()).unwrap();
    assert!(standing.deleted && standing.version == version(13));
    assert_eq!(standing.distributed_in, Some(ms(4)));
    assert!(!standing.reaches(Some("10"), None));
    let standing = ledger.of(&other).unwrap();
    assert!(standing.deleted && standing.distributed_in == Some(ms(3)));
    // It may come back.
    ledger.applied(reviews(), version(20), ms(6));
    assert!(!ledger.of(&reviews()).unwrap().deleted);
    for number in 0..2 * MAX_DELETED {
        let key = ResourceKey::new(Kind::Gateway, "default", &number.to_string());
        ledger.deleted(key, None, ms(7));
    }
    assert_eq!(ledger.objects.len(), MAX_DELETED + 1);
    assert!(ledger.of(&reviews()).is_some());
}

#[test]
fn versions_are_compared_as_kubernetes_orders_them() {
    let mut ledger = Ledger::default();
    ledger.applied(reviews(), version(100), ms(0));
    let standing = ledger.of(&reviews()).unwrap();
    for (resource, generation, reached) in [
        (None, None, true),
        (Some("99"), None, true),
        (Some("100"), None, true),
        (Some("101"), None, false),
        (Some("1000"), None, false),
        (Some("opaque"), None, false),
        (None, Some(10), true),
        (None, Some(11), false),
        (Some("99"), Some(11), false),
    ] {
        assert_eq!(standing.reaches(resource, generation), reached, "{resource:?} {generation:?}");
    }
}

#[test]
fn what_changes_all_the_time_is_not_followed() {
    let mut ledger = Ledger::default();
    let pod = ResourceKey::new(Kind::Pod, "default", "a");
    ledger.applied(pod.clone(), version(1), ms(0));
    ledger.deleted(pod.clone(), None, ms(0));
    assert_eq!(ledger.of(&pod), None);
    assert!(ledger.deleted.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Write,
    Publish,
    Acknowledge(u64),
    Leave(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::strategy::Just(Step::Write),
        proptest::strategy::Just(Step::Publish),
        (0_u64..3).prop_map(Step::Acknowledge),
        (0_u64..3).prop_map(Step::Leave),
    ]
}

proptest! {
    /// Distributed means: published, and no client that it was sent to is behind.
    #[test]
    fn nothing_is_distributed_early(steps in proptest::collection::vec(step(), 1..60)) {
        let mut ledger = Ledger::default();
        // By connected client: what it has acknowledged.
        let mut clients: BTreeMap<u64, u64> = (0..3).map(|client| (client, 0)).collect();
        let (mut generation, mut written) = (0, 0);
        for (now, step) in steps.into_iter().enumerate() {
            let now = ms(now as u64);
            match step {
                Step::Write => {
                    written += 1;
                    ledger.applied(reviews(), version(written), now);
                }
                Step::Publish => {
                    generation += 1;
                    ledger.published(generation, clients.keys().copied(), now);
                }
                Step::Acknowledge(client) => {
                    if let Some(has) = clients.get_mut(&client) {
                        *has = generation;
                        ledger.acknowledged(client, generation, now);
                    }
                }
                Step::Leave(client) => {
                    clients.remove(&client);
                    ledger.gone(client, now);
                }
            }
            if let Some(standing) = ledger.of(&reviews()) {
                let everywhere = standing
                    .generation
                    .is_some_and(|generation| clients.values().all(|has| *has >= generation));
                prop_assert_eq!(standing.distributed_in.is_some(), everywhere);
            }
            let behind = |open: &Open| open.waiting.iter().all(|c| clients.contains_key(c));
            prop_assert!(ledger.open.values().all(behind));
        }
    }
}
