//! The volumes of one pod on disk: made before its containers, kept up to date while it runs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest as ApiTokenRequest, TokenRequestSpec,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::kubelet::field::Facts;
use crate::kubelet::pod as pods;
use crate::kubelet::sources::Sources;
use crate::kubelet::state::later;
use crate::kubelet::volume::atomic::{self, Ownership};
use crate::kubelet::volume::{
    self, Content, Payload, TokenRequest, Tokens, VolumeError, content, token_requests,
};
use crate::sandbox::spec::MemoryDir;

/// A token is replaced when this share of its life is over.
const REFRESH_PERCENT: u64 = 80;

/// A token is replaced at the latest after this time.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What a pod with a hostPath volume is told where they are not allowed.
const HOST_PATH_REFUSED: &str = "hostPath volumes are not allowed in this cluster: pods are \
    processes of this machine. Start the cluster with host paths allowed (read-only) if you trust \
    its pods";

/// What volumes are made from.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Asked for tokens.
    pub client: &'a Client,
    /// Asked for ConfigMaps and Secrets.
    pub sources: &'a Sources,
    /// The downward API's answers.
    pub facts: &'a Facts,
    /// Whether hostPath volumes are allowed (read-only).
    pub allow_host_path: bool,
}

/// A token and when to replace it.
#[derive(Clone, Debug)]
struct Issued {
    text: String,
    refresh_at: Timestamp,
}

/// The volumes of a pod.
#[derive(Debug)]
pub struct PodVolumes {
    dir: PathBuf,
    written: BTreeMap<String, Payload>,
    tokens: BTreeMap<TokenRequest, Issued>,
    generation: u64,
}

impl PodVolumes {
    /// Volumes below `dir`, none made yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, written: BTreeMap::new(), tokens: BTreeMap::new(), generation: 0 }
    }

    /// Makes what is missing and replaces what has changed. The error names the volume, as the
    /// `FailedMount` event shows it.
    pub async fn sync(
        &mut self,
        pod: &Pod,
        around: Surroundings<'_>,
        now: Timestamp,
    ) -> Result<(), String> {
        let tokens = self.tokens(pod, around, now).await;
        let references = volume::references(pod);
        let objects = around.sources.objects(pods::namespace(pod), &references).await;
        for wanted in pods::spec(pod).volumes.iter().flatten() {
            let failed = |err: VolumeError| {
                format!("MountVolume.SetUp failed for volume \"{}\" : {err}", wanted.name)
            };
            let objects = objects.as_ref().map_err(|err| {
                let what = "its ConfigMaps and Secrets".to_owned();
                failed(VolumeError::Api { what, cause: err.to_string() })
            })?;
            let tokens = match &tokens {
                Ok(tokens) => tokens,
                Err(err) if wanted.projected.is_some() => return Err(failed(err.clone())),
                Err(_) => &Tokens::new(),
            };
            let made = content(pod, wanted, objects, tokens, around.facts).map_err(failed)?;
            if matches!(made, Content::Host(_)) && !around.allow_host_path {
                return Err(failed(VolumeError::Unsupported(HOST_PATH_REFUSED.to_owned())));
            }
            self.write(pod, &wanted.name, made, now).map_err(failed)?;
        }
        Ok(())
    }

    /// When the next token is due.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.tokens.values().map(|issued| issued.refresh_at).min()
    }

    /// The volumes the pod's PID 1 has to mount as memory.
    pub fn memory_dirs(&self, pod: &Pod) -> Vec<MemoryDir> {
        let none = (crate::kubelet::env::Objects::default(), Tokens::new(), Facts::default());
        pods::spec(pod)
            .volumes
            .iter()
            .flatten()
            .filter(|volume| volume.empty_dir.is_some())
            .filter_map(|volume| match content(pod, volume, &none.0, &none.1, &none.2) {
                Ok(Content::Scratch { memory_bytes: Some(size_bytes) }) => {
                    Some(MemoryDir { path: self.dir.join(&volume.name), size_bytes })
                }
                _ => None,
            })
            .collect()
    }

    fn write(
        &mut self,
        pod: &Pod,
        name: &str,
        made: Content,
        now: Timestamp,
    ) -> Result<(), VolumeError> {
        let dir = self.dir.join(name);
        let disk = |step: &str, err: std::io::Error| VolumeError::Disk {
            step: format!("{step} {}", dir.display()),
            cause: err.to_string(),
        };
        match made {
            Content::Host(_) => Ok(()),
            Content::Scratch { .. } => {
                if !dir.exists() {
                    std::fs::create_dir_all(&dir).map_err(|err| disk("create", err))?;
                    open_to_all(&dir, fs_group(pod)).map_err(|err| disk("open", err))?;
                }
                Ok(())
            }
            Content::Files(payload) => {
                if self.written.get(name) == Some(&payload) {
                    return Ok(());
                }
                std::fs::create_dir_all(&dir).map_err(|err| disk("create", err))?;
                let readable = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&dir, readable).map_err(|err| disk("open", err))?;
                self.generation += 1;
                let stamp = format!("{}_{}", now.as_millisecond(), self.generation);
                let ownership = Ownership { uid: None, gid: fs_group(pod) };
                atomic::replace(&dir, &payload, &stamp, ownership)
                    .map_err(|err| disk("write", err))?;
                self.written.insert(name.to_owned(), payload);
                Ok(())
            }
        }
    }

    /// The tokens the pod needs: those that are still good, and new ones.
    async fn tokens(
        &mut self,
        pod: &Pod,
        around: Surroundings<'_>,
        now: Timestamp,
    ) -> Result<Tokens, VolumeError> {
        for request in token_requests(pod) {
            let good = self.tokens.get(&request).is_some_and(|issued| issued.refresh_at > now);
            if good {
                continue;
            }
            match issue(around.client, pod, &request, now).await {
                Ok(issued) => {
                    self.tokens.insert(request, issued);
                }
                // The old one may still be good for a while; the next try is soon.
                Err(err) => match self.tokens.get_mut(&request) {
                    Some(issued) => issued.refresh_at = later(now, Duration::from_secs(30)),
                    None => return Err(err),
                },
            }
        }
        Ok(self.tokens.iter().map(|(k, issued)| (k.clone(), issued.text.clone())).collect())
    }
}

/// Where a volume below `dir` is on the host, and whether it is the host's own, so only readable.
pub fn location(pod: &Pod, dir: &Path, name: &str) -> (PathBuf, bool) {
    let volume = pods::spec(pod).volumes.iter().flatten().find(|volume| volume.name == name);
    match volume.and_then(|volume| volume.host_path.as_ref()) {
        Some(host) => (PathBuf::from(&host.path), true),
        None => (dir.join(name), false),
    }
}

/// Asks for a token bound to the pod.
async fn issue(
    client: &Client,
    pod: &Pod,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Issued, VolumeError> {
    let account = pods::spec(pod).service_account_name.as_deref().unwrap_or("default");
    let body = ApiTokenRequest {
        spec: TokenRequestSpec {
            audiences: request.audience.iter().cloned().collect(),
            expiration_seconds: Some(request.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..ApiTokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), pods::namespace(pod));
    let answer = api
        .create_token_request(account, &PostParams::default(), &body)
        .await
        .map_err(|err| VolumeError::Token(err.to_string()))?;
    let status =
        answer.status.ok_or_else(|| VolumeError::Token("the answer holds no token".to_owned()))?;
    let life = Duration::try_from(status.expiration_timestamp.0.duration_since(now))
        .unwrap_or(Duration::ZERO);
    let good_for = (life * u32::try_from(REFRESH_PERCENT).unwrap_or(80) / 100).min(LONGEST_LIFE);
    Ok(Issued { text: status.token, refresh_at: later(now, good_for) })
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pods::spec(pod).security_context.as_ref()?;
    context.fs_group.and_then(|group| u32::try_from(group).ok())
}

/// Lets any user of the pod write; with a group, that group's files stay the group's. The group
/// may not exist in a user namespace, which then costs nothing: everybody can write.
fn open_to_all(dir: &Path, group: Option<u32>) -> std::io::Result<()> {
    let mut mode = 0o777;
    if let Some(group) = group
        && std::os::unix::fs::chown(dir, None, Some(group)).is_ok()
    {
        mode |= 0o2000;
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}
