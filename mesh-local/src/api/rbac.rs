//! Role-based access control: which rules a user holds, and whether they allow a request.

mod bootstrap;
mod rules;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

pub(crate) use self::bootstrap::objects as bootstrap_objects;
pub(crate) use self::rules::{Attributes, Rule, covers};
use super::identity::{MASTERS, User, parse_service_account};
use crate::store::{ResourceKey, Selection, Store};
use local_model::selector::Labels;
use std::collections::BTreeMap;

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// Decides by the roles and bindings in the store; compiles them again when they change.
pub(crate) struct Authorizer {
    store: Arc<Store>,
    keys: [ResourceKey; 4],
    compiled: ArcSwap<Compiled>,
}

#[derive(Default)]
struct Compiled {
    revisions: [u64; 4],
    cluster: Vec<Binding>,
    namespaced: BTreeMap<String, Vec<Binding>>,
}

struct Binding {
    subjects: Vec<Subject>,
    rules: Arc<Vec<Rule>>,
}

enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(group) => user.in_group(group),
            Self::ServiceAccount { namespace, name } => {
                parse_service_account(&user.name) == Some((namespace, name))
            }
        }
    }
}

impl Authorizer {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let keys = RESOURCES.map(|resource| ResourceKey::new(GROUP, resource));
        Self { store, keys, compiled: ArcSwap::default() }
    }

    /// Whether the user may do what the attributes say.
    pub(crate) fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        if user.in_group(MASTERS) {
            return true;
        }
        let compiled = self.compiled();
        compiled
            .bindings(attributes.namespace)
            .filter(|binding| binding.subjects.iter().any(|s| s.is(user)))
            .any(|binding| binding.rules.iter().any(|rule| rule.allows(attributes)))
    }

    /// The rules that the user holds in a namespace (empty for the cluster's alone).
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        if user.in_group(MASTERS) {
            rules.extend(Rule::everything());
        }
        let compiled = self.compiled();
        for binding in compiled.bindings(namespace) {
            if binding.subjects.iter().any(|s| s.is(user)) {
                rules.extend(binding.rules.iter().cloned());
            }
        }
        rules
    }

    /// The rules of a role that a binding in `namespace` refers to.
    pub(crate) fn rules_of_role(&self, role_ref: &Value, namespace: &str) -> Vec<Rule> {
        let roles = Roles::load(&self.store, &self.keys);
        roles.resolve(role_ref, namespace).map(|rules| rules.to_vec()).unwrap_or_default()
    }

    fn compiled(&self) -> Arc<Compiled> {
        let revisions = self.keys.each_ref().map(|key| self.store.resource_revision(key));
        let current = self.compiled.load_full();
        if current.revisions == revisions && revisions != [0; 4] {
            return current;
        }
        let fresh = Arc::new(self.compile(revisions));
        self.compiled.store(Arc::clone(&fresh));
        fresh
    }

    fn compile(&self, revisions: [u64; 4]) -> Compiled {
        let roles = Roles::load(&self.store, &self.keys);
        let mut compiled = Compiled { revisions, ..Compiled::default() };
        let all = Selection::default();
        for object in self.store.list(&self.keys[2], &all).items {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            if let Some(binding) = roles.binding(&object, namespace) {
                compiled.namespaced.entry(namespace.to_owned()).or_default().push(binding);
            }
        }
        for object in self.store.list(&self.keys[3], &all).items {
            compiled.cluster.extend(roles.binding(&object, ""));
        }
        compiled
    }
}

impl Compiled {
    fn bindings(&self, namespace: &str) -> impl Iterator<Item = &Binding> {
        let local = if namespace.is_empty() { None } else { self.namespaced.get(namespace) };
        self.cluster.iter().chain(local.into_iter().flatten())
    }
}

/// Every role, by namespace (empty for cluster roles) and name.
struct Roles(BTreeMap<(String, String), Arc<Vec<Rule>>>);

impl Roles {
    fn load(store: &Store, keys: &[ResourceKey; 4]) -> Self {
        let mut roles = BTreeMap::new();
        let all = Selection::default();
        let cluster_roles = store.list(&keys[1], &all).items;
        for role in store.list(&keys[0], &all).items.iter().chain(&cluster_roles) {
            let part = |key: &str| role["metadata"][key].as_str().unwrap_or_default().to_owned();
            let mut rules = Rule::read_all(&role["rules"]);
            for selector in array(&role["aggregationRule"]["clusterRoleSelectors"]) {
                let Ok(selector) = Labels::from_selector(selector) else { continue };
                let chosen = cluster_roles.iter().filter(|other| selector.matches_object(other));
                rules.extend(chosen.flat_map(|other| Rule::read_all(&other["rules"])));
            }
            roles.insert((part("namespace"), part("name")), Arc::new(rules));
        }
        Self(roles)
    }

    fn resolve(&self, role_ref: &Value, namespace: &str) -> Option<Arc<Vec<Rule>>> {
        let name = role_ref["name"].as_str()?.to_owned();
        let home = match role_ref["kind"].as_str()? {
            "ClusterRole" => String::new(),
            "Role" => namespace.to_owned(),
            _ => return None,
        };
        self.0.get(&(home, name)).cloned()
    }

    fn binding(&self, object: &Value, namespace: &str) -> Option<Binding> {
        let rules = self.resolve(&object["roleRef"], namespace)?;
        let subjects = array(&object["subjects"]).iter().filter_map(|subject| {
            let name = subject["name"].as_str()?.to_owned();
            Some(match subject["kind"].as_str()? {
                "User" => Subject::User(name),
                "Group" => Subject::Group(name),
                "ServiceAccount" => {
                    let home = subject["namespace"].as_str().filter(|n| !n.is_empty());
                    Subject::ServiceAccount {
                        namespace: home.unwrap_or(namespace).to_owned(),
                        name,
                    }
                }
                _ => return None,
            })
        });
        Some(Binding { subjects: subjects.collect(), rules })
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
