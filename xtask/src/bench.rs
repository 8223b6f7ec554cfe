//! `cargo xtask bench`: our proxy beside a real Envoy, with the same configuration and load.

use std::path::PathBuf;
use std::time::Duration;

use crate::run::{Error, say, step};
use crate::{peers, tools, workspace};

mod ads;
mod load;
mod process;
mod report;
mod resources;
mod stack;
mod upstream;
mod usage;

use report::{Report, Round};
use stack::{Made, Stack};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// CPU time per request, throughput, latency and memory of our proxy and of Envoy.
    #[command(after_help = "Examples:\n  cargo xtask bench proxy\n  \
        cargo xtask bench proxy --case mtls --seconds 20 -o json > mtls.json")]
    Proxy(ProxyArgs),
    /// The server behind the proxies; started by `bench proxy`.
    #[command(hide = true)]
    Upstream,
}

#[derive(clap::Args)]
struct ProxyArgs {
    /// Seconds of each round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of each proxy; they take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Connections of the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Only this case.
    #[arg(long)]
    case: Option<Case>,
    /// How the result is printed.
    #[arg(long, short, default_value = "text")]
    output: Output,
    /// Measures this program instead of building the proxy.
    #[arg(long)]
    proxy: Option<PathBuf>,
    /// Measures our proxy alone.
    #[arg(long)]
    no_peer: bool,
}

/// What lies between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Case {
    /// One proxy, in clear on both sides.
    Plain,
    /// Two proxies with mutual TLS between them.
    Mtls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mtls => "mtls",
        }
    }
}

/// Time without a record before each proxy's first round: pools fill, pages are touched.
const WARM_UP: Duration = Duration::from_secs(2);

/// Runs a benchmark.
pub fn run(args: &Args) -> Result<(), Error> {
    match &args.what {
        What::Proxy(args) => proxy(args),
        What::Upstream => upstream::run(),
    }
}

fn proxy(args: &ProxyArgs) -> Result<(), Error> {
    tools::require(&[load::WRK, process::TASKSET, tools::PYTHON])?;
    let proxy = match &args.proxy {
        Some(path) => path.clone(),
        None => build()?,
    };
    let envoy = if args.no_peer { None } else { Some(peers::envoy()?) };
    let mut reports = Vec::new();
    for case in [Case::Plain, Case::Mtls] {
        if args.case.is_none_or(|only| only == case) {
            reports.push(measure(args, case, &proxy, envoy.as_deref())?);
        }
    }
    report::print(&reports, args.output == Output::Json)
}

fn build() -> Result<PathBuf, Error> {
    let mut cargo = std::process::Command::new("cargo");
    cargo.current_dir(workspace::root());
    step(
        "building the proxy",
        cargo.args(["build", "--release", "--package", "proxy", "--bin", "proxy"]),
    )?;
    Ok(workspace::bin_dir(true)?.join("proxy"))
}

/// One case: everything is started once, and the load goes to one proxy after the other.
fn measure(
    args: &ProxyArgs,
    case: Case,
    proxy: &std::path::Path,
    envoy: Option<&std::path::Path>,
) -> Result<Report, Error> {
    let upstream = upstream::start()?;
    let ads = ads::Server::start()?;
    let mut stacks = vec![Stack::start(Made::Lateen, case, proxy, &ads, upstream.port)?];
    if let Some(envoy) = envoy {
        stacks.push(Stack::start(Made::Envoy, case, envoy, &ads, upstream.port)?);
    }
    for stack in &mut stacks {
        stack.wait_ready(&ads)?;
        load::run(stack.port, args.connections, WARM_UP)?;
    }
    let mut report = Report::new(case.name(), args.connections, args.seconds);
    for number in 1..=args.rounds {
        for stack in &stacks {
            let before = stack.usage()?;
            let load = load::run(stack.port, args.connections, Duration::from_secs(args.seconds))?;
            let after = stack.usage()?;
            let round = Round::new(&before, &after, &load);
            say(&format!("{} {number} {}: {round}", case.name(), stack.made.name()));
            report.add(stack.made.name(), round);
        }
    }
    Ok(report)
}
