//! Running a step: say what it is, run it, and name the command line if it fails.

use std::fmt;
use std::process::Command;

/// Why a command of ours failed; the text is for the person who typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Prints one line to standard error, where progress belongs.
#[allow(clippy::print_stderr, reason = "this is the one place that talks to the terminal")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Runs a command with the terminal's own input and output.
pub fn step(what: &str, command: &mut Command) -> Result<(), Error> {
    say(&format!("==> {what}"));
    let status = command
        .status()
        .map_err(|error| Error::new(format!("{what}: cannot run {}: {error}", Line(command))))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::new(format!("{what}: `{}` ended with {status}", Line(command))))
    }
}

struct Line<'a>(&'a Command);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get_program().to_string_lossy())?;
        for arg in self.0.get_args() {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_step_names_its_command_line() {
        let error = step("check", Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().contains("`sh -c exit 3` ended with exit status: 3"), "{error}");
    }
}
