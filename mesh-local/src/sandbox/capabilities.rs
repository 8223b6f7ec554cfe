//! Linux capabilities of a container: what Kubernetes gives by default, and the limit that holds
//! for whatever the program executes.

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::sandbox::spec::{Step, StepError};

/// What a container has unless its security context says otherwise, as container runtimes have
/// agreed.
pub const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capabilities of a container: the default ones without `drop`, with `add`. `ALL` stands
/// for all of them; `None` is "every capability there is".
///
/// ```
/// use mesh_local::sandbox::capabilities::effective;
/// let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
/// assert_eq!(effective(&names(&["NET_ADMIN"]), &names(&["ALL"])), Some(names(&["NET_ADMIN"])));
/// assert_eq!(effective(&names(&["ALL"]), &[]), None);
/// ```
pub fn effective(add: &[String], drop: &[String]) -> Option<Vec<String>> {
    let all = |list: &[String]| list.iter().any(|name| canonical(name) == "ALL");
    if all(add) {
        return None;
    }
    let dropped: Vec<String> = drop.iter().map(|name| canonical(name)).collect();
    let mut kept: Vec<String> = DEFAULT
        .iter()
        .map(|name| (*name).to_owned())
        .filter(|name| !all(drop) && !dropped.contains(name))
        .chain(add.iter().map(|name| canonical(name)))
        .collect();
    kept.sort();
    kept.dedup();
    Some(kept)
}

/// The capabilities of a container that runs as `uid`, where `uid_map` is `/proc/self/uid_map`.
///
/// Where the user is not mapped, packet rules cannot tell the container by it; what is left is a
/// mark on its sockets, and to set one takes `NET_RAW`, which containers have by default.
pub(crate) fn for_user(kept: &[String], uid: u32, uid_map: &str) -> Vec<String> {
    let mut all = kept.to_vec();
    let raw = "NET_RAW".to_owned();
    if uid != 0 && is_unmapped(uid, uid_map) && !all.iter().any(|name| canonical(name) == raw) {
        all.push(raw);
    }
    all
}

/// Whether the map says that there is no such user; a map that cannot be read says nothing.
fn is_unmapped(uid: u32, uid_map: &str) -> bool {
    let ranges: Vec<(u64, u64)> = uid_map
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let first: u64 = words.next()?.parse().ok()?;
            let count: u64 = words.nth(1)?.parse().ok()?;
            Some((first, count))
        })
        .collect();
    let uid = u64::from(uid);
    let has = |(first, count): &(u64, u64)| (*first..first.saturating_add(*count)).contains(&uid);
    !ranges.is_empty() && !ranges.iter().any(has)
}

/// Upper case, without the prefix `CAP_`.
fn canonical(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or_else(|| upper.clone(), str::to_owned)
}

/// Takes all but `kept` out of reach of this process and its programs. Unknown names are an error:
/// a container that asks for one would otherwise run without it, unseen.
pub(crate) fn limit(kept: &[String]) -> Result<(), StepError> {
    let mut keep = CapabilitySet::empty();
    for name in kept {
        keep |= CapabilitySet::from_name(&canonical(name)).ok_or_else(|| {
            StepError::new("set capabilities", format!("this kernel knows no capability {name}"))
        })?;
    }
    for (name, capability) in CapabilitySet::all().iter_names() {
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // An older kernel does not know the newest ones, so nobody has them.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(err) => Err(err).step(|| format!("drop capability {name}"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_known() {
        for name in DEFAULT {
            assert!(CapabilitySet::from_name(name).is_some(), "{name}");
        }
        let err = limit(&["CAP_MAGIC".to_owned()]).expect_err("unknown");
        assert!(err.cause.contains("CAP_MAGIC"), "{err}");
    }

    #[test]
    fn a_user_that_is_not_mapped_may_mark_its_sockets() {
        let everybody = "         0          0 4294967295\n";
        for (uid, map, kept) in [
            (1337, everybody, &[][..]),
            (1337, "0 1000 1\n", &["NET_RAW"]),
            (1337, "0 1000 1\n1 100000 65536\n", &[]),
            (0, "0 1000 1\n", &[]),
            (1337, "", &[]),
        ] {
            assert_eq!(for_user(&[], uid, map), kept, "{uid} in {map:?}");
        }
        let one = ["CAP_NET_RAW".to_owned()];
        assert_eq!(for_user(&one, 7, "0 1000 1\n"), one);
    }

    #[test]
    fn prefixes_and_case_do_not_matter() {
        let kept = effective(&["cap_net_admin".to_owned()], &["net_raw".to_owned()]);
        let kept = kept.expect("a list");
        assert!(kept.contains(&"NET_ADMIN".to_owned()));
        assert!(!kept.contains(&"NET_RAW".to_owned()));
        assert_eq!(kept.len(), DEFAULT.len());
    }
}
