//! The load sample: sends requests on several connections at a rate, and sums up what came back.
//! Its options and its summary are fortio's, for `http` URLs.

pub mod engine;
pub mod flags;
pub mod histogram;
pub mod program;
pub mod report;
pub mod server;
pub mod target;

mod number;
