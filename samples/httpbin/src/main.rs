//! The httpbin program: `httpbin --port 8080`.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use httpbin::routes::App;
use httpbin::server;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::{ProcessEnv, Settings};
use tracing::info;

/// Answers with what it was asked, and as it was asked to.
///
/// Takes the options of go-httpbin, and those of gunicorn with which the older httpbin is started.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// The port to listen on; without it the variable PORT, else 8080.
    #[arg(long, short)]
    port: Option<u16>,

    /// The address to listen on; without it all.
    #[arg(long)]
    host: Option<IpAddr>,

    /// Address and port in one.
    #[arg(long, short, conflicts_with_all = ["port", "host"])]
    bind: Option<SocketAddr>,

    /// Where the lines of requests go: `-`, standard output.
    #[arg(long, value_parser = ["-"])]
    access_logfile: Option<String>,

    /// The name of the application, as gunicorn takes it.
    #[arg(value_parser = ["httpbin:app"])]
    application: Option<String>,
}

fn main() -> ExitCode {
    let Arguments { port, host, bind, .. } = Arguments::parse();
    let component = Component { name: "httpbin", metrics_prefix: "", admin: None };
    let read = |settings: &Settings<'_>| {
        let from_env = settings.int("PORT", 8080, 1..=65535);
        (port.unwrap_or(from_env), settings.string("HOSTNAME", "localhost"))
    };
    process::run(component, &ProcessEnv, read, |process, (port, hostname), admin| async move {
        let host = bind.map(|bind| bind.ip()).or(host);
        let port = bind.map_or(port, |bind| bind.port());
        let listener = server::listen(&process.sockets, host, port)?;
        info!(address = %listener.local_addr()?, "serving");
        server::serve(App { hostname }, &process.tasks, listener, server::to_stdout());
        Ok(admin)
    })
}
