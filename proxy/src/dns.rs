//! The application's DNS: names of the mesh from the name table, others from the pod's servers.

pub(crate) mod answer;
pub(crate) mod forward;
pub(crate) mod resolv_conf;
pub(crate) mod serve;
