//! What the discovery server decides, without doing any of it: the service model, which objects
//! a change touches, and the configuration that follows.
//!
//! [`store`] takes objects in and makes a [`snapshot`] of them; [`generate`] makes from a snapshot
//! and a [`class`] of [`proxy`] the [`resource`]s that [`config`] describes; [`impact`] says which
//! of them a [`change`] can touch.

pub mod change;
pub mod cidrs;
pub mod class;
pub mod config;
pub mod distribution;
pub mod generate;
pub mod impact;
pub mod inject;
pub mod key;
pub mod proxy;
pub mod registry;
pub mod resource;
pub mod scope;
mod sight;
pub mod snapshot;
pub mod store;
