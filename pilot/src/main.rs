//! `pilot`: from the command line to the process frame.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;
use pilot::app;
use pilot::settings::PilotSettings;

/// The discovery server.
///
/// Settings come from the environment: POD_NAME, POD_NAMESPACE, SERVICE_ACCOUNT, REVISION,
/// CLUSTER_ID, CLUSTER_DOMAIN, TRUST_DOMAIN, MESH_CONFIG_FILE, CA_ADDR, CA_TOKEN_FILE, CA_ROOT_FILE,
/// PILOT_DEBOUNCE_AFTER, PILOT_DEBOUNCE_MAX, PILOT_PUSH_THROTTLE, PILOT_ENABLE_XDS_IDENTITY_CHECK,
/// PILOT_SECURE_GRPC_ADDR, PILOT_GRPC_ADDR, PILOT_HTTPS_ADDR, PILOT_HTTP_ADDR,
/// ENABLE_DEBUG_ON_HTTP, ENABLE_DEBUG_ENDPOINT_AUTH,
/// DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES; and ADMIN_ADDR, LOG_LEVEL, LOG_FORMAT, WORKER_THREADS,
/// TERMINATION_DRAIN_DURATION, OTEL_EXPORTER_OTLP_ENDPOINT.
#[derive(Parser)]
#[command(version)]
struct Args {}

const COMPONENT: Component = Component {
    name: "pilot",
    metrics_prefix: "pilot",
    admin: Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15014)),
};

fn main() -> ExitCode {
    Args::parse();
    process::run(COMPONENT, &ProcessEnv, PilotSettings::read, app::start)
}
