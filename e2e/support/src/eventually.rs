//! Waiting for what another process does, with a deadline and the last reason in the failure.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long to wait between looks.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Looks until `look` succeeds and returns what it found.
///
/// # Panics
/// If `patience` ends first; the message holds the last reason.
pub fn eventually<T, E: Display>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) if Instant::now() >= deadline => {
                panic!("{what}: not after {} s: {reason}", patience.as_secs_f32());
            }
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
