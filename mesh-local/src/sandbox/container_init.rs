//! The role that builds a container's root and becomes its program. It is born in the
//! container's mount and pid namespaces.

use std::os::fd::AsFd;

use crate::sandbox::process::{Status, Stdio, become_program};
use crate::sandbox::rootfs;
use crate::sandbox::spec::{ContainerSpec, Step, StepError};
use crate::sandbox::wire::{Job, Report};

/// The name of the role on the command line.
pub(crate) const ROLE: &str = "container-init";

/// Exit code of a shim that could not do its part; the reason went to PID 1.
pub(crate) const FAILED: i32 = 125;

/// Runs the role; returns only on failure. Standard input is the status connection.
pub(crate) fn run() -> i32 {
    let received = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .step(|| "take the status connection")
        .and_then(Status::receive);
    let Ok((mut status, job)) = received else { return FAILED };
    let failure = match job {
        Job::Container(spec) => start(&spec, &mut status),
        Job::Exec(_) => StepError::new("start", "a command was sent to a container's shim"),
    };
    status.report(&Report::Failed(failure));
    FAILED
}

fn start(spec: &ContainerSpec, status: &mut Status) -> StepError {
    let ready = Stdio::open(&spec.process).and_then(|stdio| {
        set_oom_score(spec.process.oom_score_adj);
        Ok((stdio, rootfs::enter(spec)?))
    });
    match ready {
        Ok((stdio, warnings)) => {
            for warning in warnings {
                status.report(&Report::Warning(warning));
            }
            become_program(&spec.process, stdio, status)
        }
        Err(err) => err,
    }
}

/// Tells the kernel whom to end first when memory is short. Lowering needs a right that a user
/// namespace does not give; then the score stays.
fn set_oom_score(score: i32) {
    let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
}
