//! Which DNS names the control plane's own certificates carry, by service account.

use mesh_api::spiffe::SpiffeId;

/// The DNS names of a workload: none, except for the control plane's service accounts in its own
/// namespace. They never come from a request.
#[must_use]
pub fn dns_names(caller: &SpiffeId, control_plane: &str, cluster_domain: &str) -> Vec<String> {
    if caller.namespace.as_str() != control_plane {
        return Vec::new();
    }
    let account = caller.service_account.as_str();
    let is_istiod = account == "istiod" || account.starts_with("istiod-");
    let mut hosts = Vec::new();
    if is_istiod {
        hosts.push(account);
        // A revision may be what the plain name leads to.
        if account != "istiod" {
            hosts.push("istiod");
        }
        hosts.push("istio-pilot");
    } else if matches!(account, "istio-ca" | "istio-galley") || account.starts_with("istio-galley-")
    {
        hosts.push(account);
    }
    let of = |host: &&str| {
        [
            format!("{host}.{control_plane}.svc"),
            format!("{host}.{control_plane}.svc.{cluster_domain}"),
            format!("{host}.{control_plane}"),
        ]
    };
    hosts.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_control_plane_has_names() {
        let names = |namespace: &str, account: &str| {
            let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap();
            dns_names(&id, "istio-system", "cluster.local")
        };
        assert_eq!(
            names("istio-system", "istio-ca"),
            [
                "istio-ca.istio-system.svc",
                "istio-ca.istio-system.svc.cluster.local",
                "istio-ca.istio-system"
            ]
        );
        let istiod = names("istio-system", "istiod");
        assert!(istiod.contains(&"istiod.istio-system.svc".to_owned()));
        assert!(istiod.contains(&"istio-pilot.istio-system.svc".to_owned()));
        let revision = names("istio-system", "istiod-canary");
        assert!(revision.contains(&"istiod-canary.istio-system.svc".to_owned()));
        assert!(revision.contains(&"istiod.istio-system.svc".to_owned()));
        assert_eq!(names("istio-system", "istio-galley").len(), 3);
        let revision = names("istio-system", "istio-galley-canary");
        assert_eq!(revision[0], "istio-galley-canary.istio-system.svc");
        for (namespace, account) in [
            ("default", "istiod"),
            ("istio-system", "default"),
            ("istio-system", "istio-ca-2"),
            ("istio-system", "istiodx"),
            ("istio-system", "istio-galleyx"),
            ("default", "istio-galley"),
        ] {
            assert!(names(namespace, account).is_empty(), "{namespace}/{account}");
        }
    }
}
