//! The text of a pod's `/etc/hosts` and `/etc/resolv.conf`. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::pod as pods;

/// What name resolution in the cluster looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDns {
    /// The cluster's DNS server; none in a cluster without one.
    pub server: Option<IpAddr>,
    /// The cluster's domain, `cluster.local`.
    pub domain: String,
}

/// `/etc/hosts`: localhost, the pod itself, and its host aliases.
pub fn etc_hosts(pod: &Pod, ips: &[IpAddr], dns: &ClusterDns) -> String {
    let spec = pods::spec(pod);
    let hostname = pods::hostname(pod);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n",
    );
    for ip in ips.iter().filter(|ip| !ip.is_loopback()) {
        let full = spec.subdomain.as_deref().filter(|name| !name.is_empty()).map(|subdomain| {
            format!("{hostname}.{subdomain}.{}.svc.{}\t", pods::namespace(pod), dns.domain)
        });
        let _ = writeln!(text, "{ip}\t{}{hostname}", full.unwrap_or_default());
    }
    let mut aliases = spec.host_aliases.iter().flatten().peekable();
    if aliases.peek().is_some() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

/// `/etc/resolv.conf` for the pod's `dnsPolicy` and `dnsConfig`. The policy `Default` asks the
/// cluster's server without its search domains: pods cannot reach the host's own resolvers.
pub fn resolv_conf(pod: &Pod, dns: &ClusterDns) -> String {
    let spec = pods::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if policy != "None" {
        servers.extend(dns.server.map(|server| server.to_string()));
    }
    if policy.starts_with("ClusterFirst") && dns.server.is_some() {
        let domain = &dns.domain;
        searches.push(format!("{}.svc.{domain}", pods::namespace(pod)));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
        options.push("ndots:5".to_owned());
    }
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let text =
                option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}"));
            options.retain(|old: &String| old.split(':').next() != Some(name.as_str()));
            options.push(text);
        }
    }
    let mut text = String::new();
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let metadata = json!({"name": "web-0", "namespace": "shop"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
    }

    fn dns() -> ClusterDns {
        ClusterDns { server: Some([10, 96, 0, 10].into()), domain: "cluster.local".to_owned() }
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let pod = pod(json!({
            "containers": [], "subdomain": "web",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
        }));
        let text = etc_hosts(&pod, &[[10, 244, 0, 2].into()], &dns());
        assert!(text.contains("\n10.244.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
    }

    #[test]
    fn resolvers_follow_the_policy() {
        for (spec, expected) in [
            (
                json!({"containers": []}),
                "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                 nameserver 10.96.0.10\noptions ndots:5\n",
            ),
            (json!({"containers": [], "dnsPolicy": "Default"}), "nameserver 10.96.0.10\n"),
            (
                json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
                    "nameservers": ["9.9.9.9"], "searches": ["x"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "search x\nnameserver 9.9.9.9\noptions ndots:2 edns0\n",
            ),
        ] {
            assert_eq!(resolv_conf(&pod(spec), &dns()), expected);
        }
    }
}
