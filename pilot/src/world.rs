//! The world that the protocol asks: a snapshot and the generator over it.

use std::sync::Arc;

use mesh_api::lateen::OnDemand;
use mesh_api::type_url::TypeUrl;
use parking_lot::Mutex;
use pilot_model::change::ChangeSet;
use pilot_model::class::Class;
use pilot_model::generate::Generator;
use pilot_model::impact::affects;
use pilot_model::proxy::Proxy;
use pilot_model::resource::{Answer as Generated, Resource, ResourceSet};
use pilot_model::snapshot::Snapshot;

use crate::xds::source::{Answer, Item, ItemSet, ProxyNode, View, World};

/// Sets that are kept in the protocol's form.
const SETS: usize = 1024;

/// Generated sets, and the same in the protocol's form.
type Sets = Vec<(Arc<ResourceSet>, Arc<ItemSet>)>;

/// One snapshot, for all proxies.
pub struct MeshWorld {
    snapshot: Arc<Snapshot>,
    generator: Arc<Generator>,
    on_demand: OnDemand,
    sets: Arc<Mutex<Sets>>,
}

impl MeshWorld {
    /// The world of a snapshot. `on_demand` is what proxies on demand are told of the mesh.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, generator: Arc<Generator>, on_demand: OnDemand) -> Self {
        Self { snapshot, generator, on_demand, sets: Arc::default() }
    }

    /// A connected proxy as configuration sees it.
    #[must_use]
    pub fn proxy(node: &ProxyNode) -> Proxy {
        Proxy::new(node.id.clone(), node.metadata.clone(), &node.features, &node.extensions)
    }
}

impl World for MeshWorld {
    fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    fn view(&self, node: &ProxyNode) -> Arc<dyn View> {
        Arc::new(ClassView {
            class: self.generator.class(&self.snapshot, &Self::proxy(node)),
            snapshot: self.snapshot.clone(),
            generator: self.generator.clone(),
            sets: self.sets.clone(),
        })
    }

    fn affected(&self, changes: &ChangeSet, node: &ProxyNode) -> Option<Vec<TypeUrl>> {
        let class = self.generator.class(&self.snapshot, &Self::proxy(node));
        Some(affects(changes, &class).iter().cloned().collect())
    }

    fn on_demand(&self) -> OnDemand {
        self.on_demand.clone()
    }
}

/// What one class of proxies should have.
struct ClassView {
    snapshot: Arc<Snapshot>,
    class: Arc<Class>,
    generator: Arc<Generator>,
    sets: Arc<Mutex<Sets>>,
}

impl View for ClassView {
    fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    fn class(&self) -> usize {
        // Equal classes are one object as long as somebody holds it.
        Arc::as_ptr(&self.class) as usize
    }

    fn all(&self, ty: &TypeUrl) -> Arc<ItemSet> {
        let generated = self.generator.wildcard(&self.snapshot, &self.class, ty);
        let mut sets = self.sets.lock();
        if let Some((_, items)) = sets.iter().find(|(known, _)| Arc::ptr_eq(known, &generated)) {
            return items.clone();
        }
        let items = generated.iter().map(|resource| (resource.name.clone(), item(resource)));
        let items: Arc<ItemSet> = Arc::new(items.collect());
        if sets.len() < SETS {
            sets.push((generated, items.clone()));
        }
        items
    }

    fn named(&self, ty: &TypeUrl, name: &str) -> Answer {
        match self.generator.named(&self.snapshot, &self.class, ty, name) {
            Generated::Resource(resource) => Answer::Resource(item(&resource)),
            Generated::Alias { of } => Answer::Alias(item(&of)),
            Generated::Absent => Answer::Absent,
        }
    }

    fn closure(&self, ty: &TypeUrl, name: &str) -> Vec<(TypeUrl, Arc<str>)> {
        let answer = self.generator.named(&self.snapshot, &self.class, ty, name);
        let resource = answer.resource();
        resource
            .map(|resource| self.generator.closure(&self.snapshot, &self.class, resource))
            .unwrap_or_default()
    }
}

fn item(resource: &Resource) -> Item {
    Item {
        name: resource.name.clone(),
        version: resource.version.clone(),
        body: resource.body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::key::ClusterId;
    use mesh_api::node_metadata::NodeMetadata;
    use pilot_model::store::{Event, Object, Store};

    use super::*;

    #[test]
    fn a_service_becomes_a_cluster_of_every_view() {
        let service = serde_json::json!({
            "metadata": {"name": "reviews", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 9080}]},
        });
        let service = serde_json::from_value(service).unwrap();
        let mut store = Store::new("cluster.local");
        let cluster = ClusterId::parse("Kubernetes").unwrap();
        let changes = store.apply(&cluster, Event::Applied(Object::Service(Box::new(service))));
        let node = ProxyNode {
            id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local".parse().unwrap(),
            metadata: NodeMetadata::default(),
            features: Vec::new(),
            extensions: Vec::new(),
        };
        let world =
            MeshWorld::new(store.snapshot(), Arc::new(Generator::new()), OnDemand::default());
        let view = world.view(&node);
        let name = "outbound|9080||reviews.default.svc.cluster.local";
        assert!(view.all(&TypeUrl::Cluster).contains_key(name));
        assert!(Arc::ptr_eq(&view.all(&TypeUrl::Cluster), &view.all(&TypeUrl::Cluster)));
        assert!(matches!(view.named(&TypeUrl::Cluster, name), Answer::Resource(_)));
        assert_eq!(view.named(&TypeUrl::Cluster, "outbound|1||x"), Answer::Absent);
        assert_eq!(view.class(), world.view(&node).class());
        let affected = world.affected(&changes, &node).unwrap();
        assert!(affected.contains(&TypeUrl::Cluster));
    }
}
