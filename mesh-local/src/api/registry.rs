//! The table of everything that is served: builtin kinds and custom resources. The router,
//! discovery and OpenAPI all derive from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use local_model::builtin::{self, Builtin};
use local_model::field::{FieldError, FieldPath};
use local_model::kind::{KindInfo, Scope};
use local_model::refusal::{Refusal, Subject};
use local_model::schema::Schema;
use local_model::table::{self, Columns};
use local_model::{defaults, validate};
use serde_json::Value;

use super::convert;
use crate::store::{ObjectKey, ResourceKey};

/// One kind at one version.
pub(crate) struct Resource {
    pub(crate) info: KindInfo,
    /// The table its objects are stored in, whatever the version.
    pub(crate) storage: ResourceKey,
    pub(crate) list_kind: String,
    pub(crate) columns: Columns,
    model: Model,
}

enum Model {
    Builtin(&'static Builtin),
}

impl Resource {
    fn builtin(kind: &'static Builtin) -> Self {
        let info = kind.info.clone();
        let (group, resource) = convert::storage(&info.gvk.group, &info.plural);
        Self {
            storage: ResourceKey::new(group, resource),
            list_kind: format!("{}List", info.gvk.kind),
            columns: table::for_kind(&info.gvk),
            model: Model::Builtin(kind),
            info,
        }
    }

    pub(crate) fn namespaced(&self) -> bool {
        self.info.scope == Scope::Namespaced
    }

    pub(crate) fn is_custom(&self) -> bool {
        match &self.model {
            Model::Builtin(_) => false,
        }
    }

    /// The key of an object; the namespace counts only where the kind has one.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(if self.namespaced() { namespace } else { "" }, name)
    }

    /// An object as refusals name it: by resource.
    pub(crate) fn subject(&self, name: &str) -> Subject {
        Subject::new(&self.info.gvk.group, &self.info.plural, name)
    }

    /// An object as validation names it: by kind.
    pub(crate) fn kind_subject(&self, name: &str) -> Subject {
        Subject::new(&self.info.gvk.group, &self.info.gvk.kind, name)
    }

    /// Fields that a custom resource can be selected by.
    pub(crate) fn selectable(&self) -> &[String] {
        match &self.model {
            Model::Builtin(_) => &[],
        }
    }

    /// The schema that strategic merge follows; `None` where strategic merge is not served.
    pub(crate) fn merge_schema(&self) -> Option<Schema> {
        match &self.model {
            Model::Builtin(kind) => Some(kind.schema()),
        }
    }

    /// Drops what the schema does not know (and says what), and sets defaults.
    pub(crate) fn decode(&self, object: &mut Value) -> Result<Vec<FieldPath>, Refusal> {
        match &self.model {
            Model::Builtin(kind) => {
                let unknown = kind.decode(object)?;
                defaults::apply(&self.info.gvk, object);
                Ok(unknown)
            }
        }
    }

    /// What is wrong with an object.
    pub(crate) fn problems(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        match &self.model {
            Model::Builtin(_) => validate::object(&self.info.gvk, new, old),
        }
    }

    /// A stored object in this version.
    pub(crate) fn present(&self, stored: &Arc<Value>) -> Arc<Value> {
        match convert::from_storage(&self.info.gvk, stored) {
            Cow::Borrowed(_) => Arc::clone(stored),
            Cow::Owned(object) => Arc::new(object),
        }
    }

    /// An object of this version as it is stored.
    pub(crate) fn to_storage(&self, object: Value) -> Value {
        match &self.model {
            Model::Builtin(_) => convert::to_storage(&self.info.gvk, object),
        }
    }
}

/// Group, version and plural.
type RowKey = (String, String, String);

/// Everything served at one moment.
#[derive(Default)]
pub(crate) struct Rows {
    rows: BTreeMap<RowKey, Arc<Resource>>,
    /// Groups in discovery order with their versions, preferred first.
    pub(crate) groups: Vec<(String, Vec<String>)>,
}

impl Rows {
    fn add(&mut self, resource: Resource) {
        let gvk = &resource.info.gvk;
        let row = (gvk.group.clone(), gvk.version.clone(), resource.info.plural.clone());
        let versions = match self.groups.iter_mut().find(|(group, _)| *group == gvk.group) {
            Some((_, versions)) => versions,
            None => {
                self.groups.push((gvk.group.clone(), Vec::new()));
                &mut self.groups.last_mut().expect("a group was just added").1
            }
        };
        if !versions.contains(&gvk.version) {
            versions.push(gvk.version.clone());
        }
        self.rows.insert(row, Arc::new(resource));
    }

    /// The resource with these names.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.rows.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// Every resource of a group and version.
    pub(crate) fn of<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.rows
            .values()
            .filter(move |r| r.info.gvk.group == group && r.info.gvk.version == version)
    }

    /// Every resource, in order of group, version and plural.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.values()
    }
}

/// The rows, replaced as a whole when custom resource definitions change.
pub(crate) struct Registry {
    rows: ArcSwap<Rows>,
}

impl Registry {
    /// The builtin kinds alone.
    pub(crate) fn new() -> Self {
        let mut rows = Rows::default();
        for kind in builtin::kinds() {
            rows.add(Resource::builtin(kind));
        }
        Self { rows: ArcSwap::from_pointee(rows) }
    }

    /// What is served now.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        self.rows.load_full()
    }

    /// A builtin resource by group and plural, at its only version.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.rows.load().find(group, version, plural).cloned()
    }
}
