//! The walks through the mesh that `docs/tasks` tell: every command of every page is run, and what
//! it prints is compared with the page.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod output;
mod page;
mod shell;
mod walk;

/// A test for each page, and the list of them.
macro_rules! pages {
    ($($test:ident => $file:literal,)*) => {
        const PAGES: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                walk::page($file);
            }
        )*
    };
}

pages! {
    circuit_breaking => "circuit-breaking.md",
    egress_control => "egress-control.md",
    fault_injection => "fault-injection.md",
    mirroring => "mirroring.md",
    querying_metrics => "querying-metrics.md",
    request_routing => "request-routing.md",
    request_timeouts => "request-timeouts.md",
    tcp_traffic_shifting => "tcp-traffic-shifting.md",
    traffic_shifting => "traffic-shifting.md",
}

#[test]
fn every_page_is_walked() {
    let tasks = mesh_test::settings::repository().join("docs/tasks");
    let names = std::fs::read_dir(&tasks).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "README.md");
    names.sort();
    let mut walked = PAGES.to_vec();
    walked.sort_unstable();
    assert_eq!(names, walked, "main.rs lists the pages of {}", tasks.display());
}
