//! Filter chains that have connections on one worker: what their configuration is now, and
//! whether it is gone, so that the connections drain.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use proxy_model::filter_chain::{FilterChain, Terminal};
use proxy_model::listener::Listener;
use proxy_model::snapshot::Snapshot;
use tokio::sync::watch;

use crate::http::context::LiveManager;

/// A filter chain that has connections.
pub struct InUse {
    chain: Arc<FilterChain>,
    /// The HTTP manager of the moment, where the chain has one.
    manager: Option<LiveManager>,
    gone: watch::Sender<bool>,
}

/// Those of one worker. Connections hold theirs.
#[derive(Default)]
pub struct Chains(RefCell<HashMap<Arc<str>, Vec<Weak<InUse>>>>);

impl InUse {
    fn new(chain: &Arc<FilterChain>) -> Rc<Self> {
        let manager = match &chain.terminal {
            Terminal::Http(manager) => Some(Rc::new(RefCell::new(Arc::clone(manager)))),
            Terminal::Tcp(_) | Terminal::Refuse { .. } => None,
        };
        Rc::new(Self { chain: Arc::clone(chain), manager, gone: watch::Sender::new(false) })
    }

    /// The HTTP manager of the moment, where the chain has one.
    pub fn manager(&self) -> Option<LiveManager> {
        self.manager.clone()
    }

    /// Ready once connections are to drain.
    pub async fn gone(&self) {
        // The sender is held here, so waiting cannot fail.
        let mut watching = self.gone.subscribe();
        let _gone = watching.wait_for(|gone| *gone).await;
    }

    /// Whether `chain` is this one, in whatever version: connections may go on under it.
    fn is(&self, chain: &FilterChain) -> bool {
        let kind = std::mem::discriminant(&self.chain.terminal);
        self.chain.name == chain.name
            && self.chain.matching == chain.matching
            && self.chain.transport_hash == chain.transport_hash
            && kind == std::mem::discriminant(&chain.terminal)
    }

    fn follow(&self, listener: Option<&Arc<Listener>>) {
        let now = listener.and_then(|now| now.all_chains().find(|chain| self.is(chain)));
        match now.map(|chain| &chain.terminal) {
            None => {
                self.gone.send_replace(true);
            }
            Some(Terminal::Http(newest)) => {
                if let Some(manager) = &self.manager {
                    manager.replace(Arc::clone(newest));
                }
            }
            Some(Terminal::Tcp(_) | Terminal::Refuse { .. }) => {}
        }
    }
}

impl Chains {
    /// The chain of a new connection.
    pub fn enter(&self, listener: &Arc<str>, chain: &Arc<FilterChain>) -> Rc<InUse> {
        let mut held = self.0.borrow_mut();
        let of_listener = held.entry(Arc::clone(listener)).or_default();
        let known = of_listener.iter().filter_map(Weak::upgrade);
        if let Some(known) = { known }.find(|known| known.is(chain) && !*known.gone.borrow()) {
            return known;
        }
        let entered = InUse::new(chain);
        of_listener.push(Rc::downgrade(&entered));
        entered
    }

    /// Brings all chains to `snapshot`.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        self.0.borrow_mut().retain(|listener, chains| {
            let listener = snapshot.listeners.held.get(listener);
            chains.retain(|chain| match chain.upgrade() {
                Some(chain) => {
                    chain.follow(listener);
                    !*chain.gone.borrow()
                }
                None => false,
            });
            !chains.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proxy_model::filter_chain::{ChainMatch, DownstreamTransport};

    use super::*;
    use crate::http::tests::harness;
    use crate::listener::conn::tests::{chain, listener, snapshot};

    fn http(hash: u64, prefix: &str) -> FilterChain {
        let mut manager = harness::forwarding(harness::to("a"));
        manager.stat_prefix = prefix.into();
        let mut chain = chain("c", ChainMatch::default(), DownstreamTransport::Raw);
        chain.terminal = Terminal::Http(Arc::new(manager));
        chain.transport_hash = hash;
        chain
    }

    fn held(chains: Vec<FilterChain>) -> Snapshot {
        snapshot(vec![listener("l", chains)])
    }

    fn prefix(chain: &InUse) -> Arc<str> {
        Arc::clone(&chain.manager().unwrap().borrow().stat_prefix)
    }

    #[test]
    fn connections_go_on_under_the_newest_version_of_their_chain() {
        let (chains, name) = (Chains::default(), Arc::from("l"));
        let first = chains.enter(&name, &Arc::new(http(1, "one")));
        let again = chains.enter(&name, &Arc::new(http(1, "one")));
        assert!(Rc::ptr_eq(&first, &again));
        chains.reconcile(&held(vec![http(1, "two")]));
        assert!(first.gone().now_or_never().is_none());
        assert_eq!(&*prefix(&first), "two");
    }

    #[test]
    fn connections_drain_when_their_chain_is_another_or_none() {
        let tcp = || chain("c", ChainMatch::default(), DownstreamTransport::Raw);
        let matching = ChainMatch { destination_port: Some(80), ..ChainMatch::default() };
        let mut elsewhere = http(1, "one");
        elsewhere.matching = matching;
        let mut renamed = http(1, "one");
        renamed.name = "d".into();
        let mut bytes = tcp();
        bytes.transport_hash = 1;
        for (why, now) in [
            ("another transport", held(vec![http(2, "one")])),
            ("another match", held(vec![elsewhere])),
            ("another name", held(vec![renamed])),
            ("no longer HTTP", held(vec![bytes])),
            ("no listener", snapshot(Vec::new())),
        ] {
            let (chains, name) = (Chains::default(), Arc::from("l"));
            let entered = chains.enter(&name, &Arc::new(http(1, "one")));
            chains.reconcile(&now);
            assert!(entered.gone().now_or_never().is_some(), "{why}");
            // What comes back is not what is draining.
            let anew = chains.enter(&name, &Arc::new(http(1, "one")));
            assert!(!Rc::ptr_eq(&entered, &anew) && anew.gone().now_or_never().is_none(), "{why}");
        }
    }

    #[test]
    fn chains_without_connections_are_forgotten() {
        let (chains, name) = (Chains::default(), Arc::from("l"));
        drop(chains.enter(&name, &Arc::new(http(1, "one"))));
        chains.reconcile(&held(vec![http(1, "one")]));
        assert!(chains.0.borrow().is_empty());
    }
}
