//! The commands that send: what they print where, and how they end.

use std::io::Write;

use crate::engine;
use crate::flags::{Flags, UsageError};
use crate::report;
use crate::target::{Caller, Target};

/// Where results go, and messages.
pub struct Output<'a> {
    /// Results.
    pub results: &'a mut (dyn Write + Send),
    /// Takes messages.
    pub messages: &'a (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output<'_> {
    fn print(&mut self, bytes: &[u8]) {
        // Nobody is left to tell if the reader is gone.
        let _written = self.results.write_all(bytes).and_then(|()| self.results.flush());
    }
}

/// `fortio load`; the exit code.
///
/// # Errors
/// [`UsageError`] as [`Target::new`].
pub async fn load(flags: &Flags, output: &mut Output<'_>) -> Result<u8, UsageError> {
    let target = Target::new(flags)?;
    let messages = output.messages;
    let addresses = match target.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            messages(&format!("E {error}"));
            return Ok(1);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if !flags.quiet {
        output.print(report::opening(flags, cores).as_bytes());
    }
    let warn = |text: &str| {
        if flags.tells_warnings {
            messages(&format!("W {text}"));
        }
    };
    let outcome = engine::run(flags, &target, &addresses, &warn).await;
    output.print(report::summary(flags, &outcome, &addresses).as_bytes());
    Ok(0)
}

/// `fortio curl`; the exit code: 1 without a success.
///
/// # Errors
/// [`UsageError`] as [`Target::new`].
pub async fn curl(flags: &Flags, output: &mut Output<'_>) -> Result<u8, UsageError> {
    let target = Target::new(flags)?;
    let messages = output.messages;
    let answer = match target.resolve().await {
        Ok(addresses) => Caller::new(&target, &addresses).call(true).await,
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(answer) => {
            output.print(&answer.head.raw);
            output.print(&answer.body);
            let status = answer.head.status;
            if (200..300).contains(&status) {
                return Ok(0);
            }
            messages(&format!("E Error status {status}"));
        }
        Err(error) => messages(&format!("E {error}")),
    }
    Ok(1)
}
