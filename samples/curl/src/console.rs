//! Where the program writes and reads: the process's streams, or a test's.

use std::io::{self, Read, Write};

use crate::error::CurlError;

/// Standard input, output and error.
pub struct Console {
    /// Results.
    pub stdout: Box<dyn Write + Send>,
    /// Messages.
    pub stderr: Box<dyn Write + Send>,
    /// What `-d @-` reads.
    pub stdin: Box<dyn Read + Send>,
}

impl Console {
    /// The process's own.
    #[must_use]
    pub fn process() -> Self {
        Self {
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            stdin: Box::new(io::stdin()),
        }
    }

    /// Writes a result.
    ///
    /// # Errors
    /// [`CurlError::Write`] when nobody reads it any more.
    pub fn print(&mut self, bytes: &[u8]) -> Result<(), CurlError> {
        self.stdout.write_all(bytes).and_then(|()| self.stdout.flush()).map_err(CurlError::Write)
    }

    /// Writes a line of messages.
    pub fn note(&mut self, line: &str) {
        // Nobody is left to tell if standard error is closed.
        let _written = writeln!(self.stderr, "{line}");
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}
