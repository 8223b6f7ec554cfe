//! `meshctl uninstall` leaves the cluster as it was.

use std::collections::BTreeSet;

use mesh_test::{Cluster, Kubectl, eventually, settings};

use mesh_test::mesh::PATIENCE;

#[test]
fn uninstall_leaves_nothing_behind() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    let meshctl = |args: &[&str]| {
        let output = cluster.meshctl(args);
        assert_eq!(output.code, 0, "{args:?}: {output:#?}");
        output
    };
    let before = everything(&kubectl);
    meshctl(&["install", "-y"]);
    let during = everything(&kubectl);
    assert!(during.len() > before.len() + 20, "{during:?}");
    let dry = meshctl(&["uninstall", "--purge", "-y", "--dry-run"]);
    assert_eq!(everything(&kubectl), during, "a dry run changes nothing: {dry:#?}");
    meshctl(&["uninstall", "--purge", "-y"]);
    eventually("all is as before", PATIENCE, || {
        let after = everything(&kubectl);
        let left: Vec<_> = after.difference(&before).collect();
        let lost: Vec<_> = before.difference(&after).collect();
        if left.is_empty() && lost.is_empty() {
            Ok(())
        } else {
            Err(format!("left {left:?}, lost {lost:?}"))
        }
    });
}

/// Every object of the cluster but events, as `type/namespace/name`.
fn everything(kubectl: &Kubectl) -> BTreeSet<String> {
    let kinds = kubectl.ok(&["api-resources", "--verbs=list", "-o", "name"]);
    let mut found = BTreeSet::new();
    for kind in kinds.lines().filter(|kind| !kind.starts_with("events")) {
        let path = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
        let listed = kubectl.run(&["get", kind, "-A", "-o", path]);
        // A kind may end between the two commands.
        found.extend(listed.stdout.lines().map(|name| format!("{kind}/{name}")));
    }
    found
}
