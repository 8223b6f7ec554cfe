//! The tcp-echo program: `tcp-echo 9000,9001 hello`.

use std::process::ExitCode;

use clap::Parser;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;
use tracing::info;

/// Answers each line with a prefix and the line.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// The ports to listen on, with commas between them.
    #[arg(value_delimiter = ',', required = true)]
    ports: Vec<u16>,

    /// What answers begin with.
    prefix: String,
}

fn main() -> ExitCode {
    let Arguments { ports, prefix } = Arguments::parse();
    let component = Component { name: "tcp-echo", metrics_prefix: "", admin: None };
    process::run(
        component,
        &ProcessEnv,
        |_| (),
        |process, (), admin| async move {
            for port in ports {
                let listener = tcp_echo::listen(&process.sockets, port)?;
                info!(address = %listener.local_addr()?, prefix, "listening");
                tcp_echo::serve(&process.tasks, listener, &prefix);
            }
            Ok(admin)
        },
    )
}
