//! System tools that the demo and the tests need, and how to install a missing one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::run::Error;

/// A program that a Debian or Ubuntu package provides.
pub struct Tool {
    /// Name of the program.
    pub program: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// The command that installs it.
    pub install: &'static str,
}

/// Packet rules of the local cluster's Services.
pub const NFT: Tool = Tool {
    program: "nft",
    purpose: "the local cluster's Services",
    install: "sudo apt-get install nftables",
};

/// The Python that holds the tests' peers.
pub const PYTHON: Tool = Tool {
    program: "python3",
    purpose: "the private environment of the tests' peers",
    install: "sudo apt-get install python3-venv",
};

/// Maps a range of user ids into an ordinary user's cluster.
pub const NEWUIDMAP: Tool = Tool {
    program: "newuidmap",
    purpose: "the tests of a cluster run by an ordinary user",
    install: "sudo apt-get install uidmap",
};

/// Network namespaces of the tests beside a real Envoy.
pub const IP: Tool = Tool {
    program: "ip",
    purpose: "the tests' network namespaces",
    install: "sudo apt-get install iproute2",
};

/// The other language of capture rules.
pub const IPTABLES: Tool = Tool {
    program: "iptables",
    purpose: "the tests of captured traffic",
    install: "sudo apt-get install iptables",
};

/// Asks from within pods.
pub const CURL: Tool = Tool {
    program: "curl",
    purpose: "the tests' requests from within pods",
    install: "sudo apt-get install curl",
};

/// Shows the certificates that proxies present.
pub const OPENSSL: Tool = Tool {
    program: "openssl",
    purpose: "the tests' look at certificates",
    install: "sudo apt-get install openssl",
};

/// Looks at pages as a person does.
pub const CHROMIUM: Tool = Tool {
    program: "chromium",
    purpose: "the tests of pages",
    install: "sudo apt-get install chromium",
};

/// What the addon's image stands for on a local cluster.
pub const PROMETHEUS: Tool = Tool {
    program: "prometheus",
    purpose: "the tests of metrics, as users query them",
    install: "sudo apt-get install --no-install-recommends prometheus",
};

/// A system C compiler, for the cryptography library.
pub const CC: Tool = Tool {
    program: "cc",
    purpose: "building the cryptography library",
    install: "sudo apt-get install build-essential",
};

/// Fails with the install line of every tool that is missing.
pub fn require(tools: &[Tool]) -> Result<(), Error> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .map(|tool| format!("  {} (for {}): {}", tool.program, tool.purpose, tool.install))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::new(format!("missing programs; install them with\n{}", missing.join("\n"))))
    }
}

/// The search path, with one more directory at its end.
pub fn path_with(dir: Option<&Path>) -> OsString {
    let path = search_path();
    let dirs = std::env::split_paths(&path).chain(dir.map(PathBuf::from));
    // A directory whose name has a colon cannot be in a search path; then it is left as it was.
    std::env::join_paths(dirs).unwrap_or(path)
}

/// The path of a program, also in the system directories that an ordinary user's PATH lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| is_program(candidate))
}

#[allow(clippy::disallowed_methods, reason = "a program search is a read of PATH")]
fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_install_line() {
        let tool = Tool { program: "no-such-program", purpose: "x", install: "apt-get install y" };
        let error = require(&[tool]).unwrap_err().to_string();
        assert!(error.contains("no-such-program (for x): apt-get install y"), "{error}");
    }

    #[test]
    fn a_directory_is_added_at_the_end_of_the_path() {
        let path = path_with(Some(Path::new("/no/such")));
        assert_eq!(std::env::split_paths(&path).last().as_deref(), Some(Path::new("/no/such")));
    }

    #[test]
    fn a_program_of_the_system_is_found() {
        assert!(find("sh").is_some());
    }
}
