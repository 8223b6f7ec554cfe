//! The store's promises: order, compare-and-swap, watches, and what is on the disk.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    ChangeKind, Expired, ObjectKey, ResourceKey, Selection, Store, StoreError, WriteError,
    revision_of,
};

fn pods() -> ResourceKey {
    ResourceKey::new("", "pods")
}

fn pod(namespace: &str, name: &str) -> (ObjectKey, Value) {
    let object = json!({"metadata": {"name": name, "namespace": namespace}});
    (ObjectKey::new(namespace, name), object)
}

fn names(items: &[Arc<Value>]) -> Vec<String> {
    items.iter().map(|o| o["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn compare_and_swap() {
    let store = Store::in_memory();
    let (key, object) = pod("a", "x");
    let first = store.create(&pods(), &key, object.clone()).unwrap();
    assert_eq!(store.create(&pods(), &key, object.clone()), Err(WriteError::Exists));
    let at = revision_of(&first);
    assert_eq!(at, store.revision());
    let second = store.update(&pods(), &key, at, object.clone()).unwrap();
    assert!(revision_of(&second) > at);
    assert_eq!(store.update(&pods(), &key, at, object.clone()), Err(WriteError::Stale));
    assert_eq!(store.delete(&pods(), &key, at), Err(WriteError::Stale));
    let last = store.delete(&pods(), &key, revision_of(&second)).unwrap();
    assert_eq!(revision_of(&last), store.revision());
    assert_eq!(store.update(&pods(), &key, at, object), Err(WriteError::Missing));
    assert_eq!(store.get(&pods(), &key), None);
}

#[test]
fn lists_by_namespace_and_page() {
    let store = Store::in_memory();
    for (namespace, name) in [("b", "2"), ("a", "9"), ("b", "1"), ("bb", "0"), ("b", "3")] {
        let (key, object) = pod(namespace, name);
        store.create(&pods(), &key, object).unwrap();
    }
    let all = store.list(&pods(), &Selection::default());
    assert_eq!(names(&all.items), ["9", "1", "2", "3", "0"]);
    let b = Selection { namespace: Some("b"), limit: 2, ..Selection::default() };
    let page = store.list(&pods(), &b);
    assert_eq!((names(&page.items), page.remaining), (vec!["1".into(), "2".into()], 1));
    let after = ObjectKey::new("b", "2");
    let rest = store.list(&pods(), &Selection { after: Some(&after), ..b });
    assert_eq!((names(&rest.items), rest.remaining), (vec!["3".into()], 0));
}

#[tokio::test]
async fn a_watch_sees_every_change_once_and_in_order() {
    let store = Arc::new(Store::in_memory());
    let (key, object) = pod("a", "x");
    let from = store.revision();
    let mut watcher = store.watch(&pods(), from);
    let writer = {
        let store = Arc::clone(&store);
        let (key, object) = (key.clone(), object.clone());
        tokio::task::spawn_blocking(move || {
            let mut last = store.create(&pods(), &key, object.clone()).unwrap();
            for _ in 0..500 {
                last = store.update(&pods(), &key, revision_of(&last), object.clone()).unwrap();
            }
            store.delete(&pods(), &key, revision_of(&last)).unwrap();
        })
    };
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, kind)| *kind != ChangeKind::Deleted) {
        seen.extend(watcher.next().await.unwrap().iter().map(|c| (c.revision, c.kind)));
    }
    writer.await.unwrap();
    assert_eq!(seen.len(), 502);
    assert_eq!(seen[0].1, ChangeKind::Added);
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // Writes to other tables move the position of an idle watcher.
    let (key, object) = pod("a", "other");
    store.create(&ResourceKey::new("apps", "deployments"), &key, object).unwrap();
    assert!(watcher.poll().unwrap().is_empty());
    assert_eq!(watcher.revision(), store.revision());
}

#[test]
fn a_watcher_that_falls_behind_is_expired() {
    let store = Arc::new(Store::with_kept_changes(3));
    let from = store.revision();
    let mut watcher = store.watch(&pods(), from);
    for name in ["1", "2", "3"] {
        let (key, object) = pod("a", name);
        store.create(&pods(), &key, object).unwrap();
    }
    assert_eq!(watcher.poll().unwrap().len(), 3);
    for name in ["4", "5", "6", "7"] {
        let (key, object) = pod("a", name);
        store.create(&pods(), &key, object).unwrap();
    }
    assert_eq!(watcher.poll().unwrap_err(), Expired);
}

#[test]
fn objects_and_revisions_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.redb");
    let (key, object) = pod("a", "x");
    let (gone, other) = pod("a", "gone");
    let before = {
        let store = Store::open(&path).unwrap();
        let created = store.create(&pods(), &gone, other).unwrap();
        store.create(&pods(), &key, object).unwrap();
        store.delete(&pods(), &gone, revision_of(&created)).unwrap();
        store.flush().unwrap();
        store.revision()
    };
    let store = Arc::new(Store::open(&path).unwrap());
    assert_eq!(store.count(&pods()), 1);
    assert!(store.revision() > before);
    assert_eq!(store.watch(&pods(), before).poll().unwrap_err(), Expired);
    let from = store.revision();
    assert!(store.watch(&pods(), from).poll().unwrap().is_empty());
    assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
}

#[test]
fn what_was_flushed_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.redb");
    let store = Store::open(&path).unwrap();
    for n in 0..100 {
        let (key, object) = pod("a", &format!("p{n}"));
        store.create(&pods(), &key, object).unwrap();
    }
    store.flush().unwrap();
    // The file as a kill would leave it: never closed.
    let copy = dir.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    let again = Store::open(&copy).unwrap();
    assert_eq!(again.count(&pods()), 100);
    assert!(again.revision() > store.revision());
}

#[test]
fn a_damaged_file_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("short", &b"hello"[..]), ("long", &[0x41; 70_000][..])] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = Store::open(&path).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(name) && error.contains("move it away"), "{name}: {error}");
    }
    let missing = dir.path().join("no").join("such");
    assert!(matches!(Store::open(&missing), Err(StoreError::Io { .. })));
}

#[test]
fn changes_that_only_the_journal_holds_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.redb");
    let (kept, object) = pod("a", "kept");
    let (gone, other) = pod("a", "gone");
    let before = {
        let store = Store::open(&path).unwrap();
        store.create(&pods(), &gone, other).unwrap();
        store.flush().unwrap();
        store.revision()
    };
    let journal = std::fs::read(path.with_extension("journal0")).unwrap();
    assert!(journal.is_empty(), "what is in the file is no longer in the journal");
    let added = serde_json::json!(
        { "revision": before + 1, "row": "\npods\na\nkept", "object": object }
    );
    let removed =
        serde_json::json!({ "revision": before + 2, "row": "\npods\na\ngone", "object": null });
    let stale = serde_json::json!({ "revision": 1, "row": "\npods\na\nkept", "object": null });
    std::fs::write(path.with_extension("journal1"), format!("{added}\n{removed}\n")).unwrap();
    std::fs::write(path.with_extension("journal0"), format!("{stale}\n{{\"cut off")).unwrap();
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        assert!(store.get(&pods(), &kept).is_some());
        assert!(store.get(&pods(), &gone).is_none());
        assert!(store.revision() > before + 2);
    }
}
