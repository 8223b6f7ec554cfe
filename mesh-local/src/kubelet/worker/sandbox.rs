//! A pod's volumes, namespaces and network: made before its containers, ended after them.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::command::Commands;
use crate::kubelet::config::Context;
use crate::kubelet::event::Severity;
use crate::kubelet::hosts;
use crate::kubelet::launch::PodDirs;
use crate::kubelet::pod as pods;
use crate::kubelet::state::{ContainerState, Phase, Sandbox, Termination, later};
use crate::kubelet::volume::mount::{PodVolumes, Surroundings};
use crate::kubelet::worker::{Done, Live, Worker};
use crate::sandbox::network::PodLink;
use crate::sandbox::pod::{PodEvents, PodSandbox};
use crate::sandbox::spec::{MemoryDir, PodSetup};

/// A sandbox that is ready for containers.
pub(super) struct Made {
    sandbox: PodSandbox,
    events: PodEvents,
    ips: Vec<IpAddr>,
    refresh_at: Option<Timestamp>,
}

/// Why there is none: the reason and message of an event.
pub(super) struct Unmade {
    reason: &'static str,
    message: String,
}

impl Worker {
    pub(super) fn start_sandbox(&mut self, now: Timestamp) {
        let Some(volumes) = self.volumes.take() else { return };
        self.state.sandbox = Sandbox::Starting;
        let (ctx, pod, dirs) = (Arc::clone(&self.ctx), Arc::clone(&self.pod), self.dirs.clone());
        self.jobs.spawn(async move {
            let mut volumes = volumes;
            let made = make(&ctx, &pod, &dirs, &mut volumes, now).await;
            Done::Sandbox(volumes, made.map(Box::new))
        });
    }

    pub(super) fn sandbox_made(&mut self, volumes: PodVolumes, made: Result<Box<Made>, Unmade>) {
        self.volumes = Some(volumes);
        match made {
            Ok(made) => {
                let Made { sandbox, events, ips, refresh_at } = *made;
                for warning in sandbox.warnings() {
                    self.event(None, Severity::Warning, "Limited", warning.clone());
                }
                let sandbox = Arc::new(sandbox);
                let commands = Commands::new(Arc::clone(&sandbox), self.dirs.io());
                let uid = pods::uid(&self.pod).to_owned();
                self.ctx.commands.lock().insert(uid, commands.clone());
                self.live = Some(Live { sandbox, commands });
                self.events = Some(events);
                self.state.ips = ips;
                self.volumes_at = refresh_at;
                self.state.sandbox = Sandbox::Ready;
            }
            Err(Unmade { reason, message }) => {
                self.event(None, Severity::Warning, reason, message);
                let retry_at = later(Timestamp::now(), self.ctx.config.retry);
                self.state.sandbox = Sandbox::Failed { retry_at };
            }
        }
    }

    /// The pod's PID 1 has ended without being asked: everything begins anew.
    pub(super) fn sandbox_lost(&mut self) {
        self.events = None;
        self.live = None;
        self.ctx.commands.lock().remove(pods::uid(&self.pod));
        if self.state.sandbox != Sandbox::Ready {
            return;
        }
        let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
        self.event(None, Severity::Normal, "SandboxChanged", message);
        let now = Timestamp::now();
        for (name, run) in &mut self.runs {
            run.end_helpers();
            if let Some(container) = self.state.containers.get_mut(name) {
                lose(container, now);
            }
        }
        for member in pods::init_members(pods::spec(&self.pod)) {
            // New namespaces want their init containers again.
            if let Some(container) = self.state.containers.get_mut(&member.container.name)
                && let Phase::Exited(end) = &container.phase
            {
                container.last = Some(end.clone());
                container.phase = Phase::Idle;
            }
        }
        self.runs.clear();
        self.pending.clear();
        self.state.sandbox = Sandbox::Absent;
        self.state.ips.clear();
        self.state.initialized = false;
    }

    pub(super) fn end_sandbox(&mut self) {
        self.state.sandbox = Sandbox::Ending;
        self.events = None;
        self.ctx.commands.lock().remove(pods::uid(&self.pod));
        for run in self.runs.values_mut() {
            run.end_helpers();
        }
        let now = Timestamp::now();
        for container in self.state.containers.values_mut() {
            if !container.is_at_rest() {
                lose(container, now);
            }
        }
        let (live, ctx, uid) =
            (self.live.take(), Arc::clone(&self.ctx), pods::uid(&self.pod).to_owned());
        self.jobs.spawn(async move {
            if let Some(live) = live {
                live.sandbox.kill().await;
            }
            ctx.network.detach(&uid).await;
            Done::SandboxEnded
        });
    }

    /// Looks at the volumes again when something they show has changed.
    pub(super) fn refresh_volumes(&mut self, now: Timestamp) {
        let due = self.volumes_stale || self.volumes_at.is_some_and(|at| at <= now);
        if !due || self.state.sandbox != Sandbox::Ready {
            return;
        }
        let Some(volumes) = self.volumes.take() else { return };
        self.volumes_stale = false;
        self.volumes_at = None;
        let (ctx, pod) = (Arc::clone(&self.ctx), Arc::clone(&self.pod));
        let facts = self.ctx.facts(&self.state.ips);
        self.jobs.spawn(async move {
            let mut volumes = volumes;
            let around = Surroundings {
                client: &ctx.client,
                sources: &ctx.sources,
                facts: &facts,
                allow_host_path: ctx.config.allow_host_path,
            };
            let outcome = volumes.sync(&pod, around, now).await;
            Done::Volumes(volumes, outcome)
        });
    }

    pub(super) fn volumes_refreshed(&mut self, volumes: PodVolumes, outcome: Result<(), String>) {
        self.volumes_at = volumes.refresh_at();
        self.volumes = Some(volumes);
        if let Err(message) = outcome {
            // The containers keep what they have; tried again soon.
            self.event(None, Severity::Warning, "FailedMount", message);
            self.volumes_at = Some(later(Timestamp::now(), self.ctx.config.retry));
        }
    }
}

/// A container whose end nobody has seen.
fn lose(container: &mut ContainerState, now: Timestamp) {
    let started_at = match container.phase {
        Phase::Running { since, .. } => Some(since),
        _ => None,
    };
    container.phase = if started_at.is_some() {
        Phase::Exited(Termination {
            exit_code: 137,
            signal: Some(9),
            reason: "Error".to_owned(),
            message: None,
            started_at,
            finished_at: now,
        })
    } else {
        Phase::Idle
    };
    container.ready = false;
    container.started = false;
    container.doomed = None;
}

/// What this cluster cannot do for a pod at all: `status.reason` and `.message`.
pub(super) fn rejection(pod: &Pod) -> Option<(String, String)> {
    let spec = pods::spec(pod);
    let field = [
        ("hostNetwork", spec.host_network),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
    ]
    .into_iter()
    .find(|(_, wanted)| *wanted == Some(true))?
    .0;
    let message = format!(
        "spec.{field} is not offered by this cluster: pods are processes of this machine and stay \
         in their own namespaces. Remove the field"
    );
    Some(("UnsupportedPod".to_owned(), message))
}

async fn make(
    ctx: &Arc<Context>,
    pod: &Pod,
    dirs: &PodDirs,
    volumes: &mut PodVolumes,
    now: Timestamp,
) -> Result<Made, Unmade> {
    let mount = |message: String| Unmade { reason: "FailedMount", message };
    let sandbox = |message: String| Unmade {
        reason: "FailedCreatePodSandBox",
        message: format!("Failed to create pod sandbox: {message}"),
    };
    make_dirs(dirs).map_err(|err| mount(format!("{}: {err}", dirs.base().display())))?;
    let facts = ctx.facts(&[]);
    let around = Surroundings {
        client: &ctx.client,
        sources: &ctx.sources,
        facts: &facts,
        allow_host_path: ctx.config.allow_host_path,
    };
    volumes.sync(pod, around, now).await.map_err(mount)?;
    let (made, events) =
        PodSandbox::start(&ctx.config.shim, pods::name(pod), setup(pod, dirs, volumes))
            .await
            .map_err(|err| sandbox(err.to_string()))?;
    let netns = made.netns().map_err(|err| sandbox(err.to_string()))?;
    let stored = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let link = PodLink {
        pod_uid: pods::uid(pod).to_owned(),
        netns,
        preferred: stored.and_then(|ip| ip.parse().ok()),
    };
    let addresses = ctx.network.attach(link).await.map_err(|err| sandbox(err.to_string()))?;
    let ips = addresses.all();
    let etc = dirs.etc();
    let dns = &ctx.config.dns;
    for (name, text) in [
        ("hosts", hosts::etc_hosts(pod, &ips, dns)),
        ("hostname", format!("{}\n", pods::hostname(pod))),
        ("resolv.conf", hosts::resolv_conf(pod, dns)),
    ] {
        std::fs::write(etc.join(name), text)
            .map_err(|err| sandbox(format!("write /etc/{name}: {err}")))?;
    }
    Ok(Made { sandbox: made, events, ips, refresh_at: volumes.refresh_at() })
}

/// `/dev/shm` of a pod, in bytes.
const SHM_BYTES: u64 = 64 << 20;

fn setup(pod: &Pod, dirs: &PodDirs, volumes: &PodVolumes) -> PodSetup {
    let spec = pods::spec(pod);
    let mut memory_dirs = volumes.memory_dirs(pod);
    memory_dirs.push(MemoryDir { path: dirs.shm(), size_bytes: SHM_BYTES });
    let asked = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    let asked = asked.into_iter().flatten().map(|s| (s.name.clone(), s.value.clone()));
    // As other runtimes: any user may listen on any port of its own pod.
    let usual = [
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
        ("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned()),
    ];
    PodSetup {
        hostname: pods::hostname(pod),
        memory_dirs,
        sysctls: asked.collect(),
        usual_sysctls: usual.into_iter().collect(),
        share_processes: spec.share_process_namespace == Some(true),
    }
}

fn make_dirs(dirs: &PodDirs) -> std::io::Result<()> {
    for dir in [
        dirs.base().to_path_buf(),
        dirs.volumes(),
        dirs.etc(),
        dirs.shm(),
        dirs.io(),
        dirs.roots(),
        dirs.termination(),
    ] {
        std::fs::create_dir_all(&dir)?;
    }
    // Volumes hold secrets: nobody else of this machine may enter.
    private(dirs.base())
}

fn private(dir: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}
