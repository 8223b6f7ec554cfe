//! A local cluster for one test: started by `meshctl local up`, gone when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::kubectl::{Kubectl, Output, finish};
use crate::outside::Outside;
use crate::{settings, user};

/// How to start a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterOptions {
    /// As an ordinary user, even if the tests run as root.
    pub ordinary_user: bool,
}

/// A running cluster with data of its own.
#[derive(Debug)]
pub struct Cluster {
    home: tempfile::TempDir,
    bin_dir: PathBuf,
    options: ClusterOptions,
    outside: Option<Arc<Outside>>,
}

impl Cluster {
    /// Starts a cluster as whoever runs the tests.
    pub fn start() -> Self {
        Self::start_with(ClusterOptions::default())
    }

    /// Starts a cluster.
    ///
    /// # Panics
    /// If it does not start, with all that `meshctl` printed.
    pub fn start_with(options: ClusterOptions) -> Self {
        Self::start_at(options, None)
    }

    /// Starts a cluster in the network of `outside`, whose hosts its pods reach.
    ///
    /// # Panics
    /// If it does not start, with all that `meshctl` printed.
    pub fn start_within(outside: &Arc<Outside>) -> Self {
        Self::start_at(ClusterOptions::default(), Some(Arc::clone(outside)))
    }

    fn start_at(options: ClusterOptions, outside: Option<Arc<Outside>>) -> Self {
        let home = tempfile::Builder::new().prefix("lateen-e2e-").tempdir().expect("a directory");
        let mut bin_dir = settings::bin_dir();
        if options.ordinary_user {
            let copies = home.path().join("bin");
            user::copy_programs(&bin_dir, &copies);
            user::give(home.path());
            bin_dir = copies;
        }
        let cluster = Self { home, bin_dir, options, outside };
        cluster.up();
        cluster
    }

    /// Runs `meshctl local up` again, after a crash.
    ///
    /// # Panics
    /// If it fails.
    pub fn up(&self) {
        let output = self.meshctl(&["local", "up", "--data-dir", &self.data()]);
        assert!(output.code == 0, "meshctl local up: {output:#?}\n{}", self.server_log());
    }

    /// Runs `meshctl` as this cluster's user and administrator.
    pub fn meshctl(&self, args: &[&str]) -> Output {
        finish(&mut self.meshctl_command(args))
    }

    /// The command that [`Self::meshctl`] runs.
    pub fn meshctl_command(&self, args: &[&str]) -> Command {
        let program = self.bin_dir.join("meshctl");
        let mut command = if self.options.ordinary_user {
            user::ordinary(&program)
        } else {
            self.command(&program)
        };
        command.args(args).env("HOME", self.home.path()).env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// A kubectl for this cluster.
    pub fn kubectl(&self, program: PathBuf) -> Kubectl {
        let kubectl = Kubectl::new(program, &self.kubeconfig(), self.home.path());
        kubectl.within(self.outside.clone())
    }

    /// A command that runs `program` where the cluster's loopback ports are.
    pub fn command(&self, program: &Path) -> Command {
        match &self.outside {
            Some(outside) => outside.command(program),
            None => Command::new(program),
        }
    }

    /// Does `work` where the cluster's loopback ports are.
    pub fn beside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.outside {
            Some(outside) => outside.run(work),
            None => work(),
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// The cluster's files.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A directory of this test's own.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Process id of the server.
    ///
    /// # Panics
    /// If the cluster does not run.
    pub fn server_pid(&self) -> i32 {
        let status =
            self.meshctl(&["local", "status", "-o", "json", "--data-dir", &self.data()]).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).expect("status is JSON");
        let pid = status["pid"].as_i64().unwrap_or_else(|| panic!("no pid in {status}"));
        i32::try_from(pid).expect("a process id")
    }

    /// The server's log, for a failing test's message.
    pub fn server_log(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("server.log")).unwrap_or_default()
    }

    fn data(&self) -> String {
        self.data_dir().display().to_string()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.meshctl(&["local", "down", "--timeout", "5", "--data-dir", &self.data()]);
        if !std::thread::panicking() {
            assert!(output.code == 0, "meshctl local down: {output:#?}");
        }
    }
}
