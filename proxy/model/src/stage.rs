//! Accepted resources, also those whose references are not there yet, and what of them is warm.
//!
//! A listener is warm once its route tables and the secrets that pilot sends are there, a cluster
//! once its endpoints are. Until then, or until [`FETCH_TIMEOUT`] has passed, the version before
//! it stays in force. Everything else is in force at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::type_url::TypeUrl;

use crate::cluster::{Cluster, Discovery};
use crate::compile::{self, notes::Notes, notes::Path};
use crate::endpoint::EndpointSet;
use crate::http::table::RouteTable;
use crate::http::virtual_host::VirtualHost;
use crate::listener::Listener;
use crate::lookup::ResourceName;
use crate::problem::{Grade, Rejected, Warning};
use crate::snapshot::{MeshFacts, OnDemand, Resources, Snapshot};
use crate::tls::Secret;

pub mod kept;
mod references;
#[cfg(test)]
mod tests;

use kept::{Decoded, Kept, NamePart};

/// How long a resource waits for what it refers to.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A new or changed resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsert {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Names that were asked for and that it answers.
    pub aliases: Vec<Arc<str>>,
    /// The message.
    pub body: Bytes,
}

/// What became of a response.
#[derive(Debug, Default)]
pub struct Applied {
    /// Names of the resources that are accepted, with their warnings.
    pub accepted: Vec<(Arc<str>, Vec<Warning>)>,
    /// The resources that mean nothing. Their last good versions stay.
    pub rejected: Vec<Rejected>,
}

/// What is wanted of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Everything there is.
    pub wildcard: bool,
    /// By name.
    pub names: BTreeSet<Arc<str>>,
}

/// Accepted resources. One writer owns it.
#[derive(Debug, Default)]
pub struct Stage {
    listeners: Kept<Listener>,
    routes: Kept<RouteTable>,
    virtual_hosts: Kept<VirtualHost>,
    clusters: Kept<Cluster>,
    endpoints: Kept<EndpointSet>,
    secrets: Kept<Secret>,
    names: Kept<NamePart>,
    mesh: MeshFacts,
    generation: u64,
}

/// Runs the same expression on the store of a type; `None` for a type that is not kept.
macro_rules! with_kept {
    ($stage:expr, $type_url:expr, $kept:ident => $body:expr) => {
        match $type_url {
            TypeUrl::Listener => {
                let $kept = &$stage.listeners;
                Some($body)
            }
            TypeUrl::Route => {
                let $kept = &$stage.routes;
                Some($body)
            }
            TypeUrl::VirtualHost => {
                let $kept = &$stage.virtual_hosts;
                Some($body)
            }
            TypeUrl::Cluster => {
                let $kept = &$stage.clusters;
                Some($body)
            }
            TypeUrl::Endpoint => {
                let $kept = &$stage.endpoints;
                Some($body)
            }
            TypeUrl::Secret => {
                let $kept = &$stage.secrets;
                Some($body)
            }
            TypeUrl::NameTable => {
                let $kept = &$stage.names;
                Some($body)
            }
            _ => None,
        }
    };
}

impl Stage {
    /// The types that are kept, in the order they are asked for.
    pub const TYPES: [TypeUrl; 7] = [
        TypeUrl::Cluster,
        TypeUrl::Endpoint,
        TypeUrl::Listener,
        TypeUrl::Route,
        TypeUrl::VirtualHost,
        TypeUrl::Secret,
        TypeUrl::NameTable,
    ];

    /// Whether things are asked by name, as pilot announced.
    pub fn set_on_demand(&mut self, on_demand: Option<OnDemand>) {
        self.mesh = MeshFacts { on_demand };
    }

    /// Takes a response in. `now` is any clock that does not go back.
    pub fn apply(
        &mut self,
        type_url: &TypeUrl,
        upserts: Vec<Upsert>,
        removed: &[Arc<str>],
        now: Duration,
    ) -> Applied {
        let mut applied = Applied::default();
        match type_url {
            TypeUrl::Listener => self.listeners.apply(upserts, removed, now, &mut applied),
            TypeUrl::Route => self.routes.apply(upserts, removed, now, &mut applied),
            TypeUrl::VirtualHost => self.virtual_hosts.apply(upserts, removed, now, &mut applied),
            TypeUrl::Cluster => self.clusters.apply(upserts, removed, now, &mut applied),
            TypeUrl::Endpoint => self.endpoints.apply(upserts, removed, now, &mut applied),
            TypeUrl::Secret => self.secrets.apply(upserts, removed, now, &mut applied),
            TypeUrl::NameTable => self.names.apply(upserts, removed, now, &mut applied),
            other => {
                let reject = |upsert: Upsert| Rejected {
                    resource: ResourceName::new(other.clone(), upsert.name),
                    path: String::new(),
                    reason: "resources of this type are not asked for".to_owned(),
                };
                applied.rejected.extend(upserts.into_iter().map(reject));
            }
        }
        // Where everything is held, what is not held is absent, and needs no note.
        if !self.mesh.by_name() {
            self.listeners.forget_absent();
            self.clusters.forget_absent();
            self.names.forget_absent();
        }
        applied
    }

    /// Forgets what nobody wants any more: answers that were asked for by name.
    pub fn forget(&mut self, resource: &ResourceName) {
        let name = &resource.name;
        match resource.type_url {
            TypeUrl::Listener => self.listeners.forget(name),
            TypeUrl::Route => self.routes.forget(name),
            TypeUrl::VirtualHost => self.virtual_hosts.forget(name),
            TypeUrl::Cluster => self.clusters.forget(name),
            TypeUrl::Endpoint => self.endpoints.forget(name),
            TypeUrl::Secret => self.secrets.forget(name),
            TypeUrl::NameTable => self.names.forget(name),
            _ => {}
        }
    }

    /// Whether pilot has answered for a name, be it with something that was rejected.
    pub fn is_answered(&self, resource: &ResourceName) -> bool {
        with_kept!(self, resource.type_url, kept => kept.is_answered(&resource.name))
            .unwrap_or(false)
    }

    /// Whether the only version of a name that pilot sent means nothing.
    pub fn is_rejected(&self, resource: &ResourceName) -> bool {
        with_kept!(self, resource.type_url, kept => kept.is_rejected(&resource.name))
            .unwrap_or(false)
    }

    /// Names and versions of a type's resources that are held, aliases included.
    pub fn versions(&self, type_url: &TypeUrl) -> BTreeMap<Arc<str>, Arc<str>> {
        with_kept!(self, type_url, kept => kept.versions()).unwrap_or_default()
    }

    /// A type's resources as they came, for dumps, in the order of their names.
    pub fn raw(&self, type_url: &TypeUrl) -> Vec<RawResource> {
        self.packed(type_url).iter().map(PackedResource::unpack).collect()
    }

    /// The same, still packed: cheap to take and to keep.
    pub fn packed(&self, type_url: &TypeUrl) -> Vec<PackedResource> {
        with_kept!(self, type_url, kept => kept.packed()).unwrap_or_default()
    }

    /// What is to be asked for: everything of the types that come whole, or by name what traffic
    /// asked for; and what the held resources refer to.
    pub fn wanted(&self, asked: &BTreeSet<(usize, Arc<str>)>) -> BTreeMap<usize, Wanted> {
        let by_name = self.mesh.by_name();
        let mut wanted: BTreeMap<usize, Wanted> = BTreeMap::new();
        for type_url in [TypeUrl::Cluster, TypeUrl::Listener, TypeUrl::NameTable] {
            let entry = wanted.entry(Self::place(&type_url)).or_default();
            entry.wildcard = !by_name;
        }
        for (place, name) in asked {
            wanted.entry(*place).or_default().names.insert(Arc::clone(name));
        }
        let mut add = |resource: ResourceName| {
            wanted.entry(Self::place(&resource.type_url)).or_default().names.insert(resource.name);
        };
        for listener in self.listeners.models() {
            references::of_listener(listener, by_name, &mut add);
        }
        for table in self.routes.models() {
            references::of_table(table, by_name, &mut add);
        }
        for host in self.virtual_hosts.models() {
            references::of_host(host, by_name, &mut add);
        }
        for cluster in self.clusters.models() {
            references::of_cluster(cluster, &mut add);
        }
        // A type that comes whole needs no names.
        for entry in wanted.values_mut().filter(|entry| entry.wildcard) {
            entry.names.clear();
        }
        wanted
    }

    /// A type's place in [`Stage::TYPES`]; the length for other types.
    pub fn place(type_url: &TypeUrl) -> usize {
        Self::TYPES.iter().position(|known| known == type_url).unwrap_or(Self::TYPES.len())
    }

    /// What is in force now.
    pub fn publish(&mut self, now: Duration) -> Arc<Snapshot> {
        let (routes, secrets, endpoints) = (&self.routes, &self.secrets, &self.endpoints);
        self.listeners.warm(now, |listener| {
            let mut ready = true;
            references::of_listener(listener, false, &mut |resource: ResourceName| {
                ready &= match resource.type_url {
                    TypeUrl::Route => routes.is_answered(&resource.name),
                    TypeUrl::Secret => secrets.is_answered(&resource.name),
                    _ => true,
                };
            });
            ready
        });
        self.clusters
            .warm(now, |cluster| cluster.eds_name().is_none_or(|name| endpoints.is_answered(name)));
        self.routes.warm(now, |_| true);
        self.virtual_hosts.warm(now, |_| true);
        self.endpoints.warm(now, |_| true);
        self.secrets.warm(now, |_| true);
        self.names.warm(now, |_| true);
        self.generation += 1;
        Arc::new(Snapshot {
            generation: self.generation,
            listeners: self.listeners.resources(),
            routes: self.routes.resources(),
            virtual_hosts: self.virtual_hosts.resources(),
            clusters: self.clusters.resources(),
            endpoints: self.weighted_endpoints(),
            secrets: self.secrets.resources(),
            name_table: self.name_table(),
            mesh: self.mesh.clone(),
        })
    }

    /// When the next resource stops waiting for what it refers to.
    pub fn next_timeout(&self) -> Option<Duration> {
        let times = [self.listeners.oldest_cold(), self.clusters.oldest_cold()];
        times.into_iter().flatten().min().map(|since| since + FETCH_TIMEOUT)
    }

    /// Whether localities are chosen by weight is the cluster's word, and the balancer reads it of
    /// the endpoints.
    fn weighted_endpoints(&self) -> Resources<EndpointSet> {
        let mut resources = self.endpoints.resources();
        for cluster in self.clusters.models().filter(|cluster| cluster.weighted_localities) {
            let Discovery::Eds { service_name } = &cluster.discovery else { continue };
            if let Some(set) = resources.held.get_mut(service_name) {
                Arc::make_mut(set).weighted_localities = true;
            }
        }
        resources
    }

    fn name_table(&self) -> Resources<crate::snapshot::NameEntry> {
        let parts = self.names.resources();
        let mut names = Resources { held: Default::default(), absent: parts.absent };
        for part in parts.held.values() {
            for (host, entry) in &part.names {
                names.held.insert(Arc::clone(host), Arc::clone(entry));
            }
        }
        names
    }
}

/// A resource as it came, compressed.
#[derive(Clone, Debug)]
pub struct PackedResource {
    /// Its name.
    pub name: Arc<str>,
    /// Names that were asked for and that it answers.
    pub aliases: Vec<Arc<str>>,
    /// Its version.
    pub version: Arc<str>,
    /// When it came, by the clock of [`Stage::apply`].
    pub last_updated: Duration,
    /// How well it is understood.
    pub grade: Grade,
    /// Whether it waits for what it refers to; the version before it is in force, if any.
    pub warming: bool,
    packed: Bytes,
}

impl PackedResource {
    /// The resource.
    pub fn unpack(&self) -> RawResource {
        let body = lz4_flex::decompress_size_prepended(&self.packed).unwrap_or_default();
        RawResource {
            name: Arc::clone(&self.name),
            aliases: self.aliases.clone(),
            version: Arc::clone(&self.version),
            body: Bytes::from(body),
            last_updated: self.last_updated,
            grade: self.grade,
        }
    }
}

/// A resource as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawResource {
    /// Its name.
    pub name: Arc<str>,
    /// Names that were asked for and that it answers.
    pub aliases: Vec<Arc<str>>,
    /// Its version.
    pub version: Arc<str>,
    /// The message.
    pub body: Bytes,
    /// When it came, by the clock of [`Stage::apply`].
    pub last_updated: Duration,
    /// How well it is understood.
    pub grade: Grade,
}

macro_rules! decoded {
    ($model:ty, $message:ty, $type_url:expr, $compile:path, $name:ident) => {
        impl Decoded for $model {
            const TYPE_URL: TypeUrl = $type_url;

            fn decode(upsert: &Upsert, notes: &mut Notes) -> Result<Self, compile::notes::Flaw> {
                let path = Path::ROOT;
                let message = <$message as prost::Message>::decode(upsert.body.clone())
                    .map_err(|error| path.flaw(error))?;
                // Virtual hosts are asked for by names that are not their own.
                if $type_url != TypeUrl::VirtualHost && *message.$name != *upsert.name {
                    let reason = format!("is not the resource's name, {:?}", upsert.name);
                    return Err(path.field(stringify!($name)).flaw(reason));
                }
                $compile(&message, &upsert.version, &path, notes)
            }
        }
    };
}

decoded!(
    Listener,
    mesh_api::envoy::listener::Listener,
    TypeUrl::Listener,
    compile::listener::listener,
    name
);
decoded!(
    RouteTable,
    mesh_api::envoy::route::RouteConfiguration,
    TypeUrl::Route,
    compile::route::table,
    name
);
decoded!(
    VirtualHost,
    mesh_api::envoy::route::VirtualHost,
    TypeUrl::VirtualHost,
    compile::route::virtual_host,
    name
);
decoded!(
    Cluster,
    mesh_api::envoy::cluster::Cluster,
    TypeUrl::Cluster,
    compile::cluster::cluster,
    name
);
decoded!(
    EndpointSet,
    mesh_api::envoy::endpoint::ClusterLoadAssignment,
    TypeUrl::Endpoint,
    compile::endpoint::assignment,
    cluster_name
);
decoded!(
    Secret,
    mesh_api::envoy::transport_socket::tls::Secret,
    TypeUrl::Secret,
    compile::secret::secret,
    name
);

impl Decoded for NamePart {
    const TYPE_URL: TypeUrl = TypeUrl::NameTable;

    fn decode(upsert: &Upsert, notes: &mut Notes) -> Result<Self, compile::notes::Flaw> {
        let path = Path::ROOT;
        let message =
            <mesh_api::istio::nds::NameTable as prost::Message>::decode(upsert.body.clone())
                .map_err(|error| path.flaw(error))?;
        Ok(Self { names: compile::name_table::names(&message, &path, notes) })
    }
}
