//! The same cluster without root: where the kernel allows user namespaces, Bookinfo runs;
//! where it does not, one message says so.

use std::collections::BTreeSet;

use mesh_test::{Cluster, ClusterOptions, settings};

use crate::bookinfo;

#[test]
fn bookinfo_runs_for_an_ordinary_user() {
    let cluster = Cluster::start_with(ClusterOptions { ordinary_user: true });
    let status = std::fs::metadata(format!("/proc/{}", cluster.server_pid())).unwrap();
    assert_ne!(std::os::unix::fs::MetadataExt::uid(&status), 0, "the server is not root's");
    let kubectl = cluster.kubectl(settings::kubectl_newest());
    bookinfo::deploy(&kubectl);
    assert_eq!(bookinfo::review_versions(&kubectl), BTreeSet::from(["v1", "v2", "v3"]));
}
