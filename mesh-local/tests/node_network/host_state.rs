//! What the host's namespace looks like, to be compared before and after.

use std::collections::BTreeSet;
use std::process::Command;

/// Links, routes, addresses and packet rules of the namespace this process is in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostState {
    links: BTreeSet<String>,
    routes: String,
    addresses: String,
    rules: Option<String>,
    named_namespaces: BTreeSet<String>,
}

pub(crate) fn observe() -> HostState {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let links = read("/proc/thread-self/net/dev");
    let named = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    HostState {
        links: links
            .lines()
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()))
            .collect(),
        routes: read("/proc/thread-self/net/route"),
        addresses: read("/proc/thread-self/net/fib_trie"),
        rules: host_rules(),
        named_namespaces: named.map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
    }
}

/// The host's rules, for those who may list them (root).
fn host_rules() -> Option<String> {
    let nft = mesh_local::net::find_nft().ok()?;
    let output = Command::new(nft).args(["list", "ruleset"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
