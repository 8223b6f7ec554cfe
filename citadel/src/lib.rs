//! The certificate authority of the mesh: who asks (authn), what is asked (csr), what is signed
//! (ca), where the authority's key lives (store) and who learns its root (distribute).
//!
//! `ca`, `csr` and `names` decide from what they are given; the others act.

pub mod app;
pub mod authn;
pub mod ca;
pub mod csr;
pub mod distribute;
pub mod metrics;
pub mod names;
pub mod service;
pub mod settings;
pub mod store;

#[cfg(test)]
mod fake_kube;
#[cfg(test)]
mod tests;
