//! The validator: serves the webhook that reviews Istio's objects.
//!
//! Read in this order: [`app`] (the parts), `webhook` (reviews over HTTPS), `trust` (what makes
//! the API server use it). What is decided of objects is `galley-rules`'.

pub mod app;
pub mod settings;
mod trust;
mod webhook;

#[cfg(test)]
mod tests;
