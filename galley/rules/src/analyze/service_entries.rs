//! Service entries: addresses they need, and protocols on which they contradict each other.

use mesh_api::crd::ServiceEntrySpec;
use mesh_api::port::Protocol;

use super::lookup::scopes;
use super::messages::{ADDRESSES_REQUIRED, CONFLICTING_PROTOCOL};
use super::world::World;
use crate::report::Report;

/// TCP ports of entries to which no address leads.
pub(super) fn addresses(world: &World, report: &mut Report) {
    let metadata = &world.mesh_config["defaultConfig"]["proxyMetadata"];
    let on = |key: &str| metadata[key].as_str() == Some("true") || metadata[key] == true;
    if on("ISTIO_META_DNS_CAPTURE") && on("ISTIO_META_DNS_AUTO_ALLOCATE") {
        return;
    }
    for (object, spec) in world.specs::<ServiceEntrySpec>() {
        let allocated = object.value["status"]["addresses"].as_array();
        if !spec.addresses.is_empty() || allocated.is_some_and(|list| !list.is_empty()) {
            continue;
        }
        for (index, port) in spec.ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            if protocol.is_empty() || Protocol::named(protocol) == Protocol::Tcp {
                let text = "ServiceEntry addresses are required for this protocol.";
                report.add(
                    ADDRESSES_REQUIRED
                        .about(&object.origin, text)
                        .at(format!("spec.ports[{index}]")),
                );
            }
        }
    }
}

/// Entries that give one port of one host different protocols.
pub(super) fn protocols(world: &World, report: &mut Report) {
    let all = world.specs::<ServiceEntrySpec>();
    for (object, spec) in &all {
        let mine = scopes(&spec.export_to, &object.origin.namespace);
        for host in &spec.hosts {
            for port in &spec.ports {
                let of = |protocol: &Option<String>| {
                    protocol.as_deref().unwrap_or("TCP").to_ascii_uppercase()
                };
                let others: Vec<_> = all
                    .iter()
                    .filter(|(other, _)| other.origin != object.origin)
                    .filter(|(other, spec)| {
                        let theirs = scopes(&spec.export_to, &other.origin.namespace);
                        let everywhere = |list: &[String]| list.iter().any(|one| one == "*");
                        let shared = mine.iter().any(|one| theirs.contains(one));
                        shared || everywhere(&mine) || everywhere(&theirs)
                    })
                    .filter(|(_, spec)| spec.hosts.contains(host))
                    .flat_map(|(other, spec)| spec.ports.iter().map(move |port| (other, port)))
                    .filter(|(_, other)| {
                        other.number == port.number && of(&other.protocol) != of(&port.protocol)
                    })
                    .map(|(other, port)| {
                        let origin = &other.origin;
                        format!("{}/{} ({})", origin.namespace, origin.name, of(&port.protocol))
                    })
                    .collect();
                if !others.is_empty() {
                    let text = format!(
                        "The host {host:?} has protocol {} on port {}, and another one in {}.",
                        of(&port.protocol),
                        port.number,
                        others.join(", ")
                    );
                    report.add(CONFLICTING_PROTOCOL.about(&object.origin, text));
                }
            }
        }
    }
}
