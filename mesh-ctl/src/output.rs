//! What people and programs read: results on standard output, progress on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use clap::ValueEnum;
use serde::Serialize;

use crate::error::Error;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(aliases = ["short", "table"])]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Prints one line of a result.
pub fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Prints bytes of a result as they are.
pub fn raw(bytes: &[u8]) {
    use std::io::Write;
    // A reader that has gone away (`meshctl … | head`) is no error of ours.
    let _gone = std::io::stdout().write_all(bytes);
}

/// Tells of progress.
pub fn progress(text: &str) {
    eprintln!("{text}");
}

/// Asks a question that people answer with yes or no; no unless they say yes.
pub fn confirm(question: &str) -> Result<bool, Error> {
    use std::io::{BufRead, IsTerminal, Read};
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Error::Usage(format!("{question} Nobody can be asked here; use -y")));
    }
    eprint!("{question} (y/N) ");
    let mut answer = String::new();
    input
        .lock()
        .take(64)
        .read_line(&mut answer)
        .map_err(|error| Error::file("cannot read the answer", error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Tells of a failure.
pub fn complain(error: &Error) {
    eprintln!("error: {error}");
}

/// Prints a result as text or as a document.
pub fn result<T: Serialize>(format: Format, value: &T, text: &str) -> Result<(), Error> {
    let document = match format {
        Format::Text => text.to_owned(),
        Format::Json => serde_json::to_string_pretty(value)
            .map_err(|error| Error::Failed(format!("cannot write JSON: {error}")))?,
        Format::Yaml => serde_saphyr::to_string(value)
            .map_err(|error| Error::Failed(format!("cannot write YAML: {error}")))?,
    };
    line(document.trim_end());
    Ok(())
}
