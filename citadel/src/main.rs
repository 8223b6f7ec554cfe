//! `citadel`: from the command line to the process frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use citadel::app;
use citadel::settings::CitadelSettings;
use clap::Parser;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;

/// The certificate authority.
///
/// Settings come from the environment: POD_NAMESPACE, SERVICE_ACCOUNT, TRUST_DOMAIN,
/// MESH_CONFIG_FILE, CLUSTER_DOMAIN, CITADEL_LISTEN, CA_TOKEN_AUDIENCE, DEFAULT_WORKLOAD_CERT_TTL,
/// MAX_WORKLOAD_CERT_TTL, CITADEL_SELF_SIGNED_CA_CERT_TTL; and ADMIN_ADDR, LOG_LEVEL, LOG_FORMAT,
/// WORKER_THREADS, TERMINATION_DRAIN_DURATION, OTEL_EXPORTER_OTLP_ENDPOINT.
#[derive(Parser)]
#[command(version)]
struct Args {}

const COMPONENT: Component = Component {
    name: "citadel",
    metrics_prefix: "citadel",
    admin: Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15014)),
};

fn main() -> ExitCode {
    Args::parse();
    process::run(COMPONENT, &ProcessEnv, CitadelSettings::read, app::start)
}
