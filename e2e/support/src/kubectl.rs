//! kubectl as a user types it, against one cluster, with a cache of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::outside::Outside;

/// A kubectl that talks to one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    outside: Option<Arc<Outside>>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 if it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    /// kubectl at `program`, with the cluster of `kubeconfig`; `home` holds its cache.
    pub fn new(program: PathBuf, kubeconfig: &Path, home: &Path) -> Self {
        let (kubeconfig, home) = (kubeconfig.to_path_buf(), home.to_path_buf());
        Self { program, kubeconfig, home, outside: None }
    }

    /// The same, run in the network of `outside`.
    #[must_use]
    pub fn within(mut self, outside: Option<Arc<Outside>>) -> Self {
        self.outside = outside;
        self
    }

    /// The command line, for tests that need the process itself.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.outside {
            Some(outside) => outside.command(&self.program),
            None => Command::new(&self.program),
        };
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env("KUBECACHEDIR", self.home.join("cache"));
        command
    }

    /// Runs a command to its end, whatever it is.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args).stdin(Stdio::null()))
    }

    /// Runs a command that must succeed, and returns its standard output.
    ///
    /// # Panics
    /// If it fails, with all that it printed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.code == 0, "kubectl {}: {output:#?}", args.join(" "));
        output.stdout
    }

    /// Runs a command that must fail, and returns its standard error.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.code != 0, "kubectl {} succeeded: {output:#?}", args.join(" "));
        output.stderr
    }

    /// Runs a command with `input` on its standard input.
    ///
    /// # Panics
    /// If the program cannot be run.
    pub fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A command that ends without reading its input says why on standard error.
        let _unread = stdin.write_all(input.as_bytes());
        drop(stdin);
        collect(child.wait_with_output())
    }

    /// Applies a manifest that must be accepted.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let output = self.with_input(&["apply", "-f", "-"], manifest);
        assert!(output.code == 0, "kubectl apply: {output:#?}\n{manifest}");
        output.stdout
    }

    /// Applies a manifest that must be refused, and returns the refusal.
    ///
    /// # Panics
    /// If it is accepted.
    #[track_caller]
    pub fn apply_refused(&self, manifest: &str) -> String {
        let output = self.with_input(&["apply", "-f", "-"], manifest);
        assert!(output.code != 0, "kubectl apply succeeded: {output:#?}\n{manifest}");
        output.stderr
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If the program cannot be run.
pub fn finish(command: &mut Command) -> Output {
    collect(command.output())
}

fn collect(output: std::io::Result<std::process::Output>) -> Output {
    let output = output.expect("the program runs");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
