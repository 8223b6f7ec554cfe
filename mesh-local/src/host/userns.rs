//! Makes an ordinary user's server process root of a user namespace of its own.
//!
//! The process then may make network, mount and pid namespaces, and stays in the host's network
//! namespace, where it may still listen on loopback. With delegated ids (`/etc/subuid`) pods can
//! run under other uids, such as 1337; without, everything inside has the one mapped uid.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, User, getegid, geteuid};

use super::capabilities::may_make_namespaces;
use super::preflight::{Facts, Problem};
use super::subid::{IdMap, delegated_range, identity_map};

/// Where the programs that write id maps are installed.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/run/wrappers/bin"];

/// As whom the cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Real root, or a process that had the capabilities already.
    Root,
    /// Root of a user namespace.
    UserNamespace {
        /// Uids and gids 1 to 65535 exist too. Otherwise 0 is the only one.
        ranges: bool,
    },
}

/// Why the process could not become root of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum BecomeRootError {
    /// The machine does not allow it; the problem names the remedy.
    #[error("{step} was refused ({source}): {problem}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// The likely reason and its remedy.
        problem: Problem,
    },
    /// A user namespace needs a process with one thread.
    #[error(
        "the process already has {threads} threads: a user namespace can only be entered before \
         the first thread is started"
    )]
    Threads {
        /// How many there are.
        threads: usize,
    },
    /// Something that should always work did not.
    #[error("{step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Makes sure this process may make namespaces: does nothing for root, else enters a new user
/// namespace as its root. To be called first in `main`, before any thread exists.
///
/// # Errors
/// [`BecomeRootError`]: when the machine forbids it (with the remedy), or when the process
/// already has threads. The process may then be in a half-made namespace: it should end.
pub fn become_cluster_root() -> Result<Privilege, BecomeRootError> {
    let io = |step| move |source| BecomeRootError::Io { step, source };
    if may_make_namespaces().map_err(io("read /proc/thread-self/status"))? {
        return Ok(Privilege::Root);
    }
    let threads = fs::read_dir("/proc/self/task").map_err(io("read /proc/self/task"))?.count();
    if threads != 1 {
        return Err(BecomeRootError::Threads { threads });
    }
    // Read before entering: inside, everything belongs to nobody until the maps are written.
    let facts = Facts::gather();
    let refused = |step: &'static str| {
        let facts = facts.clone();
        move |source| BecomeRootError::Refused { step, source, problem: facts.why_refused() }
    };
    let ids = Ids::of_caller();
    let mut helpers = Helpers::start(&ids);

    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(io::Error::from)
        .map_err(refused("making a user namespace"))?;
    let ranges = helpers.as_mut().is_some_and(Helpers::write_maps);
    if !ranges {
        ids.write_single_maps().map_err(refused("writing the id maps of a user namespace"))?;
    }
    prove_capable().map_err(refused("making a network namespace inside a user namespace"))?;
    Ok(Privilege::UserNamespace { ranges })
}

/// The caller's ids and what the administrator has delegated.
#[derive(Clone, Debug)]
struct Ids {
    user: Uid,
    group: Gid,
    user_map: Vec<IdMap>,
    group_map: Vec<IdMap>,
}

impl Ids {
    fn of_caller() -> Self {
        let (user, group) = (geteuid(), getegid());
        let name = User::from_uid(user).ok().flatten().map(|entry| entry.name);
        let range = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            delegated_range(&text, name.as_deref(), user.as_raw())
        };
        Self {
            user,
            group,
            user_map: identity_map(user.as_raw(), range("/etc/subuid")),
            group_map: identity_map(group.as_raw(), range("/etc/subgid")),
        }
    }

    /// Maps only the caller's own ids, which needs no help. A map that is written already stays.
    fn write_single_maps(&self) -> io::Result<()> {
        let write = |path: &str, text: &str| {
            fs::write(path, text)
                .map_err(|err| io::Error::new(err.kind(), format!("{path}: {err}")))
        };
        if is_unset("/proc/self/uid_map")? {
            write("/proc/self/uid_map", &format!("0 {} 1", self.user))?;
        }
        if is_unset("/proc/self/gid_map")? {
            // The kernel wants it so: else a process could shed groups that forbid it something.
            write("/proc/self/setgroups", "deny")?;
            write("/proc/self/gid_map", &format!("0 {} 1", self.group))?;
        }
        Ok(())
    }
}

fn is_unset(map: &str) -> io::Result<bool> {
    Ok(fs::read_to_string(map)?.trim().is_empty())
}

/// The processes that run `newuidmap` and `newgidmap` on us. They have to exist before the user
/// namespace does: from inside it those programs have no privilege outside.
#[derive(Debug)]
struct Helpers {
    user: Child,
    group: Child,
}

impl Helpers {
    /// Starts the helpers, which wait; `None` when the machine has no such programs or nothing
    /// is delegated.
    fn start(ids: &Ids) -> Option<Self> {
        if ids.user_map.len() < 2 || ids.group_map.len() < 2 {
            return None;
        }
        let user = spawn_waiting(&find("newuidmap")?, &ids.user_map).ok()?;
        let group = spawn_waiting(&find("newgidmap")?, &ids.group_map).ok()?;
        Some(Self { user, group })
    }

    /// Lets the helpers write the maps; false when one of them was refused.
    fn write_maps(&mut self) -> bool {
        // Both run in any case, so that no process is left waiting.
        let user = release(&mut self.user);
        let group = release(&mut self.group);
        user && group
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        for child in [&mut self.user, &mut self.group] {
            // Without its line of input a helper ends by itself.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// A shell that waits for one line and then becomes `program` with this process' id and `maps`.
fn spawn_waiting(program: &Path, maps: &[IdMap]) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", "read -r line || exit 1; exec \"$0\" \"$@\""])
        .arg(program)
        .arg(std::process::id().to_string())
        .args(maps.iter().flat_map(|m| [m.inside, m.outside, m.count]).map(|n| n.to_string()))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn release(child: &mut Child) -> bool {
    let told =
        child.stdin.take().is_some_and(|mut input| io::Write::write_all(&mut input, b"\n").is_ok());
    let succeeded = child.wait().is_ok_and(|status| status.success());
    told && succeeded
}

fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

/// Makes a network namespace on a thread that ends at once: a security module may grant the user
/// namespace and keep its capabilities.
fn prove_capable() -> io::Result<()> {
    let attempt = std::thread::Builder::new()
        .name("netns-probe".to_owned())
        .spawn(|| unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from))?;
    attempt.join().map_err(|_| io::Error::other("the probing thread panicked"))?
}
