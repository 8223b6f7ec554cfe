//! The process kit of every binary: what each of them would otherwise write again, differently.
//!
//! [`crypto`] installs the one TLS provider, [`tasks`] is the only place that spawns, [`drain`] and
//! [`readiness`] say when a process may stop and when it may be used.

pub mod backoff;
pub mod crypto;
pub mod drain;
mod names;
pub mod readiness;
pub mod tasks;
