//! What can go wrong when the node's network is built.

use std::io;

/// A step of building the node's network that failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The kernel refused a step.
    #[error("node network: {step}: {source}{}", remedy(source))]
    Step {
        /// What was being done, such as `create a network namespace`.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `nft` is not installed.
    #[error(
        "node network: nft was not found in {searched}; install it (Debian and Ubuntu: \
         apt-get install nftables)"
    )]
    NftMissing {
        /// The directories that were searched, comma-separated.
        searched: String,
    },
    /// `nft` refused a rule set.
    #[error(
        "node network: nft refused the rules (nftables 1.0 and a kernel with nf_tables, nf_nat \
         and nft_numgen are needed): {message}"
    )]
    Nft {
        /// What nft wrote to its standard error.
        message: String,
    },
}

impl NodeError {
    /// Names the step that an I/O error belongs to.
    pub(crate) fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Step { step, source }
    }
}

/// The remedy for the errors that have one.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            " (this needs root, or an unprivileged user namespace with its network capabilities)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            " (/proc/sys is read-only here: in a container, run it with --privileged)"
        }
        _ => "",
    }
}
