//! Child processes on a CPU of their own, which end with this one's interest in them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::run::Error;
use crate::tools::Tool;

/// Keeps a process on one CPU.
pub const TASKSET: Tool = Tool {
    program: "taskset",
    purpose: "keeping the load away from what is measured",
    install: "sudo apt-get install util-linux",
};

/// Which CPU a process is kept on, where the machine has more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// That of the proxies.
    Measured,
    /// That of the load and the server.
    Rest,
}

/// A command that runs on that CPU alone.
pub fn on(cpu: Cpu, program: &Path) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        return Command::new(program);
    }
    let list = match cpu {
        Cpu::Measured => "0".to_owned(),
        Cpu::Rest => format!("1-{}", cpus - 1),
    };
    let mut command = Command::new(TASKSET.program);
    command.args(["--cpu-list", &list]).arg(program);
    command
}

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
}

impl Running {
    /// Starts a command without standard input.
    pub fn start(what: &str, command: &mut Command) -> Result<Self, Error> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| Error::new(format!("cannot start {what}: {error}")))?;
        Ok(Self { child, what: what.to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, if it was piped.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Fails when the process has ended.
    pub fn alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::new(format!("{} ended with {status}", self.what))),
            Err(error) => Err(Error::new(format!("{}: {error}", self.what))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
