//! Configurations by policy, kept until a secret they were made of changes.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_rt::identity::LiveIdentity;
use parking_lot::Mutex;
use proxy_model::lookup::Lookup;
use proxy_model::tls::{DownstreamTls, UpstreamTls};
use rustls::{ClientConfig, ServerConfig};
use tokio::time::Instant;

use super::material::{Reader, Secrets, modified};
use super::{TlsFailure, config};

/// How often the files of a configuration are looked at.
const LOOK_AT_FILES: Duration = Duration::from_secs(5);
/// Policies kept; past it, all are made again.
const MAX_POLICIES: usize = 4096;

/// All configurations of this process. Shared by the workers; asked once per handshake.
pub struct Keystore {
    live: LiveIdentity,
    secrets: Arc<dyn Secrets>,
    servers: Mutex<HashMap<u64, Entry<ServerConfig>>>,
    clients: Mutex<HashMap<ClientKey, Entry<ClientConfig>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    hash: u64,
    alpn: Option<Arc<[Arc<str>]>>,
}

struct Entry<C> {
    config: Arc<C>,
    /// What it was made of: a change makes it stale.
    generation: u64,
    versions: Vec<(Arc<str>, Arc<str>)>,
    files: Vec<(PathBuf, Option<SystemTime>)>,
    looked: Instant,
}

impl Keystore {
    /// Configurations over the workload's identity and the secrets that pilot sends.
    pub fn new(live: LiveIdentity, secrets: Arc<dyn Secrets>) -> Self {
        Self { live, secrets, servers: Mutex::default(), clients: Mutex::default() }
    }

    /// The workload's identity.
    pub fn live(&self) -> &LiveIdentity {
        &self.live
    }

    /// The configuration of a filter chain's TLS.
    ///
    /// # Errors
    /// When a secret is missing or bad, or the policy cannot be carried out.
    pub fn server(&self, tls: &DownstreamTls) -> Result<Arc<ServerConfig>, TlsFailure> {
        self.entry(&self.servers, tls.policy_hash, |reader| config::server(tls, reader))
    }

    /// The configuration of a cluster's TLS, with the ALPN of `alpn` instead of its own if given.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub fn client(
        &self,
        tls: &UpstreamTls,
        alpn: Option<&Arc<[Arc<str>]>>,
    ) -> Result<Arc<ClientConfig>, TlsFailure> {
        let protocols = alpn.map_or(&tls.alpn[..], |alpn| alpn);
        let key = ClientKey { hash: tls.hash, alpn: alpn.cloned() };
        self.entry(&self.clients, key, |reader| config::client(tls, protocols, reader))
    }

    fn entry<K: Hash + Eq, C>(
        &self,
        entries: &Mutex<HashMap<K, Entry<C>>>,
        key: K,
        make: impl FnOnce(&mut Reader<'_>) -> Result<C, TlsFailure>,
    ) -> Result<Arc<C>, TlsFailure> {
        let generation = self.live.generation();
        let mut entries = entries.lock();
        if let Some(entry) = entries.get_mut(&key)
            && self.is_fresh(entry, generation)
        {
            return Ok(entry.config.clone());
        }
        let mut reader = Reader {
            live: &self.live,
            secrets: &*self.secrets,
            files: Vec::new(),
            versions: Vec::new(),
        };
        let config = Arc::new(make(&mut reader)?);
        let entry = Entry {
            config: config.clone(),
            generation,
            versions: reader.versions,
            files: reader.files,
            looked: Instant::now(),
        };
        if entries.len() >= MAX_POLICIES {
            entries.clear();
        }
        entries.insert(key, entry);
        Ok(config)
    }

    fn is_fresh<C>(&self, entry: &mut Entry<C>, generation: u64) -> bool {
        let same = |(name, version): &(Arc<str>, Arc<str>)| {
            // A secret that pilot took back, or has not sent again yet, stays in force.
            match self.secrets.secret(name) {
                Lookup::Found(secret) => secret.version == *version,
                Lookup::Absent => false,
                Lookup::Unknown(_) => true,
            }
        };
        if entry.generation != generation || !entry.versions.iter().all(same) {
            return false;
        }
        if entry.files.is_empty() || entry.looked.elapsed() < LOOK_AT_FILES {
            return true;
        }
        entry.looked = Instant::now();
        entry.files.iter().all(|(path, time)| modified(path) == *time)
    }
}
