//! From shim to program: user, limits, descriptors, working directory, and exec.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{
    AccessFlags, Gid, Uid, access, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setgroups,
    setresgid, setresuid, setsid,
};

use crate::sandbox::capabilities;
use crate::sandbox::spec::{ProcessSpec, Step, StepError};
use crate::sandbox::wire::{Job, MAX_LINE, Report};

/// Where programs are looked for when the environment says nothing.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Most open files of a container's process, where the host allows as many.
const OPEN_FILES: u64 = 1_048_576;

/// The status connection to PID 1, held by `container-init` and `exec-init` until they become the
/// program.
#[derive(Debug)]
pub(crate) struct Status {
    stream: UnixStream,
}

impl Status {
    /// Takes over a descriptor and reads the job from it.
    pub(crate) fn receive(descriptor: OwnedFd) -> Result<(Self, Job), StepError> {
        let mut stream = UnixStream::from(descriptor);
        let mut text = Vec::new();
        let limit = MAX_LINE as u64;
        (&mut stream).take(limit).read_to_end(&mut text).step(|| "read the job")?;
        let job = serde_json::from_slice(&text).step(|| "understand the job")?;
        Ok((Self { stream }, job))
    }

    /// Tells PID 1. A PID 1 that is gone cannot be told, and ends this process anyway.
    pub(crate) fn report(&mut self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            let _ = self.stream.write_all(&line);
        }
    }
}

/// The three standard descriptors of a program, opened while the host's paths can be seen.
#[derive(Debug)]
pub(crate) struct Stdio {
    stdin: File,
    stdout: File,
    stderr: File,
    /// All three are one terminal.
    is_terminal: bool,
}

impl Stdio {
    /// Opens what `process` names, `/dev/null` for the rest.
    pub(crate) fn open(process: &ProcessSpec) -> Result<Self, StepError> {
        if let Some(path) = &process.terminal {
            return Self::terminal(path).step(|| format!("open {}", path.display()));
        }
        let null = PathBuf::from("/dev/null");
        let open = |path: &Option<PathBuf>, write: bool| {
            let path = path.as_ref().unwrap_or(&null);
            OpenOptions::new()
                .read(!write)
                // Output and errors may share one file.
                .append(write)
                // A FIFO whose reader is gone must fail, not hang; blocking is restored below.
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(path)
                .step(|| format!("open {}", path.display()))
        };
        Ok(Self {
            stdin: open(&process.stdin, false)?,
            stdout: open(&process.stdout, true)?,
            stderr: open(&process.stderr, true)?,
            is_terminal: false,
        })
    }

    fn terminal(path: &Path) -> std::io::Result<Self> {
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let stdin =
            OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
        let (stdout, stderr) = (stdin.try_clone()?, stdin.try_clone()?);
        Ok(Self { stdin, stdout, stderr, is_terminal: true })
    }

    /// Puts them in place.
    fn install(self) -> Result<(), StepError> {
        let what = || "connect the standard descriptors";
        for file in [&self.stdin, &self.stdout, &self.stderr] {
            let flags = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFL).step(what)?;
            let blocking = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFL(blocking)).step(what)?;
        }
        if self.is_terminal {
            rustix::process::ioctl_tiocsctty(&self.stdin).step(|| "take the terminal")?;
        }
        dup2_stdin(&self.stdin).step(what)?;
        dup2_stdout(&self.stdout).step(what)?;
        dup2_stderr(&self.stderr).step(what)
    }
}

/// Becomes the program. Returns only a failure. The process is in the container's root already.
pub(crate) fn become_program(
    process: &ProcessSpec,
    stdio: Stdio,
    status: &mut Status,
) -> StepError {
    match prepare(process, stdio, status) {
        Ok(program) => {
            let mut command = Command::new(&program);
            command.env_clear().envs(process.env.iter().map(|(name, value)| (name, value)));
            if let Some((name, args)) = process.argv.split_first() {
                command.arg0(name).args(args);
            }
            StepError::new(format!("exec {:?}", program.display()), plain(&command.exec()))
        }
        Err(err) => err,
    }
}

/// All that happens between the root and the exec.
fn prepare(process: &ProcessSpec, stdio: Stdio, status: &mut Status) -> Result<PathBuf, StepError> {
    // A session of its own: no terminal of the server, and one group to signal.
    setsid().step(|| "start a session")?;
    SigSet::all().thread_unblock().step(|| "unblock signals")?;
    limits();
    enter_directory(&process.cwd)?;
    stdio.install()?;
    if let Some(kept) = &process.capabilities {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        capabilities::limit(&capabilities::for_user(kept, process.uid, &map))?;
    }
    for warning in become_user(process)? {
        status.report(&Report::Warning(warning));
    }
    if process.no_new_privileges {
        set_no_new_privs().step(|| "set no_new_privs")?;
    }
    find_program(process)
}

/// Raises the number of open files as far as allowed, and turns core dumps off. A refusal by the
/// kernel leaves what the server had.
fn limits() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(OPEN_FILES);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted);
    }
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// Enters the working directory; makes it when it is missing, as container runtimes do.
fn enter_directory(cwd: &Path) -> Result<(), StepError> {
    let cwd = if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd };
    let what = || format!("enter the working directory {}", cwd.display());
    match chdir(cwd) {
        Err(Errno::ENOENT) => {
            std::fs::create_dir_all(cwd).step(what)?;
            chdir(cwd).step(what)
        }
        outcome => outcome.step(what),
    }
}

/// Takes the user and groups of `process`. Where only some ids are mapped (a user namespace
/// without ranges) the process keeps the namespace's own user, which is warned of.
fn become_user(process: &ProcessSpec) -> Result<Vec<String>, StepError> {
    let mut warnings = Vec::new();
    let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
    if let Err(err) = setgroups(&groups)
        && !groups.is_empty()
    {
        warnings.push(format!("supplementary groups {:?} are not given: {err}", process.groups));
    }
    let gid = Gid::from_raw(process.gid);
    match setresgid(gid, gid, gid) {
        Err(Errno::EINVAL) => warnings.push(format!(
            "group {gid} is not mapped in this user namespace: the container keeps group 0"
        )),
        outcome => outcome.step(|| format!("become group {gid}"))?,
    }
    let uid = Uid::from_raw(process.uid);
    match setresuid(uid, uid, uid) {
        Err(Errno::EINVAL) => warnings.push(format!(
            "user {uid} is not mapped in this user namespace: the container runs as user 0, \
             which is the user that started the cluster; install newuidmap (package uidmap) and \
             an /etc/subuid range for real user ids"
        )),
        outcome => outcome.step(|| format!("become user {uid}"))?,
    }
    Ok(warnings)
}

/// Finds the program as a shell would, and says why it cannot be run in the words users of other
/// runtimes know.
fn find_program(process: &ProcessSpec) -> Result<PathBuf, StepError> {
    let Some(name) = process.argv.first().filter(|name| !name.is_empty()) else {
        return Err(StepError::new("exec", "no command: neither the image nor the pod names one"));
    };
    let step = format!("exec: {name:?}");
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match access(&path, AccessFlags::X_OK) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => {
                Err(StepError::new(step, format!("stat {name}: no such file or directory")))
            }
            Err(_) => Err(StepError::new(step, "permission denied")),
        };
    }
    let path = process
        .env
        .iter()
        .rev()
        .find(|(key, _)| key == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|candidate| candidate.is_file() && access(candidate, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| StepError::new(step, "executable file not found in $PATH"))
}

/// The kernel's words alone.
fn plain(err: &std::io::Error) -> String {
    err.raw_os_error()
        .map_or_else(|| err.to_string(), |code| Errno::from_raw(code).desc().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(argv: &[&str], path: Option<&str>) -> ProcessSpec {
        ProcessSpec {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect(),
            ..ProcessSpec::default()
        }
    }

    #[test]
    fn programs_are_found_or_refused_in_known_words() {
        let found = find_program(&process(&["sh", "-c"], None)).expect("a shell");
        assert!(found.ends_with("sh"));
        for (argv, path, message) in [
            (&["sh"][..], Some("/nowhere"), "exec: \"sh\": executable file not found in $PATH"),
            (
                &["/no/such"][..],
                None,
                "exec: \"/no/such\": stat /no/such: no such file or directory",
            ),
            (&["/etc/passwd"][..], None, "exec: \"/etc/passwd\": permission denied"),
            (&[][..], None, "exec: no command: neither the image nor the pod names one"),
        ] {
            let err = find_program(&process(argv, path)).expect_err("refused");
            assert_eq!(err.to_string(), message);
        }
    }
}
