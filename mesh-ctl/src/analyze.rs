//! Analysis as `meshctl analyze` does it: objects of files and of a cluster, and what is printed.

pub mod cluster;
pub mod lines;
pub mod messages;
pub mod source;
