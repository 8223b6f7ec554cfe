//! Why a connection or a request goes where it goes: the way it takes, as data.

use std::net::SocketAddr;

use serde::Serialize;

use crate::facts::{ConnFacts, RequestHead};
use crate::filter_chain::{DownstreamTransport, FilterChain, Terminal};
use crate::http::action::{Action, ClusterChoice};
use crate::http::manager::{HttpConnectionManager, RouteSource};
use crate::http::table::RouteTable;
use crate::listener::Listener;
use crate::lookup::{Lookup, ResourceName};
use crate::snapshot::Snapshot;

#[cfg(test)]
mod tests;

/// The way of a connection or request through the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The steps, in the order they are taken.
    pub steps: Vec<Step>,
    /// What comes of it.
    pub outcome: Outcome,
    /// What pilot has to be asked for before the way is known to its end.
    #[serde(skip)]
    pub unknown: Vec<ResourceName>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked for: `listener`, `filter chain`, `route table`, `virtual host`, `route`,
    /// `cluster`, `endpoints`.
    pub what: &'static str,
    /// What was found.
    pub name: String,
    /// The object it was made from, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What else is worth knowing of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a way ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At endpoints of clusters.
    Forwarded {
        /// By cluster.
        targets: Vec<Target>,
    },
    /// At an answer of the mesh's own.
    Answered {
        /// Its status.
        status: u16,
        /// Why.
        reason: String,
    },
    /// At a closed connection, or an error.
    Refused {
        /// Why.
        reason: String,
    },
    /// At something pilot has to be asked for.
    Unknown {
        /// What.
        resource: String,
    },
    /// Nowhere: there was nothing to explain.
    #[default]
    Nothing,
}

/// A cluster and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The cluster.
    pub cluster: String,
    /// Its share of 100.
    pub percent: u32,
    /// Its endpoints, with the name of the transport each gets.
    pub endpoints: Vec<(String, String)>,
    /// What keeps it from working, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Follows a connection, and a request on it, from the listener of its destination.
pub fn explain(snapshot: &Snapshot, facts: &ConnFacts, head: Option<&RequestHead<'_>>) -> Trail {
    let mut trail = Trail::default();
    let listener = match snapshot.listener_for(facts.destination) {
        Lookup::Found(listener) => listener,
        Lookup::Unknown(name) => {
            trail.outcome = trail.unknown(name);
            return trail;
        }
        Lookup::Absent => match catch_all(snapshot, facts.local) {
            Some(listener) => listener,
            None => {
                return trail.refused(format!("no listener takes {}", facts.destination));
            }
        },
    };
    trail.outcome = trail.listener(snapshot, listener, facts, head);
    trail
}

/// Follows a connection, and a request on it, through one listener.
pub fn explain_listener(
    snapshot: &Snapshot,
    listener: &Listener,
    facts: &ConnFacts,
    head: Option<&RequestHead<'_>>,
) -> Trail {
    let mut trail = Trail::default();
    trail.outcome = trail.listener(snapshot, listener, facts, head);
    trail
}

/// The listener whose own socket accepted the connection.
fn catch_all(snapshot: &Snapshot, local: SocketAddr) -> Option<&Listener> {
    let fits = |listener: &Listener| {
        listener.addresses().any(|address| {
            address.port() == local.port()
                && (address.ip().is_unspecified() || address.ip() == local.ip())
        })
    };
    snapshot.bound_listeners().map(|listener| &**listener).find(|listener| fits(listener))
}

impl Trail {
    fn step(&mut self, what: &'static str, name: &str, config: Option<&str>, notes: Vec<String>) {
        let (name, config) = (name.to_owned(), config.map(str::to_owned));
        self.steps.push(Step { what, name, config, notes });
    }

    fn unknown(&mut self, name: ResourceName) -> Outcome {
        let resource = name.to_string();
        self.unknown.push(name);
        Outcome::Unknown { resource }
    }

    fn refused(mut self, reason: String) -> Self {
        self.outcome = Outcome::Refused { reason };
        self
    }

    fn listener(
        &mut self,
        snapshot: &Snapshot,
        listener: &Listener,
        facts: &ConnFacts,
        head: Option<&RequestHead<'_>>,
    ) -> Outcome {
        self.step("listener", &listener.name, listener.config.as_deref(), Vec::new());
        let Some(chain) = listener.chain_for(facts) else {
            return Outcome::Refused { reason: "no filter chain matches".to_owned() };
        };
        self.chain(snapshot, chain, head)
    }

    fn chain(
        &mut self,
        snapshot: &Snapshot,
        chain: &FilterChain,
        head: Option<&RequestHead<'_>>,
    ) -> Outcome {
        let transport = match &chain.transport {
            DownstreamTransport::Raw => "plaintext".to_owned(),
            DownstreamTransport::Tls(tls) if tls.require_client_certificate => {
                "TLS, a client certificate is required".to_owned()
            }
            DownstreamTransport::Tls(_) => "TLS".to_owned(),
            DownstreamTransport::Refuse(refusal) => {
                return Outcome::Refused { reason: refusal.reason.to_string() };
            }
        };
        self.step("filter chain", &chain.name, None, vec![transport]);
        match &chain.terminal {
            Terminal::Refuse { reason } => Outcome::Refused { reason: reason.to_string() },
            Terminal::Tcp(proxy) => {
                let names: Vec<_> = proxy.clusters.iter().map(|(name, w)| (&**name, w)).collect();
                self.clusters(snapshot, &names)
            }
            Terminal::Http(manager) => match head {
                Some(head) => self.http(snapshot, manager, head),
                None => Outcome::Nothing,
            },
        }
    }

    fn http(
        &mut self,
        snapshot: &Snapshot,
        manager: &HttpConnectionManager,
        head: &RequestHead<'_>,
    ) -> Outcome {
        let table: &RouteTable = match &manager.route {
            RouteSource::Inline(table) => table,
            RouteSource::Rds(name) => match snapshot.route_table(name) {
                Lookup::Found(table) => table,
                Lookup::Unknown(name) => return self.unknown(name),
                Lookup::Absent => {
                    let reason = format!("there is no route table {name}");
                    return Outcome::Answered { status: 404, reason };
                }
            },
        };
        self.step("route table", &table.name, None, Vec::new());
        let host = match snapshot.virtual_host(table, head.authority) {
            Lookup::Found(host) => host,
            Lookup::Unknown(name) => return self.unknown(name),
            Lookup::Absent => {
                let reason = format!("no virtual host has the domain {:?}", head.authority);
                return Outcome::Answered { status: 404, reason };
            }
        };
        self.step("virtual host", &host.name, host.config.as_deref(), Vec::new());
        let Some(matched) = host.find_route(head, 0) else {
            let reason = format!("no route of {} matches", host.name);
            return Outcome::Answered { status: 404, reason };
        };
        let route = matched.route;
        self.step("route", &route.name, route.config.as_deref(), Vec::new());
        match &route.action {
            Action::Refuse(refusal) => Outcome::Refused { reason: refusal.reason.to_string() },
            Action::DirectResponse(answer) => Outcome::Answered {
                status: answer.status,
                reason: "the route answers by itself".to_owned(),
            },
            Action::Redirect(redirect) => Outcome::Answered {
                status: redirect.status,
                reason: format!("to {}", redirect.location(head, &route.matching.path)),
            },
            Action::Forward(forward) => match &forward.clusters {
                ClusterChoice::One(name) => self.clusters(snapshot, &[(name, 1)]),
                ClusterChoice::Weighted(weighted) => {
                    let names: Vec<_> =
                        weighted.iter().map(|row| (&*row.name, row.weight)).collect();
                    self.clusters(snapshot, &names)
                }
                ClusterChoice::Header(header) => match head.header(header) {
                    Some(name) => self.clusters(snapshot, &[(name, 1)]),
                    None => Outcome::Refused { reason: format!("header {header} is absent") },
                },
            },
        }
    }

    fn clusters(&mut self, snapshot: &Snapshot, names: &[(&str, u32)]) -> Outcome {
        let total: u64 = names.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut targets = Vec::new();
        for (name, weight) in names.iter().filter(|(_, weight)| *weight > 0) {
            let percent = (u64::from(*weight) * 100).checked_div(total).unwrap_or(0);
            let mut target = Target {
                cluster: (*name).to_owned(),
                percent: u32::try_from(percent).unwrap_or(100),
                endpoints: Vec::new(),
                problem: None,
            };
            self.endpoints(snapshot, name, &mut target);
            targets.push(target);
        }
        Outcome::Forwarded { targets }
    }

    fn endpoints(&mut self, snapshot: &Snapshot, name: &str, target: &mut Target) {
        let cluster = match snapshot.cluster(name) {
            Lookup::Found(cluster) => cluster,
            Lookup::Absent => {
                target.problem = Some(format!("there is no cluster {name}"));
                return;
            }
            Lookup::Unknown(name) => {
                target.problem = Some(format!("{name} is not known yet"));
                self.unknown.push(name);
                return;
            }
        };
        self.step("cluster", &cluster.name, cluster.metadata.config.as_deref(), Vec::new());
        match snapshot.cluster_endpoints(cluster) {
            Lookup::Found(set) => {
                for endpoint in set.endpoints() {
                    let (_, transport) = cluster.transports.pick(endpoint);
                    target.endpoints.push((endpoint.address.to_string(), transport.to_owned()));
                }
                if target.endpoints.is_empty() {
                    target.problem = Some(format!("{} has no endpoint", cluster.name));
                }
            }
            Lookup::Unknown(name) => {
                target.problem = Some(format!("{name} is not known yet"));
                self.unknown.push(name);
            }
            // Original destination, and the like.
            Lookup::Absent => {}
        }
    }
}
