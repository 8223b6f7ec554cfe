//! Running programs as an ordinary user, whoever runs the tests.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The user and group `nobody`, who has no range of subordinate ids.
const NOBODY: u32 = 65534;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that runs `program` as an ordinary user: as `nobody` when the tests are root's.
pub fn ordinary(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    command.args([&uid, &gid, "--clear-groups"]).arg(program);
    command
}

/// Gives a directory to the ordinary user of [`ordinary`].
///
/// # Panics
/// If the directory cannot be given.
pub fn give(dir: &Path) {
    if is_root() {
        let (uid, gid) = (NOBODY.into(), NOBODY.into());
        nix::unistd::chown(dir, Some(uid), Some(gid)).expect("root may give a directory away");
    }
}

/// Copies the built programs to a directory that every user can read.
///
/// # Panics
/// If a program was not built.
pub fn copy_programs(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
    for name in PROGRAMS {
        let (source, target) = (from.join(name), to.join(name));
        std::fs::copy(&source, &target).unwrap_or_else(|error| {
            panic!("{}: {error}: run `cargo xtask test`", source.display());
        });
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).expect("own file");
    }
    for dir in to.ancestors().take(2) {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("own directory");
    }
}

/// What a local cluster runs.
pub const PROGRAMS: [&str; 5] =
    ["meshctl", "bookinfo-productpage", "bookinfo-details", "bookinfo-reviews", "bookinfo-ratings"];
