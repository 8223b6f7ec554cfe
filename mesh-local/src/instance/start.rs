//! Starting the server in the background and hearing from it until it is ready.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Paths, State};

/// How much of the server's log an error shows.
const LOG_TAIL_BYTES: u64 = 4096;

/// What to start.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The cluster's files.
    pub paths: Paths,
    /// The program to start: `meshctl` itself.
    pub program: PathBuf,
    /// The arguments with which the program becomes the server.
    pub args: Vec<String>,
}

/// What the server says on its standard output while it starts, a JSON line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// A part of the cluster has started.
    Step(String),
    /// All has started. The last line.
    Ready(State),
    /// The server ends, for this reason. The last line.
    Failed(String),
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program did not run.
    #[error("cannot run {}: {source}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server said why it cannot start.
    #[error("{0}")]
    Refused(String),
    /// The server ended without a word.
    #[error("the server ended while it started; the end of {}:\n{tail}", .log.display())]
    Died {
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
}

/// Starts the server and waits until it is ready. `progress` hears of each step.
///
/// The caller must have seen that no server runs; a second one would refuse by itself.
pub fn start(options: &StartOptions, mut progress: impl FnMut(&str)) -> Result<State, StartError> {
    let directory =
        |source| StartError::Directory { path: options.paths.root().to_path_buf(), source };
    options.paths.create().map_err(directory)?;
    let log_path = options.paths.server_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(directory)?;
    let began = log.metadata().map_err(directory)?.len();
    let mut child = spawn(options, log)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(died(&options.paths, began));
    };
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Progress::Step(what)) => progress(&what),
            Ok(Progress::Ready(state)) => return Ok(state),
            Ok(Progress::Failed(why)) => {
                // The server's end frees the lock, so that the next start finds it free.
                let _status = child.wait();
                return Err(StartError::Refused(why));
            }
            Err(_) => break,
        }
    }
    let _status = child.wait();
    Err(died(&options.paths, began))
}

fn spawn(options: &StartOptions, log: std::fs::File) -> Result<Child, StartError> {
    Command::new(&options.program)
        .args(&options.args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|source| StartError::Spawn { program: options.program.clone(), source })
}

fn died(paths: &Paths, began: u64) -> StartError {
    let log = paths.server_log();
    let tail = tail(&log, began).unwrap_or_default();
    StartError::Died { log, tail }
}

/// The end of the log, at most back to where this start began.
fn tail(path: &PathBuf, began: u64) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(began.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(dir: &tempfile::TempDir, script: &str) -> StartOptions {
        StartOptions {
            paths: Paths::new(dir.path()),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        }
    }

    #[test]
    fn steps_are_heard_until_ready() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"echo '{"step":"API server"}';
            echo '{"ready":{"pid":1,"apiServer":"https://h:1","version":"v","privilege":"root"}}'"#;
        let mut steps = Vec::new();
        let state = start(&shell(&dir, script), |step| steps.push(step.to_owned())).unwrap();
        assert_eq!((state.api_server.as_str(), steps), ("https://h:1", vec!["API server".into()]));
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let error = start(&shell(&dir, r#"echo '{"failed":"no nft"}'"#), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "no nft");
    }

    #[test]
    fn a_silent_death_shows_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = start(&shell(&dir, "echo out of wind >&2; exit 1"), |_| {}).unwrap_err();
        assert!(error.to_string().contains("out of wind"), "{error}");
    }
}
