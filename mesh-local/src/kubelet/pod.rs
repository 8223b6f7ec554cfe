//! Reading a pod: its containers in order and in their three kinds, its policies, its names.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs once, before the containers after it.
    Init,
    /// An init container that keeps running (`restartPolicy: Always`).
    Sidecar,
    /// An ordinary container.
    Main,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restart whatever the exit code.
    Always,
    /// Restart after a failure.
    OnFailure,
    /// Never restart.
    Never,
}

/// A container of a pod with its kind.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its specification.
    pub container: &'a Container,
}

impl Member<'_> {
    /// Whether an exit with `code` is followed by a restart.
    pub fn restarts_after(&self, policy: RestartPolicy, code: i32) -> bool {
        match (self.kind, policy) {
            (Kind::Sidecar, _) => true,
            // An init container is done when it has succeeded, whatever the policy.
            (Kind::Init, RestartPolicy::Always | RestartPolicy::OnFailure)
            | (Kind::Main, RestartPolicy::OnFailure) => code != 0,
            (Kind::Main, RestartPolicy::Always) => true,
            (_, RestartPolicy::Never) => false,
        }
    }
}

/// The init containers and sidecars in order.
pub fn init_members(spec: &PodSpec) -> impl DoubleEndedIterator<Item = Member<'_>> {
    spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        Member { kind: if sidecar { Kind::Sidecar } else { Kind::Init }, container }
    })
}

/// The ordinary containers in order.
pub fn main_members(spec: &PodSpec) -> impl DoubleEndedIterator<Item = Member<'_>> {
    spec.containers.iter().map(|container| Member { kind: Kind::Main, container })
}

/// All containers: init containers and sidecars first.
pub fn members(spec: &PodSpec) -> impl DoubleEndedIterator<Item = Member<'_>> {
    init_members(spec).chain(main_members(spec))
}

/// The member of that name.
pub fn member<'a>(spec: &'a PodSpec, name: &str) -> Option<Member<'a>> {
    members(spec).find(|member| member.container.name == name)
}

/// `spec.restartPolicy`, `Always` when absent.
pub fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    match spec.restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// Namespace, name and UID, as they appear in messages: `name_namespace(uid)`.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// `metadata.name`.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// `metadata.namespace`.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `metadata.uid`.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The specification; an empty one when there is none, which no API server hands out.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The host name of the pod: `spec.hostname` or the pod's name, at most 63 characters.
pub fn hostname(pod: &Pod) -> String {
    let wanted = spec(pod).hostname.as_deref().filter(|name| !name.is_empty());
    let name: String = wanted.unwrap_or_else(|| name(pod)).chars().take(63).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

/// Whether the pod has ended for good according to its stored status.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_follow_kind_and_policy() {
        use RestartPolicy::{Always, Never, OnFailure};
        let container = Container::default();
        for (kind, policy, code, expected) in [
            (Kind::Main, Always, 0, true),
            (Kind::Main, OnFailure, 0, false),
            (Kind::Main, OnFailure, 1, true),
            (Kind::Main, Never, 1, false),
            (Kind::Init, Always, 0, false),
            (Kind::Init, Always, 1, true),
            (Kind::Init, Never, 1, false),
            (Kind::Sidecar, Never, 0, true),
        ] {
            let member = Member { kind, container: &container };
            assert_eq!(member.restarts_after(policy, code), expected, "{kind:?} {policy:?} {code}");
        }
    }

    #[test]
    fn host_names_fit_the_kernel() {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("{}-tail", "a".repeat(62)));
        assert_eq!(hostname(&pod), "a".repeat(62));
        pod.spec = Some(PodSpec { hostname: Some("web-0".to_owned()), ..PodSpec::default() });
        assert_eq!(hostname(&pod), "web-0");
    }
}
