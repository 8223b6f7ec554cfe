//! What resources refer to.

use mesh_api::type_url::TypeUrl;

use crate::cluster::{Cluster, UpstreamTransport};
use crate::filter_chain::{DownstreamTransport, Terminal};
use crate::http::action::Action;
use crate::http::manager::RouteSource;
use crate::http::table::RouteTable;
use crate::http::virtual_host::VirtualHost;
use crate::listener::Listener;
use crate::lookup::ResourceName;
use crate::tls::{SecretRef, SecretSource};

/// Route tables and secrets of a listener; and, where clusters are asked for by name, those.
pub(super) fn of_listener(listener: &Listener, clusters: bool, add: &mut impl FnMut(ResourceName)) {
    for chain in listener.all_chains() {
        if let DownstreamTransport::Tls(tls) = &chain.transport {
            tls.certificates.iter().for_each(|certificate| of_secret(certificate, add));
            tls.validation.roots.iter().for_each(|roots| of_secret(roots, add));
        }
        match &chain.terminal {
            Terminal::Http(manager) => match &manager.route {
                RouteSource::Rds(name) => {
                    add(ResourceName::new(TypeUrl::Route, std::sync::Arc::clone(name)));
                }
                RouteSource::Inline(table) => of_table(table, clusters, add),
            },
            Terminal::Tcp(proxy) if clusters => {
                for (name, _) in proxy.clusters.iter() {
                    add(ResourceName::new(TypeUrl::Cluster, std::sync::Arc::clone(name)));
                }
            }
            Terminal::Tcp(_) | Terminal::Refuse { .. } => {}
        }
    }
}

/// Clusters of a route table.
pub(super) fn of_table(table: &RouteTable, clusters: bool, add: &mut impl FnMut(ResourceName)) {
    for host in table.hosts.iter() {
        of_host(host, clusters, add);
    }
}

/// Clusters of a virtual host.
pub(super) fn of_host(host: &VirtualHost, clusters: bool, add: &mut impl FnMut(ResourceName)) {
    if !clusters {
        return;
    }
    for route in &host.routes {
        let Action::Forward(forward) = &route.action else { continue };
        let mirrors = forward.mirrors.iter().map(|mirror| &mirror.cluster);
        for name in forward.clusters.names().into_iter().chain(mirrors) {
            add(ResourceName::new(TypeUrl::Cluster, std::sync::Arc::clone(name)));
        }
    }
}

/// Endpoints and secrets of a cluster.
pub(super) fn of_cluster(cluster: &Cluster, add: &mut impl FnMut(ResourceName)) {
    if let Some(name) = cluster.eds_name() {
        add(ResourceName::new(TypeUrl::Endpoint, std::sync::Arc::clone(name)));
    }
    for transport in cluster.transports.iter() {
        if let UpstreamTransport::Tls(tls) = transport {
            tls.certificate.iter().for_each(|certificate| of_secret(certificate, add));
            tls.validation.roots.iter().for_each(|roots| of_secret(roots, add));
        }
    }
}

/// A secret that pilot sends; the workload's own and files are found elsewhere.
fn of_secret(secret: &SecretRef, add: &mut impl FnMut(ResourceName)) {
    let own = matches!(&*secret.name, "default" | "ROOTCA")
        || secret.name.starts_with("file-cert:")
        || secret.name.starts_with("file-root:");
    if secret.source == SecretSource::Sds && !own {
        add(ResourceName::new(TypeUrl::Secret, std::sync::Arc::clone(&secret.name)));
    }
}
