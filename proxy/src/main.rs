//! `proxy`: from the command line to the process frame.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use mesh_api::node::NodeType;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::{Layered, ProcessEnv, Settings};
use proxy::cli::{Cli, Command, RunArgs};
use proxy::{app, cli, init, request, settings, wait};

const COMPONENT: Component = Component {
    name: "proxy",
    metrics_prefix: "proxy",
    admin: Some(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000)),
};

/// Requests are many small allocations on one thread, which is what it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of the control plane client and admin; traffic has workers of its own.
const CONTROL_THREADS: &str = "2";

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Sidecar(args) => run(NodeType::Sidecar, &args),
        Command::Gateway(args) => run(NodeType::Router, &args),
        Command::Drain(args) => match cli::drain(args.port) {
            Ok(answer) => say(&answer, ExitCode::SUCCESS),
            Err(error) => say(&format!("proxy drain: {error}\n"), ExitCode::FAILURE),
        },
        Command::Init(args) => init::run(&args, |line| {
            say(&format!("{line}\n"), ExitCode::SUCCESS);
        }),
        Command::Wait(args) => match wait::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => say(&format!("proxy wait: {error}\n"), ExitCode::FAILURE),
        },
        Command::Request(args) => match request::run(&args, &mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => say(&format!("proxy request: {error}\n"), ExitCode::FAILURE),
        },
    }
}

fn run(role: NodeType, args: &RunArgs) -> ExitCode {
    let flags = Layered { base: &ProcessEnv, over: args.variables() };
    let own = Settings::new(&flags);
    let settings = settings::read(&own, role, args);
    if let Err(bad) = own.finish() {
        return say(&format!("proxy: {bad}\n"), ExitCode::FAILURE);
    }
    let control = ("WORKER_THREADS".to_owned(), CONTROL_THREADS.to_owned());
    let over: BTreeMap<_, _> =
        settings::frame_variables(&settings).into_iter().chain([control]).collect();
    let frame = Layered { base: &flags, over };
    process::run(COMPONENT, &frame, |_| settings, app::start)
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _written = std::io::stderr().write_all(text.as_bytes());
    code
}
