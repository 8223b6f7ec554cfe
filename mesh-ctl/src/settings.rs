//! The one place that reads the environment.
#![allow(clippy::disallowed_methods, reason = "this is the settings file")]

use std::env;
use std::path::PathBuf;

use crate::error::Error;

/// The directory under which local clusters keep their data:
/// `$XDG_DATA_HOME/lateen`, else `~/.local/share/lateen`.
pub fn data_home() -> Result<PathBuf, Error> {
    let xdg = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::home_dir().map(|home| home.join(".local/share"));
    xdg.or_else(home).map(|base| base.join("lateen")).ok_or_else(|| {
        Error::Usage("neither XDG_DATA_HOME nor HOME is set; name a --data-dir".to_owned())
    })
}

/// This program, to start it again as the server.
pub fn this_program() -> Result<PathBuf, Error> {
    env::current_exe().map_err(|error| Error::file("cannot find this program's own path", error))
}

/// The directory of this program, where the programs of pods are too.
pub fn program_dir() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program.parent().map(PathBuf::from).unwrap_or_default()
}

/// What the local cluster's server logs: `LOG_LEVEL`, else `info`.
pub fn log_filter() -> String {
    env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned())
}

/// The kubeconfig a command uses when none is named: the first file of `KUBECONFIG`, else
/// `~/.kube/config`.
pub fn kubeconfig() -> Result<PathBuf, Error> {
    let listed = env::var_os("KUBECONFIG").unwrap_or_default();
    let first = env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    first.or_else(|| env::home_dir().map(|home| home.join(".kube/config"))).ok_or_else(|| {
        Error::Usage("neither KUBECONFIG nor HOME is set; name a --kubeconfig".to_owned())
    })
}
