//! The last good configuration on disk, for a start while pilot is away. Secrets are not written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::type_url::TypeUrl;
use prost::Message;
use proxy_model::lookup::ResourceName;
use proxy_model::stage::{Stage, Upsert};

/// Bytes of the file, and of what is in it, at most.
const MAX_FILE: u64 = 64 << 20;
const MAX_CONTENT: usize = 256 << 20;

/// Why the copy cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file.
    #[error("{path}: {source}; remove the file if it stays so")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content is not a copy.
    #[error("{path}: not a copy of configuration: {reason}; it is left out")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A copy of the configuration.
#[derive(Clone, PartialEq, Message)]
pub struct Copy {
    /// Whose configuration it is.
    #[prost(string, tag = "1")]
    pub node: String,
    /// What the server said of itself.
    #[prost(string, tag = "2")]
    pub identifier: String,
    #[prost(message, repeated, tag = "3")]
    resources: Vec<Held>,
    #[prost(message, repeated, tag = "4")]
    asked: Vec<Held>,
}

/// A resource, or a name that was asked for.
#[derive(Clone, PartialEq, Message)]
struct Held {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(string, repeated, tag = "4")]
    aliases: Vec<String>,
    #[prost(bytes = "bytes", tag = "5")]
    body: Bytes,
}

impl Copy {
    /// A copy of what is held. `asked` are the names that traffic asked for.
    pub fn of(
        node: &str,
        identifier: String,
        stage: &Stage,
        asked: impl IntoIterator<Item = (usize, Arc<str>)>,
    ) -> Self {
        let mut resources = Vec::new();
        // Keys stay in memory.
        for type_url in Stage::TYPES.iter().filter(|ty| **ty != TypeUrl::Secret) {
            resources.extend(stage.raw(type_url).into_iter().map(|raw| Held {
                type_url: type_url.as_str().to_owned(),
                name: raw.name.to_string(),
                version: raw.version.to_string(),
                aliases: raw.aliases.iter().map(ToString::to_string).collect(),
                body: raw.body,
            }));
        }
        let asked = asked.into_iter().filter_map(|(place, name)| {
            let type_url = Stage::TYPES.get(place)?.as_str().to_owned();
            Some(Held { type_url, name: name.to_string(), ..Held::default() })
        });
        Self { node: node.to_owned(), identifier, resources, asked: asked.collect() }
    }

    /// The resources, by type.
    pub fn upserts(&self) -> Vec<(TypeUrl, Vec<Upsert>)> {
        let of = |type_url: &TypeUrl| {
            let held = self.resources.iter().filter(|held| held.type_url == type_url.as_str());
            let upserts = held.map(|held| Upsert {
                name: held.name.as_str().into(),
                version: held.version.as_str().into(),
                aliases: held.aliases.iter().map(|alias| alias.as_str().into()).collect(),
                body: held.body.clone(),
            });
            (type_url.clone(), upserts.collect())
        };
        Stage::TYPES.iter().map(of).collect()
    }

    /// The names that traffic asked for.
    pub fn asked(&self) -> impl Iterator<Item = ResourceName> {
        self.asked.iter().filter_map(|held| {
            let type_url = TypeUrl::parse(&held.type_url).ok()?;
            Some(ResourceName::new(type_url, held.name.as_str()))
        })
    }
}

/// Where the copy is.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// The copy in a directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { path: directory.join("config.bin") }
    }

    /// Reads the copy; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not a copy.
    pub fn load(&self) -> Result<Option<Copy>, DiskError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| self.failed(source))?,
        };
        let mut packed = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut packed).map_err(|source| self.failed(source))?;
        let wrong = |reason: String| DiskError::Content { path: self.path.clone(), reason };
        let length = packed.first_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size));
        if packed.len() as u64 > MAX_FILE || usize::try_from(length).is_ok_and(|n| n > MAX_CONTENT)
        {
            return Err(wrong("it is too large".to_owned()));
        }
        let content = lz4_flex::decompress_size_prepended(&packed)
            .map_err(|error| wrong(error.to_string()))?;
        let copy = Copy::decode(content.as_slice()).map_err(|error| wrong(error.to_string()))?;
        Ok(Some(copy))
    }

    /// Replaces the copy: readers see the old one or the new one, and nobody else reads either.
    ///
    /// # Errors
    /// When the file cannot be written, or the copy is too large.
    pub fn save(&self, copy: &Copy) -> Result<(), DiskError> {
        let packed = lz4_flex::compress_prepend_size(&copy.encode_to_vec());
        if packed.len() as u64 > MAX_FILE {
            let reason = format!("it would have more than {MAX_FILE} bytes");
            return Err(DiskError::Content { path: self.path.clone(), reason });
        }
        let next = self.path.with_extension("next");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)
            .and_then(|mut file| file.write_all(&packed))
            .and_then(|()| std::fs::rename(&next, &self.path));
        written.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> DiskError {
        DiskError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use mesh_api::envoy::cluster::Cluster;

    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::default();
        let cluster = Cluster { name: "c".to_owned(), ..Cluster::default() };
        let upsert = Upsert {
            name: "c".into(),
            version: "7".into(),
            aliases: vec!["asked".into()],
            body: cluster.encode_to_vec().into(),
        };
        stage.apply(&TypeUrl::Cluster, vec![upsert], &[], Duration::ZERO);
        stage
    }

    #[test]
    fn what_is_saved_is_read_and_only_the_owner_may() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path().to_owned());
        assert_eq!(disk.load().unwrap(), None);
        let asked = [(0, Arc::from("asked"))];
        let copy = Copy::of("node", "{}".to_owned(), &stage(), asked);
        disk.save(&copy).unwrap();
        disk.save(&copy).unwrap();
        let read = disk.load().unwrap().unwrap();
        assert_eq!(read, copy);
        assert_eq!(read.asked().next().unwrap().to_string(), "CDS asked");
        let (_, clusters) = &read.upserts()[0];
        assert_eq!((&*clusters[0].version, &*clusters[0].aliases[0]), ("7", "asked"));
        let mode = std::fs::metadata(&disk.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn anything_else_is_no_copy() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path().to_owned());
        for bytes in [&b""[..], b"x", b"\xff\xff\xff\xff1234", b"\x05\0\0\0hello"] {
            std::fs::write(&disk.path, bytes).unwrap();
            assert!(matches!(disk.load(), Err(DiskError::Content { .. })), "{bytes:?}");
        }
    }
}
