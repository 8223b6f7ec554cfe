//! The node agent: an ordinary client of the API server that registers the node, runs the pods
//! bound to it as processes ([`crate::sandbox`]), and reports what becomes of them.
//!
//! Decisions are pure ([`decide`], [`status`], [`mod@env`], [`launch`], [`volume`]); one task per
//! pod ([`worker`]) carries them out.
//!
//! Limits, by design: no cgroups, so resource limits shape only the QoS class, the downward API
//! and the out-of-memory score; no `hostNetwork`, `hostPID`, `hostIPC` (refused); seccomp,
//! AppArmor and SELinux profiles are not applied; ephemeral containers are not run.

pub mod check;
pub mod command;
pub mod config;
pub mod decide;
pub mod env;
pub mod event;
pub mod field;
pub mod hosts;
pub mod image;
pub mod launch;
pub mod log;
pub mod node;
pub mod pod;
pub mod probe;
pub mod probe_count;
pub mod qos;
pub mod sources;
pub mod state;
pub mod status;
pub mod volume;
pub mod worker;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use local_model::refusal::Refusal;
use mesh_rt::backoff::Backoff;
use mesh_rt::tasks::Tasks;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;

use self::command::Commands;
use self::config::{Context, KubeletConfig};
use self::event::Recorder;
use self::log::reader::{self, Options};
use self::log::{LogKey, LogStore};
use self::node::Machine;
use self::sources::Sources;
use self::worker::{Update, Worker};
use crate::node_api::{Command, CommandRequest, LogRequest, LogStream, NodeApi, PodRef};
use crate::sandbox::network::PodNetwork;

/// Why a kubelet could not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The node's directory cannot be used.
    #[error("kubelet directory {path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The API server refused the node.
    #[error("registering node {node}: {source}")]
    Register {
        /// The node's name.
        node: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
}

/// A running kubelet.
#[derive(Clone)]
pub struct Kubelet {
    ctx: Arc<Context>,
    pods: Arc<Mutex<Pods>>,
}

/// The pods of the node.
#[derive(Default)]
struct Pods {
    by_uid: HashMap<String, watch::Sender<Update>>,
    /// No pod is run any more.
    stopped: bool,
}

impl Kubelet {
    /// Registers the node and starts running its pods. Everything runs as tasks of `tasks`; when
    /// the process ends, so do all pods.
    pub async fn start(
        config: KubeletConfig,
        client: Client,
        network: Arc<dyn PodNetwork>,
        tasks: Tasks,
    ) -> Result<Self, KubeletError> {
        let pods_dir = config.data_dir.join("pods");
        let directory =
            |source| KubeletError::Directory { path: pods_dir.display().to_string(), source };
        // What an earlier server left is of no use: its processes are gone.
        match std::fs::remove_dir_all(&pods_dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(directory(err)),
            _ => {}
        }
        std::fs::create_dir_all(&pods_dir).map_err(directory)?;
        let machine = Machine::here();
        let register = node::register(&client, &config, &machine);
        register.await.map_err(|source| KubeletError::Register {
            node: config.node_name.clone(),
            source: Box::new(source),
        })?;
        let ctx = Arc::new(Context {
            network,
            sources: Sources::start(client.clone(), &tasks),
            recorder: Recorder::start(client.clone(), &config.node_name, &tasks),
            logs: LogStore::new(config.data_dir.join("logs")),
            commands: Mutex::default(),
            tasks: tasks.clone(),
            node_cpus: machine.cpus,
            node_memory_bytes: machine.memory_bytes,
            client: client.clone(),
            config: config.clone(),
        });
        let kubelet = Self { ctx, pods: Arc::default() };
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        tasks.spawn_supervised("kubelet node lease", backoff, move || {
            node::keep_alive(client.clone(), config.clone(), machine.clone())
        });
        tasks.spawn_background("kubelet pods", kubelet.clone().watch());
        Ok(kubelet)
    }

    /// Ends every pod of the node at once, for good; their objects stay, and run again under the
    /// next kubelet. Returns when nothing of them is left.
    pub async fn stop_pods(&self) {
        let senders: Vec<_> = {
            let mut pods = self.pods.lock();
            pods.stopped = true;
            pods.by_uid.drain().map(|(_, sender)| sender).collect()
        };
        for sender in &senders {
            sender.send_replace(Update::Stopped);
        }
        for sender in senders {
            sender.closed().await;
        }
    }

    /// Follows the pods bound to this node.
    async fn watch(self) {
        let api: Api<Pod> = Api::all(self.ctx.client.clone());
        let selector = format!("spec.nodeName={}", self.ctx.config.node_name);
        let config = watcher::Config::default().fields(&selector);
        let mut stream = pin!(watcher(api, config).default_backoff());
        let mut listed: Vec<String> = Vec::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.push(pod::uid(&pod).to_owned());
                    self.apply(pod);
                }
                Ok(Event::InitDone) => self.keep_only(&listed),
                Ok(Event::Apply(pod)) => self.apply(pod),
                Ok(Event::Delete(pod)) => self.forget(pod::uid(&pod)),
                Err(err) => tracing::warn!(%err, "kubelet watch of pods failed"),
            }
        }
    }

    fn apply(&self, pod: Pod) {
        let uid = pod::uid(&pod).to_owned();
        let title = format!("pod {}/{}", pod::namespace(&pod), pod::name(&pod));
        let mut pods = self.pods.lock();
        if pods.stopped {
            return;
        }
        match pods.by_uid.get(&uid) {
            Some(sender) if !sender.is_closed() => {
                sender.send_replace(Update::Pod(Arc::new(pod)));
            }
            _ => {
                let (sender, updates) = watch::channel(Update::Pod(Arc::new(pod)));
                if let Some(worker) = Worker::new(Arc::clone(&self.ctx), updates) {
                    pods.by_uid.insert(uid, sender);
                    self.ctx.tasks.spawn_background(title, worker.run());
                }
            }
        }
    }

    fn forget(&self, uid: &str) {
        if let Some(sender) = self.pods.lock().by_uid.remove(uid) {
            sender.send_replace(Update::Gone);
        }
    }

    fn keep_only(&self, uids: &[String]) {
        let gone: Vec<String> =
            self.pods.lock().by_uid.keys().filter(|uid| !uids.contains(uid)).cloned().collect();
        for uid in gone {
            self.forget(&uid);
        }
        // Pods that went while no kubelet ran.
        self.ctx.logs.keep_pods(uids);
    }

    /// The latest version of a pod by name.
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.lock();
        let found = pods.by_uid.values().filter_map(|sender| sender.borrow().pod());
        // A pod that is going may have a successor of the same name.
        found
            .filter(|pod| pod::namespace(pod) == namespace && pod::name(pod) == name)
            .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// Which log a request means.
    fn log_key(&self, request: &LogRequest) -> Result<LogKey, Box<Refusal>> {
        let LogRequest { namespace, pod: name, container, .. } = request;
        let refuse = |message: String| Box::new(Refusal::bad_request(message));
        let pod = self
            .find(namespace, name)
            .ok_or_else(|| refuse(format!("pod {name} does not have a host assigned")))?;
        if pod::member(pod::spec(&pod), container).is_none() {
            return Err(refuse(format!("container {container} is not valid for pod {name}")));
        }
        let uid = pod::uid(&pod);
        let run = if request.previous {
            self.ctx.logs.previous_run(uid, container).ok_or_else(|| {
                refuse(format!(
                    "previous terminated container \"{container}\" in pod \"{name}\" not found"
                ))
            })?
        } else {
            self.ctx.logs.latest_run(uid, container).ok_or_else(|| {
                let reason = waiting_reason(&pod, container);
                refuse(format!(
                    "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
                ))
            })?
        };
        Ok(LogKey { pod_uid: uid.to_owned(), container: container.clone(), run })
    }
}

impl NodeApi for Kubelet {
    fn pod_logs(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Refusal>> {
        let kubelet = self.clone();
        async move {
            let key = kubelet.log_key(&request).map_err(|refusal| *refusal)?;
            let options = Options {
                follow: request.follow,
                tail_lines: request.tail_lines,
                since: request.since,
                timestamps: request.timestamps,
                limit_bytes: request.limit_bytes,
            };
            let opened = reader::open(&kubelet.ctx.logs, &key, options).await;
            opened.map_err(|err| {
                let LogRequest { container, pod, .. } = &request;
                Refusal::internal(format!(
                    "reading the log of container {container} of pod {pod} failed: {err}"
                ))
            })
        }
        .boxed()
    }

    fn pod_command(&self, request: CommandRequest) -> BoxFuture<'static, Result<Command, Refusal>> {
        let CommandRequest { pod, container, action, tty } = request;
        let commands = self.commands(&pod);
        let found = commands.and_then(|commands| commands.command(&container, action, tty));
        let found = found.ok_or_else(|| {
            let message =
                format!("unable to upgrade connection: container not found ({container:?})");
            Refusal::internal(message)
        });
        std::future::ready(found).boxed()
    }

    fn pod_connect(&self, pod: PodRef, port: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        let runs = self.commands(&pod).is_some();
        let network = Arc::clone(&self.ctx.network);
        async move {
            if !runs {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the pod is not running"));
            }
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            network.dial(&pod.uid, target).await.map_err(|err| {
                let message = format!(
                    "failed to connect to localhost:{port} inside the pod's network namespace: \
                     {err}"
                );
                io::Error::new(err.kind(), message)
            })
        }
        .boxed()
    }
}

impl Kubelet {
    /// What runs commands in the containers of a pod.
    fn commands(&self, pod: &PodRef) -> Option<Commands> {
        self.ctx.commands.lock().get(&pod.uid).cloned()
    }
}

/// What the status says a container waits for.
fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let statuses = status.into_iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    statuses
        .filter(|status| status.name == container)
        .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .next()
        .unwrap_or_else(|| "ContainerCreating".to_owned())
}
