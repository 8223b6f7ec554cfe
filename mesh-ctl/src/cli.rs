//! The command line: what can be typed, and nothing of what it does.

use clap::{Parser, Subcommand};

use crate::cmd::{
    analyze, completion, dashboard, demo, experimental, explain, install, kube_inject, local,
    manifest, proxy_config, proxy_status, uninstall, validate, version,
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
    /// Show how far proxies are with what the control plane sent them.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::Args),
    /// Say what is wrong with the configuration of a cluster, or of files.
    Analyze(Box<analyze::Args>),
    /// Check files of Istio's objects as the webhook would, without a cluster.
    #[command(visible_alias = "v")]
    Validate(validate::Args),
    /// Say what a proxy would do with a request, and why.
    Explain(explain::Args),
    /// Open pages of the cluster in a browser.
    #[command(subcommand, visible_aliases = ["dash", "d"])]
    Dashboard(dashboard::Command),
    /// Commands under the names they have in `istioctl experimental`.
    #[command(subcommand, visible_aliases = ["x", "exp"])]
    Experimental(experimental::Command),
    /// Print the versions of meshctl, the control plane and the proxies.
    Version(version::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_options_are_in_each_others_way() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_go_by_istioctls_names() {
        for line in [
            "meshctl ps -v 1 -o table",
            "meshctl x ps deployment/a.default",
            "meshctl x wait --for=distribution virtualservice bookinfo.default",
            "meshctl x wait --for delete vs/a --timeout 300s --threshold .99 -v -o json",
            "meshctl dashboard prometheus --address localhost --port 0 --browser=false",
            "meshctl dash envoy a.default --ui-port 15000 --browser",
            "meshctl d istiod-debug -l app=istiod",
            "meshctl version --short=false --remote=false",
            "meshctl pc cluster a -o short",
            "meshctl pc log a --level http:debug,info",
            "meshctl pc all -f dump.json --with-headers",
            "meshctl apply -s profile=demo -y",
            "meshctl explain a --to b:80 -H k:v",
            "meshctl validate -f a.yaml -f -",
            "meshctl v -x -f a.yaml",
            "meshctl analyze",
            "meshctl analyze -A -o json --failure-threshold Warning",
            "meshctl analyze --use-kube=false -R a.yaml b -S IST0103=*",
            "meshctl analyze -k -n prod --output-threshold Info -L",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
        }
    }
}
