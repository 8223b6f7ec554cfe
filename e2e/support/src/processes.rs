//! A census of what a cluster leaves behind: processes, mounts, links and packet rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Process ids whose command line or environment names `needle`, zombies left out.
pub fn that_name(needle: &Path) -> BTreeSet<i32> {
    let needle = needle.as_os_str().as_encoded_bytes();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let names = |file: &str| {
            std::fs::read(entry.path().join(file)).is_ok_and(|bytes| contains(&bytes, needle))
        };
        if pid != own_pid() && (names("cmdline") || names("environ")) && !is_zombie(pid) {
            found.insert(pid);
        }
    }
    found
}

/// All descendants of a process, itself included, zombies left out.
pub fn tree(root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            if parent(pid).is_some_and(|parent| found.contains(&parent)) && !is_zombie(pid) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Whether a process exists and has not ended.
pub fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists() && !is_zombie(pid)
}

/// What the host's namespaces hold, as text that must not change: mounts, links, rules.
///
/// # Panics
/// If `ip` or `nft` is missing.
pub fn host_state() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    let links: BTreeSet<String> = std::fs::read_dir("/sys/class/net")
        .expect("/sys")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let named = std::fs::read_dir("/run/netns").map(|dir| dir.flatten().count()).unwrap_or(0);
    let rules = if crate::user::is_root() {
        let output = Command::new("nft").args(["list", "ruleset"]).output();
        let output = output.expect("nft is missing: sudo apt-get install nftables");
        String::from_utf8_lossy(&output.stdout).into_owned()
    } else {
        String::new()
    };
    format!("{mounts}\nlinks {links:?}\nnamed namespaces {named}\n{rules}")
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// State and parent from `/proc/PID/stat`, after the name, which may hold anything.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

fn is_zombie(pid: i32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == 'Z' || state == 'X')
}

fn parent(pid: i32) -> Option<i32> {
    stat(pid).map(|(_, parent)| parent)
}
