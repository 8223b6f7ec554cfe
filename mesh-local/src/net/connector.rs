//! The way from the API server to cluster addresses, through the node's namespace.

use std::io;
use std::net::SocketAddr;

use futures::future::{BoxFuture, FutureExt};
use tokio::net::TcpStream;

use super::node::Node;
use super::sockets::SocketFactory;
use crate::node_api::Connector;

/// Reaches cluster addresses from the node's namespace, for the API server's webhook calls.
#[derive(Clone, Debug)]
pub struct NodeConnector {
    sockets: SocketFactory,
}

impl NodeConnector {
    /// A connector through `node`.
    pub fn new(node: &Node) -> Self {
        Self { sockets: node.sockets().clone() }
    }
}

impl Connector for NodeConnector {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        let sockets = self.sockets.clone();
        async move { sockets.connect(address).await }.boxed()
    }
}
