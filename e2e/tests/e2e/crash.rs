//! `kill -9` of the cluster: nothing is left, and the next `up` has the objects back.

use std::time::Duration;

use mesh_test::{Cluster, eventually, processes, settings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bookinfo;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long the kernel may take to end all that the server started.
const END: Duration = Duration::from_secs(5);

#[test]
fn a_killed_cluster_leaves_nothing_and_comes_back() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    bookinfo::deploy(&kubectl);
    kubectl.ok(&["create", "configmap", "keepsake", "--from-literal=word=sail"]);
    let server = cluster.server_pid();
    let tree = processes::tree(server);
    assert!(tree.len() > 6, "the server has pods: {tree:?}");

    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    eventually("every process has ended", END, || {
        let alive: Vec<_> = tree.iter().copied().filter(|pid| processes::lives(*pid)).collect();
        if alive.is_empty() { Ok(()) } else { Err(format!("{alive:?} live")) }
    });
    let strays = processes::that_name(&cluster.data_dir());
    assert!(strays.is_empty(), "{strays:?} still name the data directory");

    cluster.up();
    let word = kubectl.ok(&["get", "configmap", "keepsake", "-o", "jsonpath={.data.word}"]);
    assert_eq!(word, "sail");
    eventually("Bookinfo answers again", PATIENCE, || {
        let port = bookinfo::node_port(&kubectl);
        let page = mesh_test::http::get(port, "/productpage")?;
        if page.status == 200 { Ok(()) } else { Err(page.status.to_string()) }
    });
    let restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let counts = kubectl.ok(&["get", "pods", "-l", "app=ratings", "-o", restarts]);
    assert_eq!(counts, "1", "a pod of before was started again");
}

#[test]
fn an_ended_cluster_leaves_the_host_as_it_was() {
    let before = processes::host_state();
    let data_dir = {
        let cluster = Cluster::start();
        let kubectl = cluster.kubectl(settings::kubectl_newest());
        bookinfo::deploy(&kubectl);
        assert_eq!(processes::host_state(), before, "while it runs");
        cluster.data_dir()
    };
    assert_eq!(processes::host_state(), before, "after it ended");
    let strays = processes::that_name(&data_dir);
    assert!(strays.is_empty(), "{strays:?} still run");
}
