//! `proxy`: from the command line to the process frame.

mod app;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;

/// The data plane: sidecar and gateway.
///
/// Settings come from the environment: ADMIN_ADDR, LOG_LEVEL, LOG_FORMAT, WORKER_THREADS,
/// TERMINATION_DRAIN_DURATION, OTEL_EXPORTER_OTLP_ENDPOINT.
#[derive(Parser)]
#[command(version)]
struct Args {}

const COMPONENT: Component = Component {
    name: "proxy",
    metrics_prefix: "proxy",
    admin: Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000)),
};

fn main() -> ExitCode {
    Args::parse();
    process::run(COMPONENT, &ProcessEnv, |_settings| (), app::start)
}
