//! One cluster on this machine, seen from outside: where its files are, whether it runs,
//! how to start and stop it.

pub mod lock;
pub mod paths;
pub mod start;
pub mod state;
pub mod stop;

pub use paths::Paths;
pub use start::{Progress, StartError, StartOptions, start};
pub use state::State;
pub use stop::{StopError, Stopped, purge, stop};
