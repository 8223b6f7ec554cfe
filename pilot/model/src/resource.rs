//! Generated resources: a canonical document, its version, its bytes, and what it refers to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::pool;
use mesh_api::type_url::TypeUrl;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::key::ResourceKey;

/// Something wrong with an object that does not prevent the rest of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    /// The object.
    pub object: ResourceKey,
    /// Path of the field within it.
    pub field: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Everything a resource is made from. Nothing else can reach the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The resource's type.
    pub type_url: TypeUrl,
    /// The resource's name.
    pub name: Arc<str>,
    /// The resource in protobuf's JSON form, with its `@type`; made from ordered collections
    /// only, so that equal worlds have equal documents.
    pub document: Value,
    /// The resources it needs at once.
    pub references: Vec<(TypeUrl, Arc<str>)>,
    /// What was wrong with the objects it was made from.
    pub diagnostics: Vec<Diagnostic>,
}

impl Inputs {
    /// The content hash of name and document.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.type_url.as_str().as_bytes());
        hash.update([0]);
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(self.document.to_string().as_bytes());
        for (kind, name) in &self.references {
            hash.update([0]);
            hash.update(kind.as_str().as_bytes());
            hash.update([0]);
            hash.update(name.as_bytes());
        }
        for diagnostic in &self.diagnostics {
            hash.update([0]);
            hash.update(diagnostic.object.to_string().as_bytes());
            hash.update(diagnostic.field.as_bytes());
            hash.update(diagnostic.reason.as_bytes());
        }
        hash.finalize().into()
    }

    /// The resource.
    ///
    /// # Errors
    /// When the document is not a message of its type.
    pub fn build(self) -> Result<Resource, pool::PoolError> {
        let version = hex(&self.digest()[..8]);
        let any = pool::from_json(&self.document)?;
        Ok(Resource {
            type_url: self.type_url,
            name: self.name,
            version: version.into(),
            body: any.value.into(),
            references: self.references,
            diagnostics: self.diagnostics,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A resource as it is sent.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: Arc<str>,
    /// The content hash of its [`Inputs`]: equal across replicas and restarts.
    pub version: Arc<str>,
    /// The encoded message: the value of the `Any`.
    pub body: Bytes,
    /// The resources it needs at once.
    pub references: Vec<(TypeUrl, Arc<str>)>,
    /// What was wrong with the objects it was made from.
    pub diagnostics: Vec<Diagnostic>,
}

/// All resources of one type for one class of proxies, by name.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    /// The resources.
    pub resources: BTreeMap<Arc<str>, Arc<Resource>>,
}

impl ResourceSet {
    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// The resources in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// The answer to a name a proxy asked for.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The resource of that name.
    Resource(Arc<Resource>),
    /// Another resource that serves that name: it is sent under its own name, with the asked name
    /// among its aliases.
    Alias {
        /// The resource.
        of: Arc<Resource>,
    },
    /// There is none.
    Absent,
}

impl Answer {
    /// The resource that serves the name.
    pub fn resource(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Resource(resource) | Self::Alias { of: resource } => Some(resource),
            Self::Absent => None,
        }
    }
}
