//! `galley`: from the command line to the process frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use galley::app;
use galley::settings::GalleySettings;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;

/// The validator of configuration.
///
/// Settings come from the environment: POD_NAMESPACE, SERVICE_ACCOUNT, REVISION, CLUSTER_ID,
/// TRUST_DOMAIN, MESH_CONFIG_FILE, CA_ADDR, CA_TOKEN_FILE, CA_ROOT_FILE, GALLEY_HTTPS_ADDR; and
/// ADMIN_ADDR, LOG_LEVEL, LOG_FORMAT, WORKER_THREADS, TERMINATION_DRAIN_DURATION,
/// OTEL_EXPORTER_OTLP_ENDPOINT.
#[derive(Parser)]
#[command(version)]
struct Args {}

const COMPONENT: Component = Component {
    name: "galley",
    metrics_prefix: "galley",
    admin: Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15014)),
};

fn main() -> ExitCode {
    Args::parse();
    process::run(COMPONENT, &ProcessEnv, GalleySettings::read, app::start)
}
