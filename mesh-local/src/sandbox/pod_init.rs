//! PID 1 of a pod: a small synchronous loop that starts, signals and reaps what the server asks
//! for, and ends everything when the server is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use crate::sandbox::spec::{ContainerSpec, Exit, PodSetup, ProcessSpec, Step, StepError};
use crate::sandbox::wire::{Command, Event, Job, MAX_LINE, Report};
use crate::sandbox::{container_init, exec_init, mounts};

/// The name of the role on the command line.
pub(crate) const ROLE: &str = "pod-init";

/// Exit code when PID 1 itself cannot work.
const BROKEN: i32 = 70;

/// Runs the role until the server goes away. Standard input is the control connection.
pub(crate) fn run() -> i32 {
    match Init::begin().and_then(|mut init| init.serve()) {
        Ok(()) => 0,
        // Nobody is left to tell.
        Err(_) => BROKEN,
    }
}

/// A process that was started for the server.
#[derive(Debug)]
struct Child {
    id: String,
    /// Open until the program runs or has failed to.
    status: Option<UnixStream>,
    reported: Vec<u8>,
    /// A command, not a container: signals go to its whole group.
    is_command: bool,
    /// Its program never ran, which the server knows.
    failed: bool,
}

/// The namespaces of a running container, for commands inside it.
#[derive(Debug)]
struct Inside {
    mounts: OwnedFd,
    /// Absent when the pod shares one pid namespace.
    processes: Option<OwnedFd>,
}

#[derive(Debug)]
struct Init {
    control: UnixStream,
    received: Vec<u8>,
    signals: SignalFd,
    own_mounts: OwnedFd,
    own_processes: OwnedFd,
    share_processes: bool,
    children: BTreeMap<i32, Child>,
    containers: BTreeMap<String, Inside>,
}

impl Init {
    fn begin() -> Result<Self, StepError> {
        set_pdeathsig(Signal::SIGKILL).step(|| "follow the server")?;
        let _ = set_name(c"pod-init");
        let control = std::io::stdin().as_fd().try_clone_to_owned().step(|| "take control")?;
        let mut watched = SigSet::empty();
        watched.add(Signal::SIGCHLD);
        watched.thread_block().step(|| "block SIGCHLD")?;
        let signals =
            SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                .step(|| "watch children")?;
        Ok(Self {
            control: UnixStream::from(control),
            received: Vec::new(),
            signals,
            own_mounts: namespace("mnt")?,
            own_processes: namespace("pid")?,
            share_processes: false,
            children: BTreeMap::new(),
            containers: BTreeMap::new(),
        })
    }

    /// The loop. Ends when the control connection does.
    fn serve(&mut self) -> Result<(), StepError> {
        loop {
            let waiting: Vec<i32> = self
                .children
                .iter()
                .filter(|(_, child)| child.status.is_some())
                .map(|(pid, _)| *pid)
                .collect();
            let mut fds = vec![
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(waiting.iter().filter_map(|pid| {
                let status = self.children.get(pid)?.status.as_ref()?;
                Some(PollFd::new(status.as_fd(), PollFlags::POLLIN))
            }));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(StepError::new("wait", err)),
            }
            let woken: Vec<bool> =
                fds.iter().map(|fd| fd.revents().is_some_and(|found| !found.is_empty())).collect();
            drop(fds);
            for (pid, _) in waiting.iter().zip(&woken[2..]).filter(|(_, woken)| **woken) {
                self.read_status(*pid, false)?;
            }
            if woken[1] {
                self.reap()?;
            }
            if woken[0] && !self.read_commands()? {
                return Ok(());
            }
        }
    }

    /// Reads what has come on the control connection. `false` at its end.
    fn read_commands(&mut self) -> Result<bool, StepError> {
        let mut chunk = [0_u8; 16 * 1024];
        match self.control.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(count) => self.received.extend_from_slice(&chunk[..count]),
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(err) => return Err(StepError::new("read a command", err)),
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let command = serde_json::from_slice(&line).step(|| "understand a command")?;
            self.obey(command)?;
        }
        if self.received.len() > MAX_LINE {
            return Err(StepError::new("read a command", "the line is too long"));
        }
        // Big commands are rare: do not keep their memory for the life of the pod.
        self.received.shrink_to(chunk.len());
        Ok(true)
    }

    fn obey(&mut self, command: Command) -> Result<(), StepError> {
        match command {
            Command::Prepare(setup) => match prepare(&setup) {
                Ok(warnings) => {
                    self.share_processes = setup.share_processes;
                    self.tell(&Event::Ready { warnings })
                }
                Err(err) => self.tell(&Event::Failed(err)),
            },
            Command::Start { id, container } => match self.start(&id, container) {
                Ok(()) => Ok(()),
                Err(error) => self.tell(&Event::StartFailed { id, error }),
            },
            Command::Exec { id, container, process } => match self.exec(&id, &container, process) {
                Ok(()) => Ok(()),
                Err(error) => self.tell(&Event::StartFailed { id, error }),
            },
            Command::Signal { id, signal } => {
                self.signal(&id, signal);
                Ok(())
            }
        }
    }

    /// Starts a container in a mount namespace and (unless shared) a pid namespace of its own.
    fn start(&mut self, id: &str, container: Box<ContainerSpec>) -> Result<(), StepError> {
        let (ours, theirs) = UnixStream::pair().step(|| "connect to the container")?;
        let mut wanted = CloneFlags::CLONE_NEWNS;
        if !self.share_processes {
            wanted |= CloneFlags::CLONE_NEWPID;
        }
        unshare(wanted).step(|| "make the container's namespaces")?;
        let born = spawn(container_init::ROLE, Stdio::from(OwnedFd::from(theirs)), Stdio::null());
        let inside = born.as_ref().ok().map(|_| {
            let processes = (!self.share_processes).then(|| namespace("pid_for_children"));
            Ok::<_, StepError>(Inside {
                mounts: namespace("mnt")?,
                processes: processes.transpose()?,
            })
        });
        self.come_home()?;
        let pid = born?;
        send_job(&ours, &Job::Container(container))?;
        if let Some(inside) = inside.transpose()? {
            self.containers.insert(id.to_owned(), inside);
        }
        self.watch(pid, id, ours, false);
        Ok(())
    }

    /// Starts a command in a running container.
    fn exec(
        &mut self,
        id: &str,
        container: &str,
        process: Box<ProcessSpec>,
    ) -> Result<(), StepError> {
        let inside = self.containers.get(container).ok_or_else(|| {
            StepError::new("exec", format!("container {container} is not running"))
        })?;
        let (ours, theirs) = UnixStream::pair().step(|| "connect to the command")?;
        let mounts = inside.mounts.try_clone().step(|| "share the container's mounts")?;
        if let Some(processes) = &inside.processes {
            setns(processes, CloneFlags::CLONE_NEWPID)
                .step(|| "enter the container's processes")?;
        }
        let born = spawn(exec_init::ROLE, Stdio::from(mounts), Stdio::from(OwnedFd::from(theirs)));
        setns(&self.own_processes, CloneFlags::CLONE_NEWPID).step(|| "come back")?;
        let pid = born?;
        send_job(&ours, &Job::Exec(process))?;
        self.watch(pid, id, ours, true);
        Ok(())
    }

    /// Returns this process, and the children it starts, to the pod's own namespaces.
    fn come_home(&self) -> Result<(), StepError> {
        setns(&self.own_mounts, CloneFlags::CLONE_NEWNS)
            .step(|| "come back to the pod's mounts")?;
        setns(&self.own_processes, CloneFlags::CLONE_NEWPID)
            .step(|| "come back to the pod's processes")
    }

    fn watch(&mut self, pid: i32, id: &str, status: UnixStream, is_command: bool) {
        let child = Child {
            id: id.to_owned(),
            status: Some(status),
            reported: Vec::new(),
            is_command,
            failed: false,
        };
        self.children.insert(pid, child);
    }

    fn signal(&self, id: &str, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else { return };
        let found = self.children.iter().find(|(_, child)| child.id == id);
        if let Some((pid, child)) = found {
            let pid = Pid::from_raw(*pid);
            // It may just have ended, or (a command) not lead its group yet.
            let sent = if child.is_command || signal == Signal::SIGKILL {
                killpg(pid, signal).or_else(|_| kill(pid, signal))
            } else {
                kill(pid, signal)
            };
            let _ = sent;
        }
    }

    /// Reads a child's status connection: all of it when `to_end`, else what is there.
    fn read_status(&mut self, pid: i32, to_end: bool) -> Result<(), StepError> {
        let Some(child) = self.children.get_mut(&pid) else { return Ok(()) };
        let Some(status) = child.status.as_mut() else { return Ok(()) };
        let mut chunk = [0_u8; 4096];
        loop {
            match status.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => child.reported.extend_from_slice(&chunk[..count]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // The child is gone without reading its job.
                Err(_) => break,
            }
            if !to_end {
                return Ok(());
            }
        }
        child.status = None;
        let reported = std::mem::take(&mut child.reported);
        let id = child.id.clone();
        let mut warnings = Vec::new();
        for line in reported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Report::Warning(warning)) => warnings.push(warning),
                Ok(Report::Failed(error)) => {
                    child.failed = true;
                    return self.tell(&Event::StartFailed { id, error });
                }
                Err(_) => warnings.push("an unreadable report of the container's shim".to_owned()),
            }
        }
        self.tell(&Event::Started { id, warnings })
    }

    /// Collects all children that have ended, the server's and orphans alike.
    fn reap(&mut self) -> Result<(), StepError> {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid.as_raw(), Exit::Signal(signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(err) => return Err(StepError::new("collect children", err)),
            };
            // The program may have come and gone before its start was seen.
            self.read_status(pid, true)?;
            if let Some(child) = self.children.remove(&pid) {
                self.containers.remove(&child.id);
                if !child.failed {
                    self.tell(&Event::Exited { id: child.id, exit })?;
                }
            }
        }
    }

    fn tell(&mut self, event: &Event) -> Result<(), StepError> {
        let mut line = serde_json::to_vec(event).step(|| "write an event")?;
        line.push(b'\n');
        self.control.write_all(&line).step(|| "tell the server")
    }
}

/// Sets up what all containers of the pod share. What the machine forbids but a pod can live
/// without is returned.
fn prepare(setup: &PodSetup) -> Result<Vec<String>, StepError> {
    // Unmounts on the host still reach the pod, nothing of the pod reaches the host.
    mounts::propagation(MsFlags::MS_SLAVE)?;
    sethostname(&setup.hostname).step(|| "set the host name")?;
    for dir in &setup.memory_dirs {
        let options = format!("mode=1777,size={}", dir.size_bytes);
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mounts::filesystem("tmpfs", &dir.path, flags, &options)?;
    }
    let mut warnings = Vec::new();
    for (name, value) in &setup.usual_sysctls {
        let _ = set_sysctl(name, value);
    }
    for (name, value) in &setup.sysctls {
        if let Err(err) = set_sysctl(name, value) {
            warnings.push(format!("sysctl {name}={value} is not set: {err}"));
        }
    }
    Ok(warnings)
}

/// Sets a kernel setting of the network namespace. Others belong to the whole machine.
fn set_sysctl(name: &str, value: &str) -> std::io::Result<()> {
    let sound = name.starts_with("net.") && !name.contains('/') && !name.contains("..");
    if !sound {
        return Err(std::io::Error::other("only settings below net. belong to a pod"));
    }
    std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}

/// Starts this executable in another role.
fn spawn(role: &str, stdin: Stdio, stdout: Stdio) -> Result<i32, StepError> {
    // The arguments before the role lead to this code, so the child is led the same way.
    let mut args: Vec<_> = std::env::args_os().collect();
    let name = args.first().cloned().unwrap_or_default();
    args.pop();
    let child = std::process::Command::new("/proc/self/exe")
        .arg0(name)
        .args(args.into_iter().skip(1))
        .arg(role)
        .env_clear()
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .step(|| format!("start {role}"))?;
    i32::try_from(child.id()).step(|| "read the process id")
}

/// Sends the job and ends the sending side. A child that died unread is found by `reap`.
fn send_job(stream: &UnixStream, job: &Job) -> Result<(), StepError> {
    let text = serde_json::to_vec(job).step(|| "write the job")?;
    let mut writer = stream;
    if writer.write_all(&text).is_ok() {
        let _ = stream.shutdown(Shutdown::Write);
    }
    Ok(())
}

/// Opens a namespace of this process.
fn namespace(kind: &str) -> Result<OwnedFd, StepError> {
    let path = format!("/proc/self/ns/{kind}");
    File::open(&path).map(OwnedFd::from).step(|| format!("open {path}"))
}
