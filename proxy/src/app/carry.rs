//! A connection that reached its chain's last filter goes on as requests or as bytes, until it
//! ends or drains.

use std::borrow::Cow;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use mesh_rt::aside::Aside;
use mesh_rt::drain::DrainWatcher;
use proxy_model::facts::ConnFacts;
use proxy_model::filter_chain::DownstreamTransport;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::manager::{Codec, HttpConnectionManager};
use proxy_model::listener::{Listener, TrafficDirection};
use proxy_model::tcp_proxy::TcpProxy;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::http::{self, context::HttpDeps};
use crate::l4::tcp_proxy::{self, ConnectionLog};
use crate::listener::chains::{Chains, InUse};
use crate::listener::conn::{Carry, Connection, Refusal};
use crate::listener::sniff;
use crate::listener::stream::{DownstreamIo, Replay};
use crate::observe::record::Downstream;
use crate::tls::keystore::Keystore;
use crate::tls::peer::PeerCertificate;

/// How long a client may take to say whether it speaks HTTP/2.
const PREFACE: Duration = Duration::from_secs(60);

/// What carries the connections of one worker.
pub struct Traffic {
    /// What requests find around them.
    pub deps: Rc<HttpDeps>,
    /// Filter chains in use.
    pub chains: Rc<Chains>,
    /// The certificates that this proxy shows.
    pub keystore: Arc<Keystore>,
    /// Numbers connections; shared by all workers.
    pub next_id: Arc<AtomicU64>,
    /// The end of the process.
    pub drain: DrainWatcher,
    /// What drains when the process does.
    pub at_end: AtEnd,
    /// How long connections of a chain that is gone may last.
    pub patience: Duration,
    /// When a refused connection was last told of.
    pub told: Cell<Option<Instant>>,
}

/// How long to say nothing of further refused connections.
const QUIET: Duration = Duration::from_secs(1);

/// Which connections are asked to end when the process begins to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// All of them: nobody on this machine needs them.
    All,
    /// All but outbound ones: the application may still need them for its own last work.
    Inbound,
}

impl Traffic {
    fn downstream(&self, connection: &Connection, cert: bool) -> Rc<Downstream> {
        let Connection { facts, listener, chain, peer, .. } = connection;
        let tls = matches!(chain.transport, DownstreamTransport::Tls(_));
        let peer = peer.as_ref();
        Rc::new(Downstream {
            facts: facts.clone(),
            listener: listener.name.clone(),
            chain: chain.name.clone(),
            direction: listener.direction,
            tls,
            peer: peer.map(|peer| peer.identity.clone()),
            peer_hash: peer.map_or_else(|| "".into(), |peer| peer.hash.clone()),
            peer_pem: peer.filter(|_| cert).map(|peer| url_encoded_pem(peer).into()),
            local_uris: self.shown(&chain.transport),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// URI names of the certificate that a chain shows: the workload's own.
    fn shown(&self, transport: &DownstreamTransport) -> Arc<[Arc<str>]> {
        let DownstreamTransport::Tls(tls) = transport else { return Arc::default() };
        let own = tls.certificates.iter().any(|certificate| &*certificate.name == "default");
        let current = self.keystore.live().current().filter(|_| own);
        current.map(|current| Arc::from(current.spiffe().to_string())).into_iter().collect()
    }

    /// When a connection is to end, and when it must.
    fn ending(&self, connection: &Connection) -> Ending {
        let outbound = connection.listener.direction == TrafficDirection::Outbound;
        let follows = self.at_end == AtEnd::All || !outbound;
        Ending {
            removed: connection.removed.clone(),
            chain: self.chains.enter(&connection.listener.name, &connection.chain),
            process: follows.then(|| self.drain.clone()),
            patience: self.patience,
        }
    }
}

/// When a connection is to end.
struct Ending {
    removed: watch::Receiver<bool>,
    chain: Rc<InUse>,
    process: Option<DrainWatcher>,
    patience: Duration,
}

impl Ending {
    /// Its listener or chain is gone.
    async fn gone(&self) {
        let mut removed = self.removed.clone();
        let removed = async {
            // A sender that is dropped says nothing: the process ends.
            if removed.wait_for(|removed| *removed).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = removed => {}
            () = self.chain.gone() => {}
        }
    }

    /// What is under way may finish, and nothing new begin.
    async fn asked(&self) {
        let process = async {
            match &self.process {
                Some(drain) => drain.draining().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.gone() => {}
            () = process => {}
        }
    }

    /// What is under way took too long. The end of the process has its own time limit.
    async fn overdue(&self) {
        self.gone().await;
        tokio::time::sleep(self.patience).await;
    }
}

impl Carry for Traffic {
    fn tcp(
        &self,
        io: DownstreamIo,
        connection: Connection,
        proxy: Arc<TcpProxy>,
    ) -> LocalBoxFuture<'static, ()> {
        let downstream = self.downstream(&connection, false);
        let log = ConnectionLog::new(downstream, connection.started, &self.deps.sink)
            .of(Some(&connection.listener));
        let (ending, deps) = (self.ending(&connection), Rc::clone(&self.deps));
        Box::pin(async move {
            tcp_proxy::serve(io, proxy, deps, log, ending.overdue()).await;
        })
    }

    fn http(
        &self,
        io: DownstreamIo,
        connection: Connection,
        manager: Arc<HttpConnectionManager>,
    ) -> LocalBoxFuture<'static, ()> {
        let downstream = self.downstream(&connection, manager.forward_client_cert.details.cert);
        let (ending, deps) = (self.ending(&connection), Rc::clone(&self.deps));
        let Some(live) = ending.chain.manager() else { return Box::pin(std::future::ready(())) };
        let said = spoken(&io, &connection.facts);
        Box::pin(async move {
            let preface = async {
                let known = match said {
                    None if manager.codec == Codec::Auto => return sniff::http2(io).await,
                    None => manager.codec == Codec::Http2,
                    Some(http2) => http2,
                };
                Some((Replay::new(Bytes::new(), io), known))
            };
            let Ok(Some((io, http2))) = tokio::time::timeout(PREFACE, preface).await else {
                return;
            };
            let overdue = pin!(ending.overdue());
            let overdue = Aside::new(overdue);
            let served = http::serve(io, http2, (downstream, live), deps, ending.asked());
            tokio::select! {
                end = served => debug!(?end, "connection"),
                () = overdue => debug!("connection closed: its listener is gone"),
            }
        })
    }

    fn refused(&self, facts: &ConnFacts, listener: Option<&Arc<Listener>>, refusal: &Refusal) {
        self.tell(facts, refusal);
        let downstream = Rc::new(Downstream {
            facts: facts.clone(),
            listener: listener.map_or_else(|| "".into(), |listener| listener.name.clone()),
            chain: "".into(),
            direction: listener.map_or(TrafficDirection::Unspecified, |held| held.direction),
            tls: false,
            peer: None,
            peer_hash: "".into(),
            peer_pem: None,
            local_uris: Arc::default(),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
        });
        let log = ConnectionLog::new(downstream, Instant::now(), &self.deps.sink).of(listener);
        let (flags, details) = explained(refusal);
        log.ended(flags, details);
    }
}

impl Traffic {
    /// What the operator can mend is told, at most once a second for each worker; what peers send is
    /// theirs.
    fn tell(&self, facts: &ConnFacts, refusal: &Refusal) {
        let (peer, destination) = (facts.peer, facts.destination);
        let mendable = matches!(
            refusal,
            Refusal::Unanswered(_) | Refusal::Listener { .. } | Refusal::Chain { .. }
        );
        let now = Instant::now();
        let is_quiet = |last: Instant| now.duration_since(last) >= QUIET;
        if mendable && self.told.get().is_none_or(is_quiet) {
            self.told.set(Some(now));
            warn!(%peer, %destination, "connection refused: {refusal}");
        } else {
            debug!(%peer, %destination, "connection refused: {refusal}");
        }
    }
}

/// Whether the connection is HTTP/2, where TLS or the inspectors say it; the first bytes otherwise.
fn spoken(io: &DownstreamIo, facts: &ConnFacts) -> Option<bool> {
    match io {
        DownstreamIo::Tls(stream) => {
            let chosen = stream.get_ref().1.alpn_protocol()?;
            Some(matches!(chosen, b"h2" | b"istio-h2"))
        }
        DownstreamIo::Plain(_) => {
            let seen = facts.application_protocols.first()?;
            Some(&**seen == "h2c")
        }
    }
}

/// Envoy's flags of a refused connection, and its reason as logs show it.
fn explained(refusal: &Refusal) -> (ResponseFlags, Cow<'static, str>) {
    let flags = match refusal {
        Refusal::NoChain(_) | Refusal::Loop => ResponseFlags::NR,
        Refusal::Unanswered(_) => ResponseFlags::NC,
        Refusal::Chain { .. } | Refusal::Listener { .. } => ResponseFlags::NFCF,
        Refusal::Limit(_) => ResponseFlags::UO,
        Refusal::Tls { .. }
        | Refusal::Inspection(_)
        | Refusal::InspectionTimedOut(_)
        | Refusal::ListenerGone(_) => ResponseFlags::NONE,
    };
    let reason = match refusal {
        Refusal::NoChain(_) => return (flags, Cow::Borrowed("filter_chain_not_found")),
        Refusal::InspectionTimedOut(_) => {
            return (flags, Cow::Borrowed("listener_filters_timeout"));
        }
        Refusal::Unanswered(name) => format!("configuration_unknown{{{name}}}"),
        other => other.to_string(),
    };
    (flags, Cow::Owned(reason.replace(char::is_whitespace, "_")))
}

/// A certificate as Envoy forwards it: PEM, with what has a meaning in headers escaped.
fn url_encoded_pem(peer: &PeerCertificate) -> String {
    let text = BASE64_STANDARD.encode(&peer.leaf);
    let mut out = String::with_capacity(text.len() + 128);
    out.push_str("-----BEGIN%20CERTIFICATE-----");
    for (place, c) in text.chars().enumerate() {
        if place % 64 == 0 {
            out.push_str("%0A");
        }
        match c {
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            other => out.push(other),
        }
    }
    out.push_str("%0A-----END%20CERTIFICATE-----%0A");
    out
}
