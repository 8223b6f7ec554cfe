//! The command line: what can be typed, and nothing of what it does.

use clap::{Parser, Subcommand};

use crate::cmd::{
    completion, demo, install, kube_inject, local, manifest, proxy_config, uninstall, version,
};

/// Install, inspect and run the mesh.
#[derive(Parser)]
#[command(name = "meshctl", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a Kubernetes-compatible development cluster on this machine.
    #[command(subcommand)]
    Local(local::Command),
    /// Start a local cluster with the mesh and Bookinfo, and print the product page's URL.
    Demo(demo::Args),
    /// Add the sidecar to the workloads of manifests, without the injection webhook.
    KubeInject(kube_inject::Args),
    /// Install the mesh, or change an installation.
    #[command(visible_alias = "apply")]
    Install(install::Args),
    /// Remove the mesh, or one revision of it.
    Uninstall(uninstall::Args),
    /// Show what an installation would apply.
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Show what a proxy runs with.
    #[command(subcommand, visible_alias = "pc")]
    ProxyConfig(proxy_config::Command),
    /// Print the version of meshctl.
    Version(version::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}
