//! Many streams over one upgraded connection, as `kubectl` and `kube` speak them: SPDY/3.1 (raw,
//! or inside websocket messages) and numbered websocket channels.
//!
//! A transport is a future that reads and writes the connection; what uses it sees only
//! [`channel`]s. Every queue is bounded: who does not read makes the other side wait.

pub mod channel;
pub(crate) mod idle;
pub(crate) mod spdy;
pub(crate) mod tunnel;
pub(crate) mod websocket;

use std::time::Duration;

/// Messages that may wait for the connection, all streams together.
const OUTBOUND: usize = 64;
/// Messages of one stream that may wait for its reader.
const INCOMING: usize = 8;
/// How long a connection whose work is done is read on, so that the peer gets all of it.
const LINGER: Duration = Duration::from_secs(2);
