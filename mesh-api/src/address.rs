//! Addresses: dual-stack sets, what a connection can be opened to, Unix socket paths and CIDRs.

mod cidr;
mod endpoint;
mod set;

pub use cidr::Cidr;
pub use endpoint::{Address, UnixPath};
pub use set::{AddressSet, Family, FamilySet};
