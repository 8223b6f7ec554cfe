//! Configuration from pilot: the delta protocol without I/O, the stream, and the copy on disk.

pub mod disk;
pub mod driver;
pub mod protocol;
mod report;
