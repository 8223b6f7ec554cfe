//! Kernel settings of the namespace the calling thread is in.

use std::fs;
use std::io;

/// Sets `/proc/sys/net/<path>` of the calling thread's namespace.
pub(super) fn set(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
        .map_err(|err| io::Error::new(err.kind(), format!("set net/{path} to {value}: {err}")))
}

/// As [`set`], for settings this kernel may not have.
pub(super) fn set_if_present(path: &str, value: &str) -> io::Result<()> {
    match set(path, value) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
