//! Requests through the whole HTTP path, in one process: hyper clients on one side, hyper servers
//! on the other.

mod forward;
pub(crate) mod harness;
mod local;
mod protocol;
mod retry;

/// A manager with a virtual host that has no routes.
pub(super) fn empty_manager() -> proxy_model::http::manager::HttpConnectionManager {
    harness::manager(harness::any_host(Vec::new()))
}
