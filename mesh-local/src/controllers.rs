//! The cluster's controllers: ordinary clients of the API, which could run anywhere.
//!
//! Each watches what it needs through shared caches, decides in a pure `decide` module, and acts
//! on one key at a time. They hold no state that a restart would lose.

use mesh_rt::{
    backoff::Backoff,
    tasks::{TaskHandle, Tasks},
};
use tokio::sync::watch;

mod accounts;
mod cache;
mod catalog;
mod claims;
mod context;
mod daemon_set;
mod deployment;
mod endpoints;
mod events;
mod garbage;
mod job;
mod namespace;
mod owners;
mod pods;
mod queue;
mod replica_set;
mod runner;
mod scheduler;
mod stateful_set;
mod workload;

use runner::Controller as _;

/// What controllers are told about the cluster.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The PEM certificate by which pods know the API server; every namespace gets it as the
    /// ConfigMap `kube-root-ca.crt`.
    pub root_ca: String,
}

/// The running controllers. They end with the drain of their task group.
#[derive(Debug)]
pub struct ControllerSet {
    synced: watch::Receiver<bool>,
    watches: Vec<TaskHandle<()>>,
}

impl ControllerSet {
    /// Returns once every controller has read what there is and works.
    pub async fn synced(&mut self) {
        // The sender lives as long as the controllers; without them nobody waits for good.
        let _ready = self.synced.wait_for(|done| *done).await;
    }

    /// Whether a part the controllers cannot do without has ended.
    pub fn is_broken(&self) -> bool {
        self.watches.iter().any(TaskHandle::is_finished)
    }
}

/// Starts all controllers. `client` must be allowed everything.
pub fn spawn(tasks: &Tasks, client: kube::Client, config: ControllerConfig) -> ControllerSet {
    let (news, outbox) = events::channel();
    let context = context::Context::new(client.clone(), config, news);
    let deployments = deployment::Deployments::new(context.clone());
    let replica_sets = replica_set::ReplicaSets::new(context.clone());
    let stateful_sets = stateful_set::StatefulSets::new(context.clone());
    let daemon_sets = daemon_set::DaemonSets::new(context.clone());
    let jobs = job::Jobs::new(context.clone());
    let endpoints = endpoints::ServiceEndpoints::new(context.clone());
    let scheduler = scheduler::Scheduler::new(context.clone());
    let contents = accounts::NamespaceContents::new(context.clone());
    let namespaces = namespace::Namespaces::new(context.clone());
    let collector = garbage::Collector::new(context.clone(), namespaces.queue().clone());

    tasks.spawn_background("events", outbox.run(client));
    let watches = context.follow(tasks);
    let (ready, synced) = watch::channel(false);
    let (listed, mut collecting) = watch::channel(false);
    let follow = {
        let (collector, tasks) = (collector.clone(), tasks.clone());
        move || collector.clone().follow(tasks.clone(), listed.clone())
    };
    tasks.spawn_supervised("garbage-collector-watches", Backoff::default(), follow);
    let group = tasks.clone();
    tasks.spawn_background("start-controllers", async move {
        context.synced().await;
        runner::start(&group, &contents);
        runner::start(&group, &scheduler);
        runner::start(&group, &deployments);
        runner::start(&group, &replica_sets);
        runner::start(&group, &stateful_sets);
        runner::start(&group, &daemon_sets);
        runner::start(&group, &jobs);
        runner::start(&group, &endpoints);
        runner::start(&group, &namespaces);
        // Owners that were not listed yet would all have to be asked about.
        if collecting.wait_for(|done| *done).await.is_ok() {
            runner::start(&group, &collector);
            ready.send_replace(true);
        }
    });
    ControllerSet { synced, watches }
}
