//! The table of everything that is served: builtin kinds and custom resources. The router,
//! discovery and OpenAPI all derive from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use local_model::builtin::{self, Builtin};
use local_model::crd::{self, CompiledCrd, CompiledVersion};
use local_model::field::{FieldError, FieldPath};
use local_model::kind::{KindInfo, Scope};
use local_model::openapi::{self, Served};
use local_model::refusal::{Refusal, Subject};
use local_model::schema::Schema;
use local_model::table::{self, Columns};
use local_model::{defaults, validate};
use parking_lot::Mutex;
use serde_json::{Value, json};

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
    Custom(Custom),
}

/// One version of a custom resource.
struct Custom {
    definition: Arc<CompiledCrd>,
    index: usize,
    terminating: bool,
}

impl Custom {
    fn version(&self) -> &CompiledVersion {
        &self.definition.versions[self.index]
    }
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

    fn custom(definition: &Arc<CompiledCrd>, index: usize, terminating: bool) -> Self {
        let version = &definition.versions[index];
        let info = version.info.clone();
        Self {
            storage: ResourceKey::new(&info.gvk.group, &info.plural),
            list_kind: definition.list_kind.clone(),
            columns: version.columns.clone(),
            model: Model::Custom(Custom { definition: Arc::clone(definition), index, terminating }),
            info,
        }
    }

    /// The definition behind a custom resource.
    pub(crate) fn definition(&self) -> Option<&Arc<CompiledCrd>> {
        match &self.model {
            Model::Builtin(_) => None,
            Model::Custom(custom) => Some(&custom.definition),
        }
    }

    /// As OpenAPI describes it.
    pub(crate) fn served(&self) -> Served<'_> {
        let definition = match &self.model {
            Model::Builtin(kind) => openapi::Definition::Builtin(kind),
            Model::Custom(custom) => openapi::Definition::Custom(&custom.version().openapi),
        };
        Served { info: &self.info, definition }
    }

    /// The warning that every use of a deprecated version gets.
    pub(crate) fn deprecation(&self) -> Option<&str> {
        match &self.model {
            Model::Builtin(_) => None,
            Model::Custom(custom) => custom.version().deprecation.as_deref(),
        }
    }

    /// Whether the definition is being deleted, and takes no new objects.
    pub(crate) fn terminating(&self) -> bool {
        matches!(&self.model, Model::Custom(custom) if custom.terminating)
    }

    pub(crate) fn namespaced(&self) -> bool {
        self.info.scope == Scope::Namespaced
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.model, Model::Custom(_))
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

    /// Whether a replacement must say which revision it replaces.
    pub(crate) fn needs_revision(&self) -> bool {
        const GROUPS: [&str; 3] =
            ["admissionregistration.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io"];
        self.is_custom() || GROUPS.contains(&self.info.gvk.group.as_str())
    }

    /// Fields that a custom resource can be selected by.
    pub(crate) fn selectable(&self) -> &[String] {
        match &self.model {
            Model::Builtin(_) => &[],
            Model::Custom(custom) => &custom.version().selectable_fields,
        }
    }

    /// The schema that strategic merge follows; `None` where strategic merge is not served.
    pub(crate) fn merge_schema(&self) -> Option<Schema> {
        match &self.model {
            Model::Builtin(kind) => Some(kind.schema()),
            Model::Custom(_) => None,
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
            Model::Custom(custom) => custom.version().decode(object),
        }
    }

    /// What is wrong with an object.
    pub(crate) fn problems(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut problems = validate::object(&self.info.gvk, new, old);
        if let Model::Custom(custom) = &self.model {
            problems.extend(custom.version().problems(new, old));
        }
        problems
    }

    /// A stored object in this version.
    pub(crate) fn present(&self, stored: &Arc<Value>) -> Arc<Value> {
        match convert::from_storage(&self.info.gvk, stored) {
            Cow::Borrowed(_) => Arc::clone(stored),
            Cow::Owned(object) => Arc::new(object),
        }
    }

    /// An object of this version as it is stored.
    pub(crate) fn to_storage(&self, mut object: Value) -> Value {
        match &self.model {
            Model::Builtin(_) => convert::to_storage(&self.info.gvk, object),
            Model::Custom(custom) => {
                if let Some(storage) = custom.definition.storage() {
                    object["apiVersion"] = json!(storage.info.gvk.api_version());
                }
                object
            }
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
    /// The builtin kinds and the served versions of definitions.
    fn build(definitions: impl Iterator<Item = (Arc<CompiledCrd>, bool)>) -> Self {
        let mut rows = Self::default();
        for kind in builtin::kinds() {
            rows.add(Resource::builtin(kind));
        }
        let builtin_groups = rows.groups.len();
        for (definition, terminating) in definitions {
            for (index, version) in definition.versions.iter().enumerate() {
                if version.served {
                    rows.add(Resource::custom(&definition, index, terminating));
                }
            }
        }
        let custom = &mut rows.groups[builtin_groups..];
        custom.sort();
        for (_, versions) in custom {
            versions.sort_by_key(|version| std::cmp::Reverse(crd::version_rank(version)));
        }
        rows
    }

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
    /// Compiled definitions by name, with the spec each was compiled from.
    compiled: Mutex<BTreeMap<String, (Value, Arc<CompiledCrd>)>>,
    /// Held while the rows are replaced, so that no older set of definitions wins.
    replacing: Mutex<()>,
}

impl Registry {
    /// The builtin kinds alone.
    pub(crate) fn new() -> Self {
        let rows = Rows::build(std::iter::empty());
        Self {
            rows: ArcSwap::from_pointee(rows),
            compiled: Mutex::default(),
            replacing: Mutex::default(),
        }
    }

    /// What is served now.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        self.rows.load_full()
    }

    /// One resource.
    #[cfg(test)]
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.rows.load().find(group, version, plural).cloned()
    }

    /// Compiles a definition, or finds it compiled.
    pub(crate) fn compile(&self, definition: &Value) -> Result<Arc<CompiledCrd>, Vec<FieldError>> {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let spec = &definition["spec"];
        if let Some((from, compiled)) = self.compiled.lock().get(name)
            && from == spec
        {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(crd::compile(definition)?);
        self.compiled.lock().insert(name.to_owned(), (spec.clone(), Arc::clone(&compiled)));
        Ok(compiled)
    }

    /// Serves the builtin kinds and what `definitions` gives, which is called when no other
    /// replacement is under way. Gives the resources that are no longer served.
    pub(crate) fn replace(
        &self,
        definitions: impl FnOnce() -> Vec<Arc<Value>>,
    ) -> Vec<ResourceKey> {
        let _alone = self.replacing.lock();
        let definitions = definitions();
        let compiled = definitions.iter().filter_map(|definition| {
            let terminating = !definition["metadata"]["deletionTimestamp"].is_null();
            match self.compile(definition) {
                Ok(compiled) => Some((compiled, terminating)),
                Err(errors) => {
                    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
                    tracing::error!(name, ?errors, "a stored definition cannot be served");
                    None
                }
            }
        });
        let rows = Rows::build(compiled);
        let names: Vec<&str> =
            definitions.iter().filter_map(|d| d["metadata"]["name"].as_str()).collect();
        self.compiled.lock().retain(|name, _| names.contains(&name.as_str()));
        let before = self.rows.swap(Arc::new(rows));
        let now = self.rows.load();
        let mut gone: Vec<ResourceKey> = before
            .all()
            .filter(|old| !now.all().any(|new| new.storage == old.storage))
            .map(|old| old.storage.clone())
            .collect();
        gone.dedup();
        gone
    }
}
