//! What the protocol asks of the world: the resources of one proxy at one generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::lateen::OnDemand;
use mesh_api::node::NodeId;
use mesh_api::node_metadata::NodeMetadata;
use mesh_api::type_url::TypeUrl;
use pilot_model::change::ChangeSet;

/// One resource: a shared name, version and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: Arc<str>,
    /// A hash of what it is made from.
    pub version: Arc<str>,
    /// The encoded message.
    pub body: Bytes,
}

/// All resources of one type, by name. Sets that are the same object are the same.
pub type ItemSet = BTreeMap<Arc<str>, Item>;

/// The answer to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A resource of that name.
    Resource(Item),
    /// A resource of another name that serves for it.
    Alias(Item),
    /// There is none.
    Absent,
}

impl Answer {
    /// The resource, if there is one.
    #[must_use]
    pub fn item(self) -> Option<Item> {
        match self {
            Self::Resource(item) | Self::Alias(item) => Some(item),
            Self::Absent => None,
        }
    }
}

/// The resources of one proxy at one generation.
pub trait View: Send + Sync {
    /// Which generation.
    fn generation(&self) -> u64;
    /// Views of the same class of proxies give the same number while one of them is held; another
    /// class means that anything may differ.
    fn class(&self) -> usize;
    /// All resources of a type.
    fn all(&self, ty: &TypeUrl) -> Arc<ItemSet>;
    /// The answer to one name.
    fn named(&self, ty: &TypeUrl, name: &str) -> Answer;
    /// What the resource refers to, so that it is of use: types and names.
    fn closure(&self, ty: &TypeUrl, name: &str) -> Vec<(TypeUrl, Arc<str>)>;
}

/// A connected proxy, as it describes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyNode {
    /// Its id.
    pub id: NodeId,
    /// Its metadata.
    pub metadata: NodeMetadata,
    /// Its `client_features`.
    pub features: Vec<String>,
    /// The names of the extensions it says it has.
    pub extensions: Vec<String>,
}

impl ProxyNode {
    /// Whether it names a client feature.
    #[must_use]
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
}

/// The mesh at one generation.
pub trait World: Send + Sync {
    /// Which generation.
    fn generation(&self) -> u64;
    /// What the proxy should have.
    fn view(&self, proxy: &ProxyNode) -> Arc<dyn View>;
    /// The types in which a change may touch the proxy, if its class is the same as before;
    /// `None` for all.
    fn affected(&self, changes: &ChangeSet, proxy: &ProxyNode) -> Option<Vec<TypeUrl>>;
    /// What proxies on demand are told of the mesh.
    fn on_demand(&self) -> OnDemand;
}

/// The empty resource a client that asks by name gets for a name that is none, so that it does not
/// wait: an empty route configuration, an empty set of endpoints. Both messages carry their name
/// in field 1.
#[must_use]
pub fn empty(ty: &TypeUrl, name: &str) -> Option<Item> {
    if !matches!(ty, TypeUrl::Route | TypeUrl::Endpoint) {
        return None;
    }
    let mut body = Vec::with_capacity(name.len() + 4);
    prost::encoding::string::encode(1, &name.to_owned(), &mut body);
    Some(Item { name: name.into(), version: "empty".into(), body: body.into() })
}

#[cfg(test)]
pub(crate) mod testing {
    //! A hand-made world.

    use super::*;

    /// Resources by type; `aliases` by type and name; `refers` by type and name.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct TinyWorld {
        pub(crate) generation: u64,
        pub(crate) sets: Vec<(TypeUrl, Arc<ItemSet>)>,
        pub(crate) aliases: Vec<(TypeUrl, String, String)>,
        pub(crate) refers: Vec<(TypeUrl, String, TypeUrl, String)>,
    }

    pub(crate) fn item(name: &str, version: u32) -> Item {
        let body = format!("{name}@{version}").into();
        Item { name: name.into(), version: version.to_string().into(), body }
    }

    impl TinyWorld {
        pub(crate) fn with(mut self, ty: TypeUrl, items: &[(&str, u32)]) -> Self {
            let set = items.iter().map(|(name, v)| ((*name).into(), item(name, *v))).collect();
            self.sets.retain(|(known, _)| *known != ty);
            self.sets.push((ty, Arc::new(set)));
            self.generation += 1;
            self
        }

        pub(crate) fn alias(mut self, ty: TypeUrl, name: &str, of: &str) -> Self {
            self.aliases.push((ty, name.to_owned(), of.to_owned()));
            self
        }

        pub(crate) fn refer(mut self, from: (TypeUrl, &str), to: (TypeUrl, &str)) -> Self {
            self.refers.push((from.0, from.1.to_owned(), to.0, to.1.to_owned()));
            self
        }
    }

    impl View for TinyWorld {
        fn generation(&self) -> u64 {
            self.generation
        }

        fn class(&self) -> usize {
            0
        }

        fn all(&self, ty: &TypeUrl) -> Arc<ItemSet> {
            let found = self.sets.iter().find(|(known, _)| known == ty);
            found.map(|(_, set)| set.clone()).unwrap_or_default()
        }

        fn named(&self, ty: &TypeUrl, name: &str) -> Answer {
            let all = self.all(ty);
            if let Some(item) = all.get(name) {
                return Answer::Resource(item.clone());
            }
            let alias = self.aliases.iter().find(|(t, n, _)| t == ty && n == name);
            match alias.and_then(|(_, _, of)| all.get(of.as_str())) {
                Some(item) => Answer::Alias(item.clone()),
                None => Answer::Absent,
            }
        }

        fn closure(&self, ty: &TypeUrl, name: &str) -> Vec<(TypeUrl, Arc<str>)> {
            let from = self.refers.iter().filter(|(t, n, _, _)| t == ty && n == name);
            from.map(|(_, _, t, n)| (t.clone(), n.as_str().into())).collect()
        }
    }

    impl World for TinyWorld {
        fn generation(&self) -> u64 {
            self.generation
        }

        fn view(&self, _proxy: &ProxyNode) -> Arc<dyn View> {
            Arc::new(self.clone())
        }

        fn affected(&self, _changes: &ChangeSet, _proxy: &ProxyNode) -> Option<Vec<TypeUrl>> {
            None
        }

        fn on_demand(&self) -> OnDemand {
            OnDemand { outbound_traffic_policy: "ALLOW_ANY".to_owned(), ..OnDemand::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::endpoint::ClusterLoadAssignment;
    use mesh_api::envoy::route::RouteConfiguration;
    use prost::Message;

    use super::*;

    #[test]
    fn empty_resources_carry_their_name() {
        let route = empty(&TypeUrl::Route, "9080").unwrap();
        assert_eq!(
            RouteConfiguration::decode(route.body).unwrap(),
            RouteConfiguration { name: "9080".to_owned(), ..Default::default() }
        );
        let load = empty(&TypeUrl::Endpoint, "outbound|80||a").unwrap();
        assert_eq!(
            ClusterLoadAssignment::decode(load.body).unwrap().cluster_name,
            "outbound|80||a"
        );
        assert_eq!(empty(&TypeUrl::Cluster, "a"), None);
    }
}
