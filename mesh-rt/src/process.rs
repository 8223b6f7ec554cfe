//! The frame of a `main`: settings, logs, runtime, admin server, signals, drain, exit code.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info};

use crate::admin::{Admin, AdminState};
use crate::drain::{self, DrainTrigger};
use crate::metrics::Metrics;
use crate::net::{ListenOptions, SocketSource};
use crate::otel::{self, OtelSettings, TraceExport};
use crate::readiness::Readiness;
use crate::runtime::{self, RuntimeSettings};
use crate::settings::{BadSettings, EnvSource, Settings};
use crate::signal::{ProcessSignals, drain_on_signal};
use crate::tasks::Tasks;
use crate::telemetry::{self, LogControl, LogSettings};
use crate::{build_info, crypto};

/// How long the runtime may take to end threads that still block.
const RUNTIME_END: Duration = Duration::from_secs(2);

/// Why a process could not start or failed: any error, printed.
pub type MainError = Box<dyn std::error::Error + Send + Sync>;

/// What differs between binaries before they read their own settings.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// The binary's name, in logs, traces and `/version`.
    pub name: &'static str,
    /// The prefix of its own metrics.
    pub metrics_prefix: &'static str,
    /// Where admin listens unless `ADMIN_ADDR` says so; `None` is off.
    pub admin: Option<SocketAddr>,
}

/// The settings every binary has.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSettings {
    /// `LOG_FORMAT`, `LOG_LEVEL`.
    pub logs: LogSettings,
    /// `OTEL_*`.
    pub otel: OtelSettings,
    /// `WORKER_THREADS`.
    pub runtime: RuntimeSettings,
    /// `ADMIN_ADDR`, or `off`.
    pub admin: Option<SocketAddr>,
    /// `TERMINATION_DRAIN_DURATION`: how long work under way may take at the end. 5 s.
    pub drain_deadline: Duration,
}

impl ProcessSettings {
    /// Reads them.
    #[must_use]
    pub fn read(settings: &Settings<'_>, component: Component) -> Self {
        Self {
            logs: LogSettings::read(settings),
            otel: OtelSettings::read(settings, component.name),
            runtime: RuntimeSettings::read(settings),
            admin: settings.address("ADMIN_ADDR", component.admin),
            drain_deadline: settings.duration("TERMINATION_DRAIN_DURATION", Duration::from_secs(5)),
        }
    }
}

/// What a binary's own code works with.
#[derive(Clone, Debug)]
pub struct Process {
    /// Spawns, and knows the drain.
    pub tasks: Tasks,
    /// What `/ready` waits for.
    pub readiness: Readiness,
    /// The registry behind `/metrics`.
    pub metrics: Metrics,
    /// The log filter.
    pub logging: LogControl,
    /// Inherited or fresh listeners.
    pub sockets: SocketSource,
    /// Trace export, when an endpoint is set.
    pub traces: Option<TraceExport>,
}

impl Process {
    /// Parts for a test or for embedding: nothing global is touched, nothing listens.
    #[must_use]
    pub fn detached(component: Component) -> Self {
        let (trigger, _watcher) = drain::channel();
        Self::new(component, trigger, LogControl::detached("info"))
    }

    /// The standard admin routes over these parts.
    #[must_use]
    pub fn admin(&self, component: Component) -> Admin {
        Admin::new(AdminState {
            component: component.name,
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            logging: self.logging.clone(),
            trigger: self.tasks.trigger().clone(),
        })
    }

    fn new(component: Component, trigger: DrainTrigger, logging: LogControl) -> Self {
        Self {
            tasks: Tasks::new(trigger),
            readiness: Readiness::new(),
            metrics: Metrics::new(component.metrics_prefix, component.name),
            logging,
            sockets: SocketSource::default(),
            traces: None,
        }
    }
}

/// Runs a binary from start to exit code.
///
/// `read` reads the binary's own settings; bad ones are reported together with the standard ones.
/// `start` spawns what the binary does and gives back its admin routes (most start from the
/// [`Admin`] they are given). Then the process waits for a signal, for a critical task to end, or
/// for a drain by admin; drains; and exits with 0, or 1 if a critical task failed.
pub fn run<C, F>(
    component: Component,
    source: &dyn EnvSource,
    read: impl FnOnce(&Settings<'_>) -> C,
    start: impl FnOnce(Process, C, Admin) -> F,
) -> ExitCode
where
    F: Future<Output = Result<Admin, MainError>>,
{
    let settings = Settings::new(source);
    let own = read(&settings);
    let standard = ProcessSettings::read(&settings, component);
    if let Err(bad) = settings.finish() {
        return refuse(component, &bad);
    }
    crypto::install();
    let runtime = match runtime::build(component.name, standard.runtime) {
        Ok(runtime) => runtime,
        Err(error) => return fail(component, &format!("starting threads: {error}")),
    };
    let result = runtime.block_on(async {
        let process = prepare(component, &standard)?;
        let traces = process.traces.clone();
        let result =
            lifetime(component, &standard, process, |process, admin| start(process, own, admin));
        let code = result.await;
        if let Some(traces) = traces
            && let Err(error) = traces.shutdown().await
        {
            error!("the last traces were not sent: {error}");
        }
        code
    });
    runtime.shutdown_timeout(RUNTIME_END);
    match result {
        Ok(code) => code,
        Err(error) => fail(component, &error),
    }
}

fn prepare(component: Component, settings: &ProcessSettings) -> Result<Process, MainError> {
    let logging = telemetry::init(&settings.logs)?;
    let (trigger, _watcher) = drain::channel();
    let sockets = SocketSource::inherit()?;
    let traces = otel::start(&settings.otel)?;
    Ok(Process { sockets, traces, ..Process::new(component, trigger, logging) })
}

async fn lifetime<F>(
    component: Component,
    settings: &ProcessSettings,
    process: Process,
    start: impl FnOnce(Process, Admin) -> F,
) -> Result<ExitCode, MainError>
where
    F: Future<Output = Result<Admin, MainError>>,
{
    let signals = ProcessSignals::install()?;
    info!(component = component.name, version = build_info::VERSION, "starting");
    let tasks = process.tasks.clone();
    // Bound before anything starts: a second copy on this host fails early and clearly.
    let options = ListenOptions::default();
    let listener = settings.admin.map(|address| process.sockets.listen(address, options));
    let listener = listener.transpose()?;
    let admin = start(process.clone(), process.admin(component)).await?;
    if let Some(listener) = listener {
        info!(address = %listener.local_addr()?, "admin");
        admin.serve(&tasks, listener);
    }
    drain_on_signal(signals, tasks.trigger(), settings.drain_deadline).await;
    let failures = tasks.failures();
    for failure in &failures {
        error!("{failure}");
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(component: Component, bad: &BadSettings) -> ExitCode {
    fail(component, bad)
}

/// Logging may not have started, so this goes to standard error directly.
fn fail(component: Component, reason: &dyn Display) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _written = writeln!(std::io::stderr(), "{}: {reason}", component.name);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: Component = Component { name: "test", metrics_prefix: "test", admin: None };

    #[test]
    fn bad_settings_do_not_start() {
        let source = [("LOG_FORMAT", "xml"), ("ADMIN_ADDR", "here")];
        let started = std::cell::Cell::new(false);
        let read = |settings: &Settings<'_>| settings.bool("FLAG", false);
        let code = run(COMPONENT, &source, read, |_, _, admin| {
            started.set(true);
            std::future::ready(Ok(admin))
        });
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(!started.get());
    }

    #[test]
    fn a_whole_life() {
        let _alone = crate::signal::ONE_AT_A_TIME.lock();
        let source = [("ADMIN_ADDR", "127.0.0.1:0"), ("WORKER_THREADS", "1")];
        let run_with = |work: Result<(), &'static str>| {
            run(
                COMPONENT,
                &source,
                |_| (),
                move |process, (), admin| async move {
                    let tasks = process.tasks.clone();
                    let _detached = process.tasks.spawn_critical("work", async move {
                        tasks.trigger().start();
                        work
                    });
                    Ok(admin)
                },
            )
        };
        assert_eq!(format!("{:?}", run_with(Ok(()))), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(format!("{:?}", run_with(Err("x"))), format!("{:?}", ExitCode::FAILURE));
    }
}
