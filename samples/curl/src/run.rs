//! The whole program: all URLs of a command line, one after the other.

use std::path::PathBuf;

use mesh_rt::tasks::Tasks;

use crate::args::Args;
use crate::connect::{Family, Names, proxy};
use crate::console::Console;
use crate::cookies::Jar;
use crate::error::CurlError;
use crate::exchange::Opener;
use crate::payload::{self, read_file};
use crate::stats::Stats;
use crate::transfer::Session;
use crate::url::Url;
use crate::write_out;

/// Runs a command line (without the program's name); the exit code. `bundle` are the roots that
/// the environment names, and connections live in `tasks`.
pub async fn run(
    arguments: &[String],
    bundle: Option<PathBuf>,
    tasks: &Tasks,
    console: &mut Console,
) -> u8 {
    let args = match Args::read(arguments) {
        Ok(args) => args,
        Err(Ok(text)) => return console.print(text.as_bytes()).map_or_else(|e| e.code(), |()| 0),
        Err(Err(error)) => {
            console.note(&format!("curl: {error}"));
            console.note("curl: try 'curl --help' for more information");
            return error.code();
        }
    };
    match all(&args, bundle, tasks, console).await {
        Ok(code) => code,
        Err(error) => {
            complain(&args, &error, console);
            error.code()
        }
    }
}

/// Fetches all URLs; the exit code is that of the last one.
async fn all(
    args: &Args,
    bundle: Option<PathBuf>,
    tasks: &Tasks,
    console: &mut Console,
) -> Result<u8, CurlError> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Any,
    };
    let opener = Opener {
        args,
        names: Names::new(&args.resolve, &args.connect_to, family)?,
        proxy: args.proxy.as_deref().filter(|text| !text.is_empty()).map(proxy).transpose()?,
        tls: None,
        bundle,
        tasks: tasks.clone(),
    };
    let boundary = format!("------------------------{:016x}", rand::random::<u64>());
    let payload = payload::build(args, console, &boundary)?;
    let format = match args.write_out.as_deref().map(|text| (text, text.strip_prefix('@'))) {
        Some((_, Some(file))) => {
            Some(String::from_utf8_lossy(&read_file(file, console)?).into_owned())
        }
        Some((text, None)) => Some(text.to_owned()),
        None => None,
    };
    let mut jar = Jar::default();
    for given in &args.cookie {
        match given.contains('=') {
            true => jar.give(given),
            // As curl: a file that is not there has no cookies.
            false => {
                let text = read_file(given, console).unwrap_or_default();
                jar.load(&String::from_utf8_lossy(&text));
            }
        }
    }
    let mut session = Session { args, opener, payload, jar, console, connection: None };
    let mut code = 0;
    for (index, text) in args.urls.iter().enumerate() {
        let output = args.output.get(index).cloned();
        let name = output.or_else(|| args.remote_name.then(|| last_part(text)).flatten());
        let (stats, result) = session.fetch(text, name).await;
        let error = result.err();
        if let Some(error) = &error {
            complain(args, error, session.console);
        }
        code = error.as_ref().map_or(0, CurlError::code);
        if let Some(format) = &format {
            code = report(format, &stats, error.as_ref(), session.console)
                .map_or_else(|error| error.code(), |()| code);
        }
    }
    if let Some(file) = &args.cookie_jar {
        let text = session.jar.file();
        match file.as_str() {
            "-" => session.console.print(text.as_bytes())?,
            file => std::fs::write(file, text).map_err(CurlError::Write)?,
        }
    }
    Ok(code)
}

fn report(
    format: &str,
    stats: &Stats,
    error: Option<&CurlError>,
    console: &mut Console,
) -> Result<(), CurlError> {
    let written = write_out::fill(format, stats, error);
    if !written.stderr.is_empty() {
        // Nobody is left to tell if standard error is closed.
        let _written = console.stderr.write_all(written.stderr.as_bytes());
    }
    console.print(written.stdout.as_bytes())
}

fn complain(args: &Args, error: &CurlError, console: &mut Console) {
    if args.tells_errors() {
        console.note(&format!("curl: ({}) {error}", error.code()));
    }
}

/// The last part of a URL's path, for `-O`.
fn last_part(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let path = url.target.split('?').next()?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty() && *name != "..")?;
    Some(name.to_owned())
}
