//! One shell for all commands of a page, so that variables live on.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long one command may take.
const LONGEST: Duration = Duration::from_secs(180);

/// Printed after a command, with its exit code.
const END: &str = "--the-command-has-ended--";

/// A running shell.
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    scripts: tempfile::TempDir,
    count: usize,
}

/// What a command printed on both streams, and how it ended.
#[derive(Debug)]
pub(crate) struct Printed {
    /// The exit code.
    pub(crate) code: i32,
    /// What was printed.
    pub(crate) text: String,
}

impl Shell {
    /// Starts a shell; `command` says where and with which environment.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // A group of its own: what the page left in the background ends with the shell.
        command.process_group(0);
        let mut child = command.spawn().expect("bash runs");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = sync_channel(100_000);
        std::thread::spawn(move || {
            let mut stdout = stdout;
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let scripts = tempfile::tempdir().expect("a directory");
        Self { child, stdin, lines, scripts, count: 0 }
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it takes too long, with what it printed until then.
    pub(crate) fn run(&mut self, command: &str) -> Printed {
        let script = self.script(command);
        // Read from a file, so that no command takes the following ones as its input.
        let line =
            format!("source {} </dev/null 2>&1; printf '\\n{END} %d\\n' $?\n", script.display());
        self.stdin.write_all(line.as_bytes()).expect("the shell runs");
        let deadline = Instant::now() + LONGEST;
        let mut printed = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix(END) {
                    Some(code) => {
                        let code = code.trim().parse().expect("an exit code");
                        return Printed { code, text: printed.join("\n") };
                    }
                    None => printed.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no end after {LONGEST:?}: {command}\n{}", printed.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the shell ended in: {command}\n{}", printed.join("\n"))
                }
            }
        }
    }

    fn script(&mut self, command: &str) -> PathBuf {
        self.count += 1;
        let path = self.scripts.path().join(format!("{}.sh", self.count));
        std::fs::write(&path, format!("{command}\n")).expect("a script is written");
        path
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().map(nix::unistd::Pid::from_raw);
        let killed = group.map(|group| nix::sys::signal::killpg(group, nix::sys::signal::SIGKILL));
        let _status = self.child.wait();
        if !std::thread::panicking() {
            assert_eq!(killed, Some(Ok(())), "the shell's processes could be ended");
        }
    }
}

#[test]
fn variables_live_on_and_codes_are_told() {
    let mut shell = Shell::start(Command::new("bash"));
    let set = shell.run("x=1; cat <<EOF\ntwo\nEOF");
    assert_eq!((set.code, set.text.trim()), (0, "two"));
    let failed = shell.run("echo $x; echo err >&2; false");
    assert_eq!((failed.code, failed.text.trim()), (1, "1\nerr"));
    // Would wait for input, or take the next command for it.
    assert_eq!(shell.run("cat").code, 0);
}
