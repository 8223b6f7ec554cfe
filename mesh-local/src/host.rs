//! What this machine allows, and how the server becomes root of its cluster without being root.

mod capabilities;
mod preflight;
mod subid;
mod userns;

pub use self::preflight::{Facts, Preflight, Problem, preflight};
pub use self::subid::{IdMap, IdRange, delegated_range, identity_map};
pub use self::userns::{BecomeRootError, Privilege, become_cluster_root};
