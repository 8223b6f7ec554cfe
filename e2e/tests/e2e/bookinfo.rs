//! Bookinfo by kubectl: applied, ready, answering with all three review versions, deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_test::{Cluster, Kubectl, eventually, http, settings};

/// How long the slowest step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn bookinfo_runs_with_the_machines_kubectl() {
    let cluster = Cluster::start();
    walk(&cluster.kubectl(settings::kubectl()));
}

#[test]
fn bookinfo_runs_with_the_newest_kubectl() {
    let cluster = Cluster::start();
    walk(&cluster.kubectl(settings::kubectl_newest()));
}

/// Applies Bookinfo, sees it work, and deletes it.
fn walk(kubectl: &Kubectl) {
    deploy(kubectl);
    assert_eq!(review_versions(kubectl), BTreeSet::from(["v1", "v2", "v3"]));
    let bookinfo = manifest("bookinfo.yaml");
    kubectl.ok(&["delete", "-f", &bookinfo]);
    eventually("pods are gone", PATIENCE, || {
        let pods = kubectl.ok(&["get", "pods", "-o", "name"]);
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
}

/// Applies Bookinfo with its node port and waits until every pod is ready.
pub(crate) fn deploy(kubectl: &Kubectl) {
    let applied = kubectl.ok(&["apply", "-f", &manifest("bookinfo.yaml")]);
    assert!(applied.contains("deployment.apps/reviews-v3 created"), "{applied}");
    kubectl.ok(&["apply", "-f", &manifest("productpage-nodeport.yaml")]);
    kubectl.ok(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    for deployment in ["productpage-v1", "reviews-v1", "reviews-v2", "reviews-v3"] {
        kubectl.ok(&["rollout", "status", &format!("deployment/{deployment}"), "--timeout=60s"]);
    }
}

/// The product page's port on this machine.
pub(crate) fn node_port(kubectl: &Kubectl) -> u16 {
    let path = "jsonpath={.spec.ports[0].nodePort}";
    let port = kubectl.ok(&["get", "svc", "productpage-nodeport", "-o", path]);
    port.parse().unwrap_or_else(|_| panic!("node port {port:?}"))
}

/// Which versions of reviews answer through the product page, told apart as a reader would.
pub(crate) fn review_versions(kubectl: &Kubectl) -> BTreeSet<&'static str> {
    let port = node_port(kubectl);
    let mut seen = BTreeSet::new();
    eventually("all three review versions answer", PATIENCE, || {
        let page = http::get(port, "/productpage")?;
        if page.status != 200 || !page.body.contains("Book Reviews") {
            return Err(format!("{} {}", page.status, page.body));
        }
        seen.insert(version_of(&page.body)?);
        if seen.len() == 3 { Ok(()) } else { Err(format!("only {seen:?}")) }
    });
    seen
}

/// The version by the pod that served the reviews, checked against the stars it shows.
fn version_of(page: &str) -> Result<&'static str, String> {
    let version = ["v1", "v2", "v3"]
        .into_iter()
        .find(|version| page.contains(&format!("reviews-{version}-")))
        .ok_or_else(|| format!("no reviews pod named in {page}"))?;
    let stars = ["black", "red"].map(|color| page.contains(&format!("data-color=\"{color}\"")));
    let wanted = [version == "v2", version == "v3"];
    assert_eq!(stars, wanted, "black and red stars of {version} in {page}");
    Ok(version)
}

/// A manifest of the sample, as users name it.
pub(crate) fn manifest(name: &str) -> String {
    settings::repository().join("samples/bookinfo/platform/kube").join(name).display().to_string()
}
