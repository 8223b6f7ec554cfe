//! Keeps the node's packet rules equal to the service table.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::rules::rules;
use super::table::ServiceTable;
use crate::net::Node;

/// How long to wait before rules that nft refused are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Applies the rules for the current table and for each later one, only when their text differs.
/// Ends when the table's publisher is gone.
pub async fn program_rules(node: Arc<Node>, mut table: watch::Receiver<Arc<ServiceTable>>) {
    let mut applied: Option<String> = None;
    loop {
        let text = rules(&table.borrow_and_update(), node.config());
        let mut settled = true;
        if applied.as_ref() != Some(&text) {
            match node.apply_rules(text.clone()).await {
                Ok(()) => applied = Some(text),
                Err(err) => {
                    tracing::error!(error = %err, "service addresses are out of date");
                    settled = false;
                }
            }
        }
        let changed = if settled {
            table.changed().await
        } else {
            let waited = tokio::time::timeout(RETRY, table.changed()).await;
            waited.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}
