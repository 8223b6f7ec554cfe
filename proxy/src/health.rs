//! The application's probes and hooks: the kubelet asks this proxy, which asks the application,
//! in the way the pod's author wrote. And the application's metrics, on behalf of a scraper.

pub mod check;
pub mod fetch;
pub mod prober;
