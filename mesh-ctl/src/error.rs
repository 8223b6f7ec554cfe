//! What a command fails with: one line that says what, why and what to do, and an exit code.

use std::process::ExitCode;

use mesh_local::instance::Paths;

/// Exit code of a command that was used wrongly, as clap's own.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The local cluster did not start.
    #[error("the local cluster did not start: {0}")]
    Start(#[from] mesh_local::instance::StartError),
    /// The local cluster did not stop.
    #[error("{0}")]
    Stop(#[from] mesh_local::instance::StopError),
    /// A file of ours cannot be used.
    #[error("{what}: {source}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The API server refused, or could not be reached.
    #[error("{what}: {text}", text = kube_text(.source))]
    Api {
        /// What was tried.
        what: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// A manifest cannot be read.
    #[error("{0}")]
    Manifest(String),
    /// What was waited for did not happen.
    #[error("{0}")]
    TimedOut(String),
    /// Anything else, said in full.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// An error of the API server.
    pub fn api(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Api { what: what.into(), source: Box::new(source) }
    }

    /// An error about a file.
    pub fn file(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::File { what: what.into(), source }
    }

    /// A cluster's data could not be deleted; naming a directory of something else is misuse.
    pub fn purge(paths: &Paths, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::InvalidInput {
            return Self::Usage(source.to_string());
        }
        Self::file(format!("delete {}", paths.root().display()), source)
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(USAGE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The server's own words where it answered; the client's otherwise.
fn kube_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
