//! The control connection between the server and a pod's PID 1: one JSON document a line, both
//! ways.

use serde::{Deserialize, Serialize};

use crate::sandbox::spec::{ContainerSpec, Exit, PodSetup, ProcessSpec, StepError};

/// The longest line either side accepts. A container's line holds its whole environment.
pub(crate) const MAX_LINE: usize = 8 * 1024 * 1024;

/// Server to PID 1. There is no "end": closing the connection ends the pod.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Sets the pod up. The first command, once.
    Prepare(PodSetup),
    /// Starts a container under an id not in use.
    Start { id: String, container: Box<ContainerSpec> },
    /// Starts a process inside a running container.
    Exec { id: String, container: String, process: Box<ProcessSpec> },
    /// Sends a signal to a container's first process, or to a command and its group.
    Signal { id: String, signal: i32 },
}

/// PID 1 to the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// `Prepare` is done; what could not be had is listed.
    Ready { warnings: Vec<String> },
    /// `Prepare` failed: the pod is of no use.
    Failed(StepError),
    /// The program of `id` runs.
    Started { id: String, warnings: Vec<String> },
    /// The program of `id` could not be started. No `Exited` follows.
    StartFailed { id: String, error: StepError },
    /// The process of `id` ended.
    Exited { id: String, exit: Exit },
}

/// What `container-init` and `exec-init` read from their status connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// Build a root, then run.
    Container(Box<ContainerSpec>),
    /// Join the container's mounts, then run.
    Exec(Box<ProcessSpec>),
}

/// What they write before they become the program: any number of warnings, or the failure. The
/// end of the connection without a failure means that the program runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Something asked for could not be had; the program runs without it.
    Warning(String),
    /// The program could not be started.
    Failed(StepError),
}
