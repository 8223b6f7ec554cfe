//! The program of the curl image: does as the name it is called by, `curl` or `nc`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use lateen_curl::console::Console;
use lateen_curl::{nc, run};
use mesh_rt::drain;
use mesh_rt::settings::{ProcessEnv, Settings};
use mesh_rt::tasks::Tasks;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let arguments: Vec<String> = words.collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _written = writeln!(std::io::stderr(), "{called}: starting: {error}");
            return ExitCode::from(2);
        }
    };
    let name = Path::new(&called).file_name().unwrap_or_default();
    let code = match name.to_str() {
        Some("nc") => runtime.block_on(netcat()),
        _ => runtime.block_on(curl(&arguments)),
    };
    // A read of standard input may still wait, which nobody wants any more.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn curl(arguments: &[String]) -> u8 {
    mesh_rt::crypto::install();
    let settings = Settings::new(&ProcessEnv);
    let bundle = settings.optional("CURL_CA_BUNDLE").or_else(|| settings.optional("SSL_CERT_FILE"));
    let (trigger, _watcher) = drain::channel();
    let tasks = Tasks::new(trigger);
    run::run(arguments, bundle.map(Into::into), &tasks, &mut Console::process()).await
}

async fn netcat() -> u8 {
    let args = nc::Args::parse();
    let mut console = Console::process();
    let note = |line: &str| console.note(line);
    match nc::run(&args, tokio::io::stdin(), tokio::io::stdout(), note).await {
        Ok(()) => 0,
        Err(error) => {
            console.note(&error.to_string());
            1
        }
    }
}
