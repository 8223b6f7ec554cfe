//! What a pod's volumes hold: the files of configMap, secret, projected and downward API volumes,
//! computed from the objects they refer to. Pure; [`atomic`] writes them, [`mount`] keeps them.

pub mod atomic;
pub mod mount;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection,
    Volume, VolumeProjection,
};

use crate::kubelet::env::{Objects, References};
use crate::kubelet::field::{self, Facts, FieldError};
use crate::kubelet::pod as pods;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// The files of a volume by relative path.
pub type Payload = BTreeMap<String, File>;

/// A service account token a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// The audience; the API server's own when absent.
    pub audience: Option<String>,
    /// Wanted life in seconds.
    pub expiration_seconds: i64,
}

/// Tokens that have been issued, by request.
pub type Tokens = BTreeMap<TokenRequest, String>;

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory the containers write.
    Scratch {
        /// Held in memory, up to this many bytes.
        memory_bytes: Option<u64>,
    },
    /// Files computed from objects.
    Files(Payload),
    /// A directory or file of the host, read-only.
    Host(std::path::PathBuf),
}

/// Why a volume cannot be had; shown in a `FailedMount` event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// A required object is absent.
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An `items` key is absent.
    #[error("references non-existent {kind} key: {key}")]
    NoKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A path leaves the volume.
    #[error("invalid path {0:?}: it must be relative and must not contain '..'")]
    Path(String),
    /// A downward API reference is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The pod asks for a kind of volume this cluster does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The API server did not give a token.
    #[error("service account token: {0}")]
    Token(String),
    /// The API server did not answer.
    #[error("reading {what} failed: {cause}")]
    Api {
        /// What was read.
        what: String,
        /// The answer.
        cause: String,
    },
    /// The node's disk.
    #[error("{step}: {cause}")]
    Disk {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        cause: String,
    },
}

/// Memory a `medium: Memory` volume without a limit may hold.
const MEMORY_DEFAULT_BYTES: u64 = 256 << 20;

/// The objects the volumes of `pod` refer to.
pub fn references(pod: &Pod) -> References {
    let mut found = References::default();
    for volume in pods::spec(pod).volumes.iter().flatten() {
        found.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        found.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        for source in projections(volume) {
            found.config_maps.extend(source.config_map.iter().map(|map| map.name.clone()));
            found.secrets.extend(source.secret.iter().map(|secret| secret.name.clone()));
        }
    }
    found
}

/// The tokens the volumes of `pod` need.
pub fn token_requests(pod: &Pod) -> BTreeSet<TokenRequest> {
    let volumes = pods::spec(pod).volumes.iter().flatten();
    volumes
        .flat_map(projections)
        .filter_map(|source| source.service_account_token.as_ref())
        .map(token_request)
        .collect()
}

fn token_request(source: &ServiceAccountTokenProjection) -> TokenRequest {
    TokenRequest {
        audience: source.audience.clone().filter(|audience| !audience.is_empty()),
        expiration_seconds: source.expiration_seconds.unwrap_or(3600),
    }
}

fn projections(volume: &Volume) -> impl Iterator<Item = &VolumeProjection> {
    volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten())
}

/// What `volume` holds.
pub fn content(
    pod: &Pod,
    volume: &Volume,
    objects: &Objects,
    tokens: &Tokens,
    facts: &Facts,
) -> Result<Content, VolumeError> {
    let maker = Maker { pod, objects, tokens, facts };
    if let Some(source) = &volume.empty_dir {
        let limit = source.size_limit.as_ref();
        let limit = limit.and_then(|text| local_model::quantity::Quantity::parse(&text.0).ok());
        let bytes = limit.and_then(|limit| u64::try_from(limit.units()).ok()).filter(|b| *b > 0);
        let memory = source.medium.as_deref() == Some("Memory");
        let memory_bytes = memory.then_some(bytes.unwrap_or(MEMORY_DEFAULT_BYTES));
        return Ok(Content::Scratch { memory_bytes });
    }
    let mut files = Payload::new();
    if let Some(source) = &volume.config_map {
        let mode = mode_or(source.default_mode, 0o644);
        let shown = Shown::new(source.items.as_ref(), source.optional, mode);
        maker.config_map(&mut files, &source.name, shown)?;
    } else if let Some(source) = &volume.secret {
        let mode = mode_or(source.default_mode, 0o644);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let shown = Shown::new(source.items.as_ref(), source.optional, mode);
        maker.secret(&mut files, name, shown)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = mode_or(source.default_mode, 0o644);
        maker.downward(&mut files, source.items.as_deref().unwrap_or_default(), mode)?;
    } else if let Some(projected) = &volume.projected {
        let mode = mode_or(projected.default_mode, 0o644);
        for source in projected.sources.iter().flatten() {
            maker.projection(&mut files, source, mode)?;
        }
    } else if let Some(source) = &volume.host_path {
        return Ok(Content::Host(std::path::PathBuf::from(&source.path)));
    } else {
        return Err(VolumeError::Unsupported(
            "this cluster has emptyDir, configMap, secret, projected, downwardAPI and (where \
             allowed) hostPath volumes; use one of these"
                .to_owned(),
        ));
    }
    Ok(Content::Files(files))
}

/// How an object's entries are shown.
#[derive(Clone, Copy, Debug)]
struct Shown<'a> {
    items: Option<&'a [KeyToPath]>,
    optional: bool,
    mode: u32,
}

impl<'a> Shown<'a> {
    fn new(items: Option<&'a Vec<KeyToPath>>, optional: Option<bool>, mode: u32) -> Self {
        let items = items.map(Vec::as_slice).filter(|items| !items.is_empty());
        Self { items, optional: optional == Some(true), mode }
    }
}

/// All that files are made from.
struct Maker<'a> {
    pod: &'a Pod,
    objects: &'a Objects,
    tokens: &'a Tokens,
    facts: &'a Facts,
}

impl Maker<'_> {
    fn projection(
        &self,
        files: &mut Payload,
        source: &VolumeProjection,
        mode: u32,
    ) -> Result<(), VolumeError> {
        if let Some(map) = &source.config_map {
            let shown = Shown::new(map.items.as_ref(), map.optional, mode);
            self.config_map(files, &map.name, shown)?;
        }
        if let Some(secret) = &source.secret {
            let shown = Shown::new(secret.items.as_ref(), secret.optional, mode);
            self.secret(files, &secret.name, shown)?;
        }
        if let Some(downward) = &source.downward_api {
            self.downward(files, downward.items.as_deref().unwrap_or_default(), mode)?;
        }
        if let Some(token) = &source.service_account_token {
            let text = self
                .tokens
                .get(&token_request(token))
                .ok_or_else(|| VolumeError::Token("it has not been issued".to_owned()))?;
            insert(files, &token.path, text.clone().into_bytes(), mode)?;
        }
        if source.cluster_trust_bundle.is_some() {
            return Err(VolumeError::Unsupported(
                "clusterTrustBundle projections are not offered by this cluster".to_owned(),
            ));
        }
        Ok(())
    }

    fn config_map(
        &self,
        files: &mut Payload,
        name: &str,
        shown: Shown<'_>,
    ) -> Result<(), VolumeError> {
        match self.objects.config_maps.get(name) {
            Some(map) => place(files, "config", config_data(map), shown),
            None if shown.optional => Ok(()),
            None => Err(VolumeError::NoObject { kind: "configmap", name: name.to_owned() }),
        }
    }

    fn secret(&self, files: &mut Payload, name: &str, shown: Shown<'_>) -> Result<(), VolumeError> {
        match self.objects.secrets.get(name) {
            Some(secret) => place(files, "secret", secret_data(secret), shown),
            None if shown.optional => Ok(()),
            None => Err(VolumeError::NoObject { kind: "secret", name: name.to_owned() }),
        }
    }

    fn downward(
        &self,
        files: &mut Payload,
        items: &[DownwardAPIVolumeFile],
        mode: u32,
    ) -> Result<(), VolumeError> {
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => field::value(self.pod, self.facts, &field.field_path)?,
                (None, Some(selector)) => field::resource(self.pod, None, selector, self.facts)?,
                (None, None) => String::new(),
            };
            insert(files, &item.path, text.into_bytes(), mode_or(item.mode, mode))?;
        }
        Ok(())
    }
}

/// Puts an object's entries into the volume: all of them, or the `items`.
fn place(
    files: &mut Payload,
    kind: &'static str,
    data: BTreeMap<String, Vec<u8>>,
    shown: Shown<'_>,
) -> Result<(), VolumeError> {
    let Shown { items, optional, mode } = shown;
    let Some(items) = items else {
        for (key, value) in data {
            insert(files, &key, value, mode)?;
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => insert(files, &item.path, value.clone(), mode_or(item.mode, mode))?,
            None if optional => {}
            None => return Err(VolumeError::NoKey { kind, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn insert(files: &mut Payload, path: &str, data: Vec<u8>, mode: u32) -> Result<(), VolumeError> {
    let sound = !path.is_empty()
        && !path.starts_with('/')
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.starts_with("..");
    if !sound {
        return Err(VolumeError::Path(path.to_owned()));
    }
    files.insert(path.to_owned(), File { data, mode });
    Ok(())
}

fn config_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

fn mode_or(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).map_or(default, |mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(volume: Value) -> Result<Content, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}},
        }))
        .expect("a pod");
        let map: ConfigMap = serde_json::from_value(
            json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "/w=="}}),
        )
        .expect("a map");
        let secret: Secret =
            serde_json::from_value(json!({"data": {"k": "dg=="}})).expect("a secret");
        let objects = Objects {
            config_maps: BTreeMap::from([("cm".to_owned(), map)]),
            secrets: BTreeMap::from([("s".to_owned(), secret)]),
            services: Vec::new(),
        };
        let request = TokenRequest { audience: None, expiration_seconds: 3607 };
        let tokens = Tokens::from([(request, "jwt".to_owned())]);
        let mut volume = volume;
        volume["name"] = json!("v");
        let volume: Volume = serde_json::from_value(volume).expect("a volume");
        content(&pod, &volume, &objects, &tokens, &Facts::default()).map_err(|e| e.to_string())
    }

    /// Path, content and mode of each file.
    fn files(volume: Value) -> Vec<(String, String, u32)> {
        match made(volume) {
            Ok(Content::Files(files)) => files
                .into_iter()
                .map(|(path, f)| (path, String::from_utf8_lossy(&f.data).into_owned(), f.mode))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn file(path: &str, data: &str, mode: u32) -> (String, String, u32) {
        (path.to_owned(), data.to_owned(), mode)
    }

    #[test]
    fn objects_become_files() {
        assert_eq!(
            files(json!({"configMap": {"name": "cm", "defaultMode": 256}})),
            [file("a", "1", 0o400), file("b", "2", 0o400), file("c", "\u{fffd}", 0o400)]
        );
        assert_eq!(
            files(json!({"configMap": {"name": "cm",
                "items": [{"key": "a", "path": "dir/x", "mode": 448}]}})),
            [file("dir/x", "1", 0o700)]
        );
        assert_eq!(files(json!({"secret": {"secretName": "s"}})), [file("k", "v", 0o644)]);
        assert_eq!(files(json!({"secret": {"secretName": "none", "optional": true}})), []);
    }

    #[test]
    fn projections_join() {
        let volume = json!({"projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]}});
        assert_eq!(
            files(volume),
            [
                file("ca.crt", "1", 0o644),
                file("labels", "app=\"x\"", 0o644),
                file("namespace", "n", 0o644),
                file("token", "jwt", 0o644),
            ]
        );
    }

    #[test]
    fn refusals() {
        for (volume, message) in [
            (json!({"configMap": {"name": "x"}}), "configmap \"x\" not found"),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}),
                "references non-existent config key: z",
            ),
            (
                json!({"configMap": {"name": "cm", "items": [{"key": "a", "path": "../z"}]}}),
                "invalid path \"../z\": it must be relative and must not contain '..'",
            ),
        ] {
            assert_eq!(made(volume), Err(message.to_owned()));
        }
        assert!(made(json!({"nfs": {"path": "/", "server": "x"}})).is_err());
        let memory = json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
        assert_eq!(made(memory), Ok(Content::Scratch { memory_bytes: Some(1 << 20) }));
    }
}
