//! The application's DNS: names of the mesh from the name table, others from the pod's servers.

pub mod answer;
pub mod forward;
pub mod lookup;
pub mod resolv_conf;
pub mod serve;
