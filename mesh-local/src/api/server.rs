//! The server's parts in one place, and what happens after each write.

use std::sync::Arc;

use local_model::refusal::Refusal;
use parking_lot::RwLock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::crd_lifecycle;
use super::credentials::Credentials;
use super::error::Result;
use super::event_expiry::EventExpiry;
use super::openapi::Documents;
use super::rbac::Authorizer;
use super::registry::{Registry, Resource};
use super::service_address::ServiceAddresses;
use super::token::TokenSigner;
use super::upgrade::Upgrades;
use crate::node_api::{Connector, NodeApi};
use crate::store::{ObjectKey, Store, WriteError};

/// Everything a handler needs.
pub(crate) struct Server {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Registry,
    pub(crate) authorizer: Authorizer,
    pub(crate) signer: TokenSigner,
    pub(crate) credentials: Credentials,
    pub(crate) events: EventExpiry,
    pub(crate) documents: Documents,
    pub(crate) addresses: ServiceAddresses,
    pub(crate) node: RwLock<Option<Arc<dyn NodeApi>>>,
    pub(crate) connector: RwLock<Arc<dyn Connector>>,
    pub(crate) upgrades: Upgrades,
    /// Ends watches and connections.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// The node, or that there is none.
    pub(crate) fn node(&self) -> Result<Arc<dyn NodeApi>> {
        let node = self.node.read().clone();
        node.ok_or_else(|| Refusal::internal("no node is running in this cluster").into())
    }

    /// Takes note of a write: new definitions are served at once.
    pub(crate) fn committed(&self, resource: &Resource) {
        if crd_lifecycle::is_definition(resource) {
            crd_lifecycle::refresh(self);
        }
    }

    /// Removes an object that is still at revision `expected`.
    pub(crate) fn remove(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        expected: u64,
    ) -> std::result::Result<Arc<Value>, WriteError> {
        let last = self.store.delete(&resource.storage, key, expected)?;
        self.committed(resource);
        if resource.is_custom() {
            crd_lifecycle::instance_removed(self, resource);
        }
        Ok(last)
    }
}
