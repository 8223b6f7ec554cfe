//! Pods as processes: namespaces, private roots, a PID 1 of ours in each pod, and the commands
//! the server gives it.

pub mod network;
