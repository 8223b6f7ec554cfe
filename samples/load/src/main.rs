//! The load program: `load load -c 2 -n 20 http://httpbin:8000/get`, called `fortio` in its image.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use load::flags::{self, Command, Flags, HELP, UsageError};
use load::program::{self, Output};
use load::server;
use mesh_rt::net::ListenOptions;
use mesh_rt::process::{self, Component};
use mesh_rt::settings::ProcessEnv;
use tracing::info;

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match flags::parse(&words) {
        Ok(Command::Help) => print(HELP),
        Ok(Command::Version) => print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Server(port)) => serve(port),
        Ok(Command::Load(flags)) => send(&flags, false),
        Ok(Command::Curl(flags)) => send(&flags, true),
        Err(error) => refuse(&error),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::FAILURE,
    }
}

fn tell(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _written = writeln!(std::io::stderr(), "{text}");
}

fn refuse(error: &UsageError) -> ExitCode {
    tell(&format!("{error}; see --help"));
    ExitCode::from(2)
}

fn send(flags: &Flags, one: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("starting: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut stdout = std::io::stdout();
    let mut output = Output { results: &mut stdout, messages: &tell };
    let result = if one {
        runtime.block_on(program::curl(flags, &mut output))
    } else {
        runtime.block_on(program::load(flags, &mut output))
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => refuse(&error),
    }
}

fn serve(port: u16) -> ExitCode {
    let component = Component { name: "load", metrics_prefix: "", admin: None };
    process::run(
        component,
        &ProcessEnv,
        |_| (),
        |process, (), admin| async move {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let options = ListenOptions::default();
            let listener = process.sockets.listen(both, options).or_else(|_no_ipv6| {
                process.sockets.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options)
            })?;
            info!(address = %listener.local_addr()?, "serving");
            server::serve(&process.tasks, listener);
            Ok(admin)
        },
    )
}
