//! `proxy init` in real network namespaces, by the real nft and iptables: who is captured, who is
//! not, and that nothing of it stays or is seen on the host.
//!
//! Each scenario runs in a process of its own inside fresh namespaces: once with all users mapped
//! (as root), once in a user namespace of a single user, where only the mark tells the proxy.

#![expect(clippy::print_stdout, reason = "this is the harness: it reports on standard output")]

mod scenarios;
mod world;

use std::process::{Command, ExitCode};

use crate::scenarios::SCENARIOS;
use crate::world::Users;

/// First argument of a process that is inside the namespaces.
const INSIDE: &str = "--inside";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, users, name] = arguments.as_slice()
        && role == INSIDE
    {
        return inside(users, name);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let root = nix::unistd::geteuid().is_root();
    let kinds: &[Users] = if root { &[Users::All, Users::One] } else { &[Users::One] };
    let mut failed = 0;
    for (name, _) in SCENARIOS {
        if filter.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        for users in kinds {
            let done = start(*users, name);
            println!("{} {name} ({users:?} mapped)", if done { "ok    " } else { "FAILED" });
            failed += usize::from(!done);
        }
    }
    if failed > 0 {
        println!(
            "{failed} failed; this needs nft and iptables (package nftables, iptables), \
                  unshare (util-linux), and root or unprivileged user namespaces"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs one scenario in namespaces of its own.
fn start(users: Users, name: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let mut command = Command::new("unshare");
    if users == Users::One {
        command.args(["--user", "--map-root-user"]);
    }
    // A mount namespace and /sys of its own, so that `ip` sees the new network.
    command.args(["--net", "--mount"]).arg(program);
    let status = command.args([INSIDE, users.name(), name]).status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cannot run unshare: {error}");
            false
        }
    }
}

fn inside(users: &str, name: &str) -> ExitCode {
    let users = if users == Users::All.name() { Users::All } else { Users::One };
    let Some((_, scenario)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
        return ExitCode::FAILURE;
    };
    let world = match world::World::new(users) {
        Ok(world) => world,
        Err(error) => {
            println!("cannot make the network: {error}");
            return ExitCode::FAILURE;
        }
    };
    match scenario(&world) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
