//! Can a cluster run on this machine? If not: one message, with the remedy.

use std::fmt::{self, Write as _};
use std::fs;

use crate::net::find_nft;

use super::capabilities::may_make_namespaces;

/// What was found out about the machine and the caller, without changing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The operating system, as Rust names it.
    pub system: &'static str,
    /// The caller may make namespaces as it is (root with the usual capabilities).
    pub privileged: bool,
    /// The caller is uid 0 (perhaps of a container, without capabilities).
    pub root: bool,
    /// `user.max_user_namespaces`; `None` when the kernel has no user namespaces.
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`; `None` where there is no such switch.
    pub unprivileged_userns_clone: Option<bool>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`; `None` where there is no such
    /// switch.
    pub apparmor_restricts: Option<bool>,
    /// `nft` was found.
    pub nft: bool,
}

/// Why no cluster can run here. `Display` says what is missing and how to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not Linux.
    NotLinux,
    /// `nft` is not installed.
    NoNft,
    /// The kernel has no user namespaces, or none may be made.
    NoUserNamespaces,
    /// Debian's switch is off.
    UnprivilegedSwitchOff,
    /// AppArmor takes the capabilities of unprivileged user namespaces away.
    AppArmor,
    /// Something else forbids it: a container's seccomp filter, mostly.
    Forbidden,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLinux => {
                "a local cluster needs Linux (network and user namespaces); on other systems run \
                 it in a Linux virtual machine, or use any Kubernetes cluster"
            }
            Self::NoNft => {
                "the program nft was not found; install it (Debian and Ubuntu: sudo apt-get \
                 install nftables; Fedora: sudo dnf install nftables)"
            }
            Self::NoUserNamespaces => {
                "this kernel allows no user namespaces, so an ordinary user cannot run a cluster; \
                 run the command with sudo, or allow them: sudo sysctl -w \
                 user.max_user_namespaces=15000"
            }
            Self::UnprivilegedSwitchOff => {
                "ordinary users may not make user namespaces here; run the command with sudo, or \
                 allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1"
            }
            Self::AppArmor => {
                "AppArmor restricts the user namespaces of ordinary users here (Ubuntu 23.10 and \
                 later); run the command with sudo, or allow them: sudo sysctl -w \
                 kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Self::Forbidden => {
                "this environment forbids namespaces (most often a container's seccomp filter); \
                 run the command with sudo, outside of the container, or in one started with \
                 --privileged"
            }
        })
    }
}

/// The outcome of [`preflight`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// What was found out.
    pub facts: Facts,
    /// What stands in the way, most fundamental first; empty when a cluster can be tried.
    pub problems: Vec<Problem>,
}

impl Preflight {
    /// All problems as one message; `None` when there is none.
    pub fn message(&self) -> Option<String> {
        let (first, rest) = self.problems.split_first()?;
        let mut message = format!("a local cluster cannot run here: {first}");
        for problem in rest {
            // Writing to a string does not fail.
            let _ = write!(message, "\nalso: {problem}");
        }
        Some(message)
    }
}

/// Looks at the machine without changing anything. A restriction that a profile may lift for
/// this very program (AppArmor) is not counted as a problem here: only trying shows it.
pub fn preflight() -> Preflight {
    let facts = Facts::gather();
    let problems = facts.problems();
    Preflight { facts, problems }
}

impl Facts {
    /// Reads them from the machine.
    pub fn gather() -> Self {
        let number = |path: &str| -> Option<u64> {
            fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok()
        };
        Self {
            system: std::env::consts::OS,
            privileged: may_make_namespaces().unwrap_or(false),
            root: nix::unistd::geteuid().is_root(),
            max_user_namespaces: number("user/max_user_namespaces"),
            unprivileged_userns_clone: number("kernel/unprivileged_userns_clone").map(|n| n != 0),
            apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns")
                .map(|n| n != 0),
            nft: find_nft().is_ok(),
        }
    }

    /// What certainly stands in the way.
    pub fn problems(&self) -> Vec<Problem> {
        if self.system != "linux" {
            return vec![Problem::NotLinux];
        }
        let mut problems = Vec::new();
        if !self.privileged {
            if self.max_user_namespaces.unwrap_or(0) == 0 {
                problems.push(Problem::NoUserNamespaces);
            } else if self.unprivileged_userns_clone == Some(false) && !self.root {
                problems.push(Problem::UnprivilegedSwitchOff);
            }
        }
        if !self.nft {
            problems.push(Problem::NoNft);
        }
        problems
    }

    /// The likely reason why making a user namespace, or a network in it, was refused.
    pub fn why_refused(&self) -> Problem {
        if self.max_user_namespaces.unwrap_or(0) == 0 {
            Problem::NoUserNamespaces
        } else if self.unprivileged_userns_clone == Some(false) && !self.root {
            Problem::UnprivilegedSwitchOff
        } else if self.apparmor_restricts == Some(true) && !self.root {
            Problem::AppArmor
        } else {
            Problem::Forbidden
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Facts {
        Facts {
            system: "linux",
            privileged: false,
            root: false,
            max_user_namespaces: Some(9000),
            unprivileged_userns_clone: None,
            apparmor_restricts: None,
            nft: true,
        }
    }

    #[test]
    fn problems_and_remedies() {
        let cases = [
            (user(), vec![]),
            (Facts { privileged: true, max_user_namespaces: Some(0), ..user() }, vec![]),
            (Facts { system: "macos", nft: false, ..user() }, vec![Problem::NotLinux]),
            (Facts { max_user_namespaces: None, ..user() }, vec![Problem::NoUserNamespaces]),
            (
                Facts { unprivileged_userns_clone: Some(false), nft: false, ..user() },
                vec![Problem::UnprivilegedSwitchOff, Problem::NoNft],
            ),
            (Facts { apparmor_restricts: Some(true), ..user() }, vec![]),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.problems(), expected, "{facts:?}");
        }
    }

    #[test]
    fn refusals_are_explained() {
        let cases = [
            (user(), Problem::Forbidden),
            (Facts { apparmor_restricts: Some(true), ..user() }, Problem::AppArmor),
            (Facts { apparmor_restricts: Some(true), root: true, ..user() }, Problem::Forbidden),
            (Facts { max_user_namespaces: Some(0), ..user() }, Problem::NoUserNamespaces),
            (
                Facts { unprivileged_userns_clone: Some(false), ..user() },
                Problem::UnprivilegedSwitchOff,
            ),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.why_refused(), expected, "{facts:?}");
        }
    }

    #[test]
    fn one_message_names_everything() {
        let facts = Facts { max_user_namespaces: Some(0), nft: false, ..user() };
        let outcome = Preflight { problems: facts.problems(), facts };
        let message = outcome.message().expect("problems");
        assert!(message.contains("sudo") && message.contains("nftables"), "{message}");
        assert_eq!(Preflight { facts: user(), problems: vec![] }.message(), None);
    }
}
