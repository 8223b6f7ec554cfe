//! The node's network in real namespaces, as root or as an ordinary user: pods, services,
//! NodePorts and DNS, and that nothing of it is seen on the host.

#![expect(clippy::print_stdout, reason = "this is the harness: it reports on standard output")]

mod attach;
mod bench;
mod cluster;
mod dns;
mod egress;
mod host_ports;
mod host_state;
mod services;

use std::process::ExitCode;

use mesh_local::host::become_cluster_root;

use crate::bench::Outcome;

type Scenario = (&'static str, fn() -> Outcome);

const SCENARIOS: &[Scenario] = &[
    ("pods_reach_each_other_and_the_node", || bench::drive(attach::pods_reach_each_other())),
    ("pods_come_and_go_in_parallel", || bench::drive(attach::pods_come_and_go())),
    ("egress_is_refused_at_once", || bench::drive(attach::egress_is_refused())),
    ("pods_reach_the_outside", || bench::drive(egress::hosts_are_reached())),
    ("what_the_outside_refuses_is_reset", || bench::drive(egress::closed_ports_reset())),
    ("inside_stays_inside_with_egress", || bench::drive(egress::inside_stays_inside())),
    ("a_service_address_takes_turns", || bench::drive(services::cluster_ip_takes_turns())),
    ("a_pod_reaches_itself_through_its_service", || bench::drive(services::hairpin())),
    ("ports_without_endpoints_are_refused", || bench::drive(services::refused())),
    ("clients_stick_to_endpoints", || bench::drive(services::sticky())),
    ("node_ports_work_from_pods", || bench::drive(services::node_port_inside())),
    ("node_ports_work_on_the_host", || bench::drive(host_ports::node_ports())),
    ("datagrams_reach_services", || bench::drive(services::datagrams())),
    ("datagrams_reach_node_ports_on_the_host", || bench::drive(host_ports::datagrams())),
    ("names_of_services_resolve", || bench::drive(dns::names_of_services())),
    ("objects_become_connections", || bench::drive(cluster::objects_become_connections())),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = arguments.as_slice()
        && role == bench::ECHO_ROLE
    {
        return bench::echo_server(rest);
    }
    let privilege = match become_cluster_root() {
        Ok(privilege) => privilege,
        Err(err) => {
            println!("cannot test the node's network here: {err}");
            return ExitCode::FAILURE;
        }
    };
    println!("running {} scenarios as {privilege:?}", SCENARIOS.len());
    let before = host_state::observe();
    let mut failed = 0;
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, scenario) in SCENARIOS {
        if filter.is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        match std::panic::catch_unwind(scenario) {
            Ok(Ok(())) => println!("test {name} ... ok"),
            Ok(Err(err)) => {
                failed += 1;
                println!("test {name} ... FAILED\n{err}");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    let after = host_state::observe();
    if before != after {
        failed += 1;
        println!("test nothing_is_left_on_the_host ... FAILED\n{before:#?}\n{after:#?}");
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
