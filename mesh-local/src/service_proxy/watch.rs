//! Follows Services and EndpointSlices and publishes the joined table.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::table::ServiceTable;

/// How long changes are gathered before a table is published.
const GATHER: Duration = Duration::from_millis(10);

/// What consumers see, and the work that keeps it up to date: to be driven until the end, it
/// never returns by itself. The first table is published when both kinds have been listed; until
/// then the table is empty.
pub fn watch_services(
    client: Client,
) -> (watch::Receiver<Arc<ServiceTable>>, impl Future<Output = ()> + Send) {
    let (publish, table) = watch::channel(Arc::new(ServiceTable::default()));
    (table, follow(client, publish))
}

async fn follow(client: Client, publish: watch::Sender<Arc<ServiceTable>>) {
    let (services, writer) = store::<Service>();
    let config = watcher::Config::default();
    let stream = watcher(Api::<Service>::all(client.clone()), config.clone());
    let service_changes = changes("services", stream.default_backoff(), writer);
    let (slices, writer) = store::<EndpointSlice>();
    let stream = watcher(Api::<EndpointSlice>::all(client), config);
    let slice_changes = changes("endpointslices", stream.default_backoff(), writer);

    let mut all = std::pin::pin!(futures::stream::select(
        service_changes.map(|complete| (Kind::Service, complete)),
        slice_changes.map(|complete| (Kind::Slice, complete)),
    ));
    let (mut services_known, mut slices_known) = (false, false);
    let mut due: Option<Instant> = None;
    loop {
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = all.next() => {
                let Some((kind, complete)) = change else { return };
                match kind {
                    Kind::Service => services_known |= complete,
                    Kind::Slice => slices_known |= complete,
                }
                if complete && services_known && slices_known {
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                }
            }
            () = timer => {
                due = None;
                announce(&publish, &services, &slices);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Service,
    Slice,
}

/// Feeds a store from a watch; an item for each event, true when the store is complete after it.
fn changes<K>(
    kind: &'static str,
    stream: impl Stream<Item = watcher::Result<Event<K>>>,
    mut writer: Writer<K>,
) -> impl Stream<Item = bool>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Default + Eq + std::hash::Hash + Clone,
{
    stream.map(move |event| match event {
        Ok(event) => {
            writer.apply_watcher_event(&event);
            matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone)
        }
        Err(err) => {
            tracing::warn!(kind, error = %err, "watch failed, trying again");
            false
        }
    })
}

fn announce(
    publish: &watch::Sender<Arc<ServiceTable>>,
    services: &Store<Service>,
    slices: &Store<EndpointSlice>,
) {
    let (services, slices) = (services.state(), slices.state());
    let table =
        ServiceTable::build(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref));
    publish.send_if_modified(|current| {
        let changed = **current != table;
        if changed {
            *current = Arc::new(table);
        }
        changed
    });
}
