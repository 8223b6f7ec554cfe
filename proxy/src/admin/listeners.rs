//! `/listeners`: what is listened on.

use std::fmt::Write;
use std::net::SocketAddr;

use http::StatusCode;
use mesh_api::admin::{EnvoyAddress, ListenerStatus, Listeners};
use mesh_rt::admin::{AdminReply, AdminRequest};
use mesh_rt::http_server::text;

use super::{Pages, pretty, wants_json};

/// The page. Listeners without a socket of their own are on it too, as Envoy has them.
pub(super) fn page(pages: &Pages, request: &AdminRequest) -> AdminReply {
    let snapshot = pages.world.load();
    let own = snapshot.listeners.held.iter().filter(|(name, held)| ***name == *held.name);
    let mut all: Vec<(String, Vec<SocketAddr>)> =
        own.map(|(name, held)| (name.to_string(), held.addresses().collect())).collect();
    all.sort();
    if wants_json(request) {
        let status = |(name, at): (String, Vec<SocketAddr>)| {
            let mut at = at.into_iter().map(EnvoyAddress::from);
            ListenerStatus {
                name,
                local_address: at.next().unwrap_or_default(),
                additional_local_addresses: at.collect(),
            }
        };
        return pretty(&Listeners { listener_statuses: all.into_iter().map(status).collect() });
    }
    let mut page = String::new();
    for (name, at) in all {
        let at: Vec<String> = at.iter().map(SocketAddr::to_string).collect();
        // Writing to a string does not fail.
        let _infallible = writeln!(page, "{name}::{}", at.join(","));
    }
    text(StatusCode::OK, page)
}
