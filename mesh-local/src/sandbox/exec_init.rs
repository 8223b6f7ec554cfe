//! The role that joins a running container and becomes a command in it. It is born in the
//! container's pid namespace.

use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns};

use crate::sandbox::container_init::FAILED;
use crate::sandbox::process::{Status, Stdio, become_program};
use crate::sandbox::spec::{ProcessSpec, Step, StepError};
use crate::sandbox::wire::{Job, Report};

/// The name of the role on the command line.
pub(crate) const ROLE: &str = "exec-init";

/// Runs the role; returns only on failure. Standard input is the container's mount namespace,
/// standard output the status connection.
pub(crate) fn run() -> i32 {
    let received = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .step(|| "take the status connection")
        .and_then(Status::receive);
    let Ok((mut status, job)) = received else { return FAILED };
    let failure = match job {
        Job::Exec(process) => start(&process, &mut status),
        Job::Container(_) => StepError::new("start", "a container was sent to a command's shim"),
    };
    status.report(&Report::Failed(failure));
    FAILED
}

fn start(process: &ProcessSpec, status: &mut Status) -> StepError {
    let ready = Stdio::open(process).and_then(|stdio| {
        setns(std::io::stdin().as_fd(), CloneFlags::CLONE_NEWNS)
            .step(|| "enter the container's mounts")?;
        Ok(stdio)
    });
    match ready {
        Ok(stdio) => become_program(process, stdio, status),
        Err(err) => err,
    }
}
