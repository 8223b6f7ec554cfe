//! What the data plane decides, without doing any of it. The only implementation of matching in
//! the repository: the proxy runs it, pilot's tests run generated config through it, and
//! `meshctl explain` runs it. Time, randomness and load are parameters.
//!
//! Read in this order: [`facts`] (what is known of a connection and a request), [`listener`],
//! [`filter_chain`], [`tcp_proxy`], [`http`] (where they go), [`cluster`], [`endpoint`], [`lb`]
//! (to whom), [`tls`] (how protected); [`lookup`] and [`problem`] (how questions are answered when
//! the answer is not held, or is not good).
//!
//! Invariants: a model value is immutable and shared; protobuf does not leave `compile`; no
//! function panics on foreign bytes; the same input gives the same answer.

pub mod access_log;
pub mod cluster;
pub mod compile;
pub mod endpoint;
pub mod explain;
pub mod facts;
pub mod filter_chain;
pub mod flags;
pub mod http;
pub mod lb;
pub mod listener;
pub mod lookup;
pub mod matcher;
pub mod problem;
pub mod snapshot;
pub mod stage;
pub mod tcp_proxy;
pub mod tls;
