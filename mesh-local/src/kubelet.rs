//! The node agent.

pub mod decide;
pub mod env;
pub mod field;
pub mod hosts;
pub mod image;
pub mod pod;
pub mod qos;
pub mod sources;
pub mod state;
pub mod status;
pub mod volume;
