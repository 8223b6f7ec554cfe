//! TCP and TLS rules of virtual services at a gateway's servers.

use std::collections::BTreeSet;

use mesh_api::crd::VirtualService;
use mesh_api::name::Hostname;
use serde_json::{Value, json};

use super::server::Open;
use crate::class::Class;
use crate::config::document::Notes;
use crate::config::l4::Rule;
use crate::key::{Kind, ResourceKey};
use crate::snapshot::Snapshot;

/// Names of servers that earlier chains of a listener took, each with the addresses it is for.
pub(super) type Taken = BTreeSet<(String, String)>;

/// Every name.
const ANY: &str = "*";

/// The filter for connections of a server of bytes: the first rule that fits; none without one.
pub(super) fn proxy(
    snapshot: &Snapshot,
    class: &Class,
    open: &Open<'_>,
    notes: &mut Notes,
) -> Option<Value> {
    for (vs, _) in open.rules(snapshot, class) {
        let key = key(vs);
        for (index, tcp) in vs.spec.tcp.iter().enumerate() {
            let fits = |port, gateways: &[String]| open.fits(port, gateways, &key.namespace);
            let matched = tcp.match_.iter().position(|m| fits(m.port, &m.gateways));
            if matched.is_none() && !tcp.match_.is_empty() {
                continue;
            }
            let path = format!("spec.tcp[{index}]");
            if let Some(matched) = matched {
                let matching = &tcp.match_[matched];
                let conditions = [
                    ("destinationSubnets", !matching.destination_subnets.is_empty()),
                    ("sourceSubnet", is_given(matching.source_subnet.as_deref())),
                    ("sourceLabels", !matching.source_labels.is_empty()),
                    ("sourceNamespace", is_given(matching.source_namespace.as_deref())),
                ];
                ignored(&key, &format!("{path}.match[{matched}]"), &conditions, notes);
            }
            let rule =
                Rule { snapshot, class, port: open.number, key: &key, path, routes: &tcp.route };
            return rule.filter(notes);
        }
    }
    None
}

/// The chains for connections of a server that leaves TLS as it is, by the names they ask for.
pub(super) fn passthrough(
    snapshot: &Snapshot,
    class: &Class,
    open: &Open<'_>,
    taken: &mut Taken,
    notes: &mut Notes,
) -> Vec<Value> {
    let mut chains = Vec::new();
    for (vs, hosts) in open.rules(snapshot, class) {
        let key = key(vs);
        for (index, tls) in vs.spec.tls.iter().enumerate() {
            for (number, matching) in tls.match_.iter().enumerate() {
                if !open.fits(matching.port, &matching.gateways, &key.namespace) {
                    continue;
                }
                let (path, field) = (format!("spec.tls[{index}]"), format!("match[{number}]"));
                let conditions = [
                    ("sourceLabels", !matching.source_labels.is_empty()),
                    ("sourceNamespace", is_given(matching.source_namespace.as_deref())),
                ];
                ignored(&key, &format!("{path}.{field}"), &conditions, notes);
                let rule = Rule {
                    snapshot,
                    class,
                    port: open.number,
                    key: &key,
                    path,
                    routes: &tls.route,
                };
                let Some(to) = rule.ranges(&matching.destination_subnets, &field, notes) else {
                    continue;
                };
                let names = matching.sni_hosts.iter().filter(|name| {
                    let name = Hostname::parse(name).ok();
                    name.is_some_and(|name| hosts.iter().any(|host| host.overlaps(&name)))
                });
                let Some(condition) = condition(names, &to, taken) else { continue };
                if let Some(filter) = rule.filter(notes) {
                    chains.push(json!({ "filter_chain_match": condition, "filters": [filter] }));
                }
            }
        }
    }
    chains
}

/// The condition of a chain for those names, without those that are taken; none when all are.
pub(super) fn condition<'a>(
    names: impl Iterator<Item = &'a String>,
    to: &[Value],
    taken: &mut Taken,
) -> Option<Value> {
    let place = json!(to).to_string();
    let lower = names.map(|name| name.to_ascii_lowercase());
    let mut names: Vec<String> = lower.collect();
    // Every name is all that counts where it is among them.
    if names.iter().any(|name| name == ANY) {
        names = vec![ANY.to_owned()];
    }
    names.retain(|name| taken.insert((place.clone(), name.clone())));
    if names.is_empty() {
        return None;
    }
    let mut condition = json!({ "transport_protocol": "tls" });
    // Envoy's way to say every name is to name none.
    if names != [ANY] {
        condition["server_names"] = json!(names);
    }
    if !to.is_empty() {
        condition["prefix_ranges"] = json!(to);
    }
    Some(condition)
}

fn is_given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn ignored(key: &ResourceKey, path: &str, conditions: &[(&str, bool)], notes: &mut Notes) {
    for (field, _) in conditions.iter().filter(|(_, set)| *set) {
        let reason = "has no effect at gateways: rules there go by port, name and gateway";
        notes.complain(key, &format!("{path}.{field}"), reason.to_owned());
    }
}

fn key(vs: &VirtualService) -> ResourceKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ResourceKey::new(Kind::VirtualService, &text(&vs.metadata.namespace), &text(&vs.metadata.name))
}
