//! What the discovery server decides, without doing any of it: the service model, which objects
//! a change touches, and the configuration that follows.

pub mod change;
pub mod key;
