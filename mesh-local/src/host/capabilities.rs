//! The capabilities of this process, as `/proc` tells them.

use std::fs;
use std::io;

/// Bit of `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;
/// Bit of `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// Whether this process may make namespaces and change their networks.
pub(super) fn may_make_namespaces() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    Ok(effective(&status).is_some_and(|set| has(set, SYS_ADMIN) && has(set, NET_ADMIN)))
}

/// The effective set in a `/proc/<pid>/status` text.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn has(set: u64, bit: u32) -> bool {
    set >> bit & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_sets_are_read() {
        let status = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        let full = effective(status).expect("a set");
        assert!(has(full, SYS_ADMIN) && has(full, NET_ADMIN));
        // The default of a container runtime: neither.
        let docker = effective("CapEff:\t00000000a80425fb\n").expect("a set");
        assert!(!has(docker, SYS_ADMIN) && !has(docker, NET_ADMIN));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tzz\n"), None);
    }
}
