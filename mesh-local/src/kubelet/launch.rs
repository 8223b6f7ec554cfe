//! From a container's specification to what the sandbox runs: command line, user, mounts. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};

use crate::kubelet::env::expand;
use crate::kubelet::image::{Image, PROGRAM_DIR};
use crate::kubelet::pod::{self as pods, full_name};
use crate::kubelet::qos;
use crate::kubelet::volume::mount::location;
use crate::sandbox::capabilities;
use crate::sandbox::spec::{ContainerSpec, Mount, ProcessSpec};

/// The search path of containers that set none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container may write outside its volumes.
const ROOT_BYTES: u64 = 512 << 20;

/// Where things of one pod are on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDirs {
    base: PathBuf,
}

impl PodDirs {
    /// The directories of the pod below `pods`.
    pub fn new(pods: &Path, uid: &str) -> Self {
        Self { base: pods.join(uid) }
    }

    /// The pod's directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Its volumes.
    pub fn volumes(&self) -> PathBuf {
        self.base.join("volumes")
    }

    /// Generated files of `/etc`.
    pub fn etc(&self) -> PathBuf {
        self.base.join("etc")
    }

    /// What becomes `/dev/shm`.
    pub fn shm(&self) -> PathBuf {
        self.base.join("shm")
    }

    /// Pipes of containers and commands.
    pub fn io(&self) -> PathBuf {
        self.base.join("io")
    }

    /// Mount points of roots, one for each run.
    pub fn roots(&self) -> PathBuf {
        self.base.join("roots")
    }

    /// Termination messages, one file for each run.
    pub fn termination(&self) -> PathBuf {
        self.base.join("termination")
    }
}

/// Why a container cannot be run as specified: `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// `runAsNonRoot` with an image whose user is root.
    #[error(
        "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})"
    )]
    ImageIsRoot {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// `runAsNonRoot` with `runAsUser: 0`.
    #[error(
        "container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})"
    )]
    UserIsRoot {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// A user or group id that Linux does not have.
    #[error("{field}: {value} is not a Linux id")]
    Id {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
}

/// All that the sandbox's view of a container is made from.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// What its image stands for.
    pub image: &'a Image,
    /// Its environment.
    pub env: &'a BTreeMap<String, String>,
    /// The pod's directories.
    pub dirs: &'a PodDirs,
    /// The node's memory, for the out-of-memory score.
    pub node_memory_bytes: u64,
}

impl Launch<'_> {
    /// The container for the sandbox; `run` names the files of this run.
    pub fn spec(&self, run: &str) -> Result<ContainerSpec, LaunchError> {
        let context = self.container.security_context.clone().unwrap_or_default();
        let pod_context = pods::spec(self.pod).security_context.clone().unwrap_or_default();
        let (uid, gid, groups) = self.ids(&context, &pod_context)?;
        let privileged = context.privileged == Some(true);
        let listed = context.capabilities.clone().unwrap_or_default();
        let capabilities = if privileged {
            None
        } else {
            let (add, drop) = (listed.add.unwrap_or_default(), listed.drop.unwrap_or_default());
            capabilities::effective(&add, &drop)
        };
        let class = qos::class(pods::spec(self.pod));
        let cwd = self.container.working_dir.as_ref().filter(|dir| !dir.is_empty());
        Ok(ContainerSpec {
            root_dir: self.dirs.roots().join(run),
            read_only_root: context.read_only_root_filesystem == Some(true),
            root_size_bytes: ROOT_BYTES,
            privileged,
            mounts: self.mounts(run),
            shm_dir: Some(self.dirs.shm()),
            process: ProcessSpec {
                argv: self.argv(),
                env: self.environment(uid),
                cwd: cwd.map_or_else(|| self.image.workdir.clone(), PathBuf::from),
                uid,
                gid,
                groups,
                no_new_privileges: context.allow_privilege_escalation == Some(false),
                capabilities,
                oom_score_adj: class.oom_score(self.container, self.node_memory_bytes),
                terminal: None,
                stdin: None,
                stdout: Some(self.dirs.io().join(format!("{run}.out"))),
                stderr: Some(self.dirs.io().join(format!("{run}.err"))),
            },
        })
    }

    /// Command and arguments: the container's command replaces program and arguments of the
    /// image, its arguments replace the image's.
    fn argv(&self) -> Vec<String> {
        let own = |list: &Option<Vec<String>>| {
            list.as_ref()
                .filter(|list| !list.is_empty())
                .map(|list| list.iter().map(|text| expand(text, self.env)).collect::<Vec<_>>())
        };
        let command = own(&self.container.command);
        let args = own(&self.container.args);
        let image_args = || if command.is_none() { self.image.args.clone() } else { Vec::new() };
        let args = args.unwrap_or_else(image_args);
        command.unwrap_or_else(|| self.image.entrypoint.clone()).into_iter().chain(args).collect()
    }

    /// The whole environment: what a runtime adds, then the container's.
    fn environment(&self, uid: u32) -> Vec<(String, String)> {
        let home = if uid == 0 { "/root" } else { "/" };
        // The image's own program is found by its name, as in an image with one in its path.
        let own = self.image.binary.as_ref().map(|_| format!(":{PROGRAM_DIR}")).unwrap_or_default();
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), format!("{DEFAULT_PATH}{own}")),
            ("HOSTNAME".to_owned(), pods::hostname(self.pod)),
            ("HOME".to_owned(), home.to_owned()),
        ]);
        env.extend(self.env.clone());
        env.into_iter().collect()
    }

    fn ids(
        &self,
        context: &SecurityContext,
        pod_context: &PodSecurityContext,
    ) -> Result<(u32, u32, Vec<u32>), LaunchError> {
        let id = |field: &'static str, value: i64| {
            u32::try_from(value).map_err(|_| LaunchError::Id { field, value })
        };
        let asked = context.run_as_user.or(pod_context.run_as_user);
        let uid = match asked {
            Some(user) => id("runAsUser", user)?,
            None => self.image.user,
        };
        let non_root = context.run_as_non_root.or(pod_context.run_as_non_root) == Some(true);
        if non_root && uid == 0 {
            let (pod, container) = (full_name(self.pod), self.container.name.clone());
            return Err(match asked {
                Some(_) => LaunchError::UserIsRoot { pod, container },
                None => LaunchError::ImageIsRoot { pod, container },
            });
        }
        let gid = match context.run_as_group.or(pod_context.run_as_group) {
            Some(group) => id("runAsGroup", group)?,
            None if asked.is_none() => self.image.user,
            None => 0,
        };
        let listed = pod_context.supplemental_groups.iter().flatten().copied();
        let groups = listed
            .chain(pod_context.fs_group)
            .map(|group| id("supplementalGroups", group))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((uid, gid, groups))
    }

    fn mounts(&self, run: &str) -> Vec<Mount> {
        let mount = |source: PathBuf, target: &str, read_only: bool| Mount {
            source,
            sub_path: None,
            target: PathBuf::from(target),
            read_only,
        };
        let etc = self.dirs.etc();
        let wanted: Vec<&str> =
            self.container.volume_mounts.iter().flatten().map(|m| m.mount_path.as_str()).collect();
        let mut mounts: Vec<Mount> = ["hosts", "hostname", "resolv.conf"]
            .into_iter()
            .map(|name| mount(etc.join(name), &format!("/etc/{name}"), false))
            .collect();
        let message = self.container.termination_message_path.as_deref();
        let message = message.unwrap_or("/dev/termination-log");
        mounts.push(mount(self.dirs.termination().join(run), message, false));
        if let Some(binary) = &self.image.binary {
            let name = binary.file_name().unwrap_or_default().to_string_lossy();
            mounts.push(mount(binary.clone(), &format!("{PROGRAM_DIR}/{name}"), true));
            for name in &self.image.names {
                mounts.push(mount(binary.clone(), &name.to_string_lossy(), true));
            }
        }
        // A volume in the place of a generated file replaces it.
        mounts.retain(|mount| !wanted.iter().any(|path| mount.target == Path::new(path)));
        for volume in self.container.volume_mounts.iter().flatten() {
            let (source, is_host) = location(self.pod, &self.dirs.volumes(), &volume.name);
            let expanded = volume.sub_path_expr.as_ref().map(|text| expand(text, self.env));
            let sub_path = expanded.or_else(|| volume.sub_path.clone());
            mounts.push(Mount {
                source,
                sub_path: sub_path.filter(|path| !path.is_empty()).map(PathBuf::from),
                target: PathBuf::from(&volume.mount_path),
                read_only: volume.read_only == Some(true) || is_host,
            });
        }
        mounts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn image() -> Image {
        Image {
            binary: Some(PathBuf::from("/opt/lateen/server")),
            names: vec![PathBuf::from("/usr/bin/serve")],
            entrypoint: vec!["/app/server".to_owned()],
            args: vec!["--default".to_owned()],
            env: BTreeMap::new(),
            workdir: PathBuf::from("/"),
            user: 0,
        }
    }

    fn spec(pod: Value, container: Value) -> Result<ContainerSpec, LaunchError> {
        let mut pod_spec = pod;
        let mut container = container;
        container["name"] = json!("c");
        pod_spec["containers"] = json!([container]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": pod_spec,
        }))
        .expect("a pod");
        let env = BTreeMap::from([("X".to_owned(), "1".to_owned())]);
        let launch = Launch {
            pod: &pod,
            container: &pods::spec(&pod).containers[0],
            image: &image(),
            env: &env,
            dirs: &PodDirs::new(Path::new("/d"), "u"),
            node_memory_bytes: 1 << 30,
        };
        launch.spec("c-0")
    }

    #[test]
    fn command_lines() {
        for (container, expected) in [
            (json!({}), vec!["/app/server", "--default"]),
            (json!({"args": ["a$(X)"]}), vec!["/app/server", "a1"]),
            (json!({"command": ["/bin/x"]}), vec!["/bin/x"]),
            (json!({"command": ["/bin/x"], "args": ["y"]}), vec!["/bin/x", "y"]),
        ] {
            let made = spec(json!({}), container.clone()).expect("made");
            assert_eq!(made.process.argv, expected, "{container}");
            let path = made.process.env.iter().find(|(name, _)| name == "PATH").expect("a path");
            assert!(path.1.ends_with(":/bin:/app"), "{}", path.1);
        }
    }

    #[test]
    fn users() {
        let non_root = json!({"securityContext": {"runAsNonRoot": true}});
        let err = spec(non_root.clone(), json!({})).expect_err("root").to_string();
        assert_eq!(
            err,
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        let zero = json!({"securityContext": {"runAsUser": 0}});
        assert!(matches!(spec(non_root, zero), Err(LaunchError::UserIsRoot { .. })));
        let pod = json!({"securityContext": {"runAsUser": 1337, "runAsGroup": 7, "fsGroup": 9,
                                             "supplementalGroups": [3]}});
        let made = spec(pod, json!({"securityContext": {"runAsUser": 5}})).expect("made");
        assert_eq!((made.process.uid, made.process.gid), (5, 7));
        assert_eq!(made.process.groups, [3, 9]);
        let drop = json!({"securityContext": {"capabilities": {"drop": ["ALL"]},
                                              "allowPrivilegeEscalation": false}});
        let made = spec(json!({}), drop).expect("made");
        assert_eq!(made.process.capabilities, Some(vec![]));
        assert!(made.process.no_new_privileges);
        let capture = json!({"securityContext": {"runAsUser": 0, "capabilities":
            {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}}});
        let made = spec(json!({}), capture).expect("made");
        let asked = Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]);
        assert_eq!(made.process.capabilities, asked, "what it asked for and nothing more");
    }

    #[test]
    fn mounts() {
        let pod = json!({"volumes": [{"name": "v", "emptyDir": {}},
                                     {"name": "h", "hostPath": {"path": "/srv"}}]});
        let made = spec(
            pod,
            json!({"volumeMounts": [
                {"name": "v", "mountPath": "/etc/hosts", "subPathExpr": "s$(X)"},
                {"name": "h", "mountPath": "/host"}]}),
        )
        .expect("made");
        let found: Vec<String> = made
            .mounts
            .iter()
            .map(|mount| {
                let sub = mount.sub_path.as_ref().map(|path| format!("[{}]", path.display()));
                let sub = sub.unwrap_or_default();
                let (from, to) = (mount.source.display(), mount.target.display());
                format!("{from}{sub} {to}{}", if mount.read_only { " ro" } else { "" })
            })
            .collect();
        assert_eq!(
            found,
            [
                "/d/u/etc/hostname /etc/hostname",
                "/d/u/etc/resolv.conf /etc/resolv.conf",
                "/d/u/termination/c-0 /dev/termination-log",
                "/opt/lateen/server /app/server ro",
                "/opt/lateen/server /usr/bin/serve ro",
                "/d/u/volumes/v[s1] /etc/hosts",
                "/srv /host ro",
            ]
        );
    }
}
