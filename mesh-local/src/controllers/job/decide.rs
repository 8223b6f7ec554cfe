//! What a Job wants run next, and whether it is done or has failed. Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::{EnvVar, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::controllers::{
    owners,
    pods::{self, Naming},
    runner::Recheck,
    workload::PodPlan,
};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The wait after a first failure; it doubles with each, up to the longest.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 600;

/// What is to be done, and what the Job then says.
pub(super) struct Plan {
    pub(super) pods: PodPlan,
    pub(super) status: JobStatus,
    /// Its time after its end is over.
    pub(super) expire: bool,
    pub(super) recheck: Recheck,
}

/// How a Job ended.
enum End {
    Complete,
    Failed(&'static str, String),
}

/// Decides on the next step.
pub(super) fn decide(job: &Job, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut plan = Plan {
        pods: PodPlan::default(),
        status: job.status.clone().unwrap_or_default(),
        expire: false,
        recheck: None,
    };
    let Some(spec) = &job.spec else { return plan };
    if job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if is_finished(&plan.status) {
        expire(spec, now, &mut plan);
        return plan;
    }
    let seen = Seen::new(spec, owned);
    let suspended = spec.suspend == Some(true);
    let status = &mut plan.status;
    if !suspended && status.start_time.is_none() {
        status.start_time = Some(Time::from(now));
    }
    let end = end(spec, status, &seen, now);
    match &end {
        Some(_) => plan.pods.delete = seen.active.clone(),
        None if suspended => {
            plan.pods.delete = seen.active.clone();
            status.start_time = None;
        }
        None => fill(job, spec, &seen, now, &mut plan),
    }
    count(&seen, &mut plan);
    let suspension = if suspended {
        ("True", "JobSuspended", "Job suspended")
    } else {
        ("False", "JobResumed", "Job resumed")
    };
    if suspended || condition(&plan.status, "Suspended").is_some() {
        set(&mut plan.status, "Suspended", suspension, now);
    }
    if let Some(end) = end {
        finish(&mut plan.status, &end, now);
    } else if let (Some(limit), Some(Time(start))) =
        (spec.active_deadline_seconds, &plan.status.start_time)
    {
        let left = limit - now.duration_since(*start).as_secs();
        sooner(&mut plan.recheck, left.max(0) + 1);
    }
    plan
}

/// What to report when a status changed: whether it is good, a reason, a message.
pub(super) fn news(
    old: Option<&JobStatus>,
    new: &JobStatus,
) -> Option<(bool, &'static str, String)> {
    if old.is_some_and(is_finished) {
        return None;
    }
    if condition(new, "Complete").is_some() {
        return Some((true, "Completed", "Job completed".to_owned()));
    }
    let failed = condition(new, "Failed")?;
    let reason = match failed.reason.as_deref() {
        Some("DeadlineExceeded") => "DeadlineExceeded",
        _ => "BackoffLimitExceeded",
    };
    Some((false, reason, failed.message.clone().unwrap_or_default()))
}

/// A Job's pods by how they stand.
struct Seen {
    active: Vec<Arc<Pod>>,
    succeeded: Vec<Arc<Pod>>,
    failed: Vec<Arc<Pod>>,
    /// Indexes that are done, of an indexed Job.
    done: BTreeSet<i32>,
    leaving: i32,
}

impl Seen {
    fn new(spec: &JobSpec, owned: &[Arc<Pod>]) -> Self {
        let of_phase = |phase: &str| -> Vec<Arc<Pod>> {
            owned.iter().filter(|pod| pods::phase(pod) == phase).cloned().collect()
        };
        let mut succeeded = of_phase("Succeeded");
        let done: BTreeSet<_> = succeeded.iter().filter_map(|pod| index(pod)).collect();
        if is_indexed(spec) {
            // An index counts once, however often it ran.
            let mut seen = BTreeSet::new();
            succeeded.retain(|pod| index(pod).is_some_and(|index| seen.insert(index)));
        }
        let unfinished = || owned.iter().filter(|pod| !pods::is_finished(pod));
        let leaving = unfinished().filter(|pod| pods::is_leaving(pod)).count();
        Self {
            active: unfinished().filter(|pod| !pods::is_leaving(pod)).cloned().collect(),
            succeeded,
            failed: of_phase("Failed"),
            done,
            leaving: i32::try_from(leaving).unwrap_or(i32::MAX),
        }
    }

    fn len(list: &[Arc<Pod>]) -> i32 {
        i32::try_from(list.len()).unwrap_or(i32::MAX)
    }
}

fn end(spec: &JobSpec, status: &JobStatus, seen: &Seen, now: Timestamp) -> Option<End> {
    let succeeded = Seen::len(&seen.succeeded);
    // Without a number of completions one success is enough, once all others have ended.
    let complete = match spec.completions {
        Some(wanted) => succeeded >= wanted,
        None => succeeded > 0 && seen.active.is_empty(),
    };
    if complete {
        return Some(End::Complete);
    }
    let late = match (spec.active_deadline_seconds, &status.start_time) {
        (Some(limit), Some(Time(start))) => now.duration_since(*start).as_secs() >= limit,
        _ => false,
    };
    if late {
        let message = "Job was active longer than specified deadline".to_owned();
        return Some(End::Failed("DeadlineExceeded", message));
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    let restarts: i32 = seen.active.iter().map(|pod| restarts(pod)).sum();
    let restarted = on_failure(spec) && restarts > 0 && restarts >= limit;
    if Seen::len(&seen.failed) > limit || restarted {
        let message = "Job has reached the specified backoff limit".to_owned();
        return Some(End::Failed("BackoffLimitExceeded", message));
    }
    None
}

/// Starts pods up to the parallelism, but not right after a failure.
fn fill(job: &Job, spec: &JobSpec, seen: &Seen, now: Timestamp, plan: &mut Plan) {
    let parallelism = spec.parallelism.unwrap_or(1);
    let active = Seen::len(&seen.active);
    let succeeded = Seen::len(&seen.succeeded);
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(completions - succeeded),
        // One success ends the starting of more.
        None if succeeded > 0 => active.min(parallelism),
        None => parallelism,
    };
    if active > wanted {
        let mut extra = seen.active.clone();
        extra.sort_by_cached_key(|pod| pods::deletion_rank(pod));
        extra.truncate(usize::try_from(active - wanted).unwrap_or(0));
        plan.pods.delete = extra;
        return;
    }
    // Pods on their way out still count where a replacement waits for their end.
    let leaving = match spec.pod_replacement_policy.as_deref() {
        Some("Failed") => seen.leaving,
        _ => 0,
    };
    let missing = wanted - active - leaving;
    if missing <= 0 {
        return;
    }
    let wait = wait_after_failure(seen, now);
    if wait > 0 {
        sooner(&mut plan.recheck, wait);
        return;
    }
    let busy: BTreeSet<_> = seen.active.iter().filter_map(|pod| index(pod)).collect();
    let mut free = (0..spec.completions.unwrap_or(0))
        .filter(|index| !seen.done.contains(index) && !busy.contains(index));
    for _ in 0..missing {
        let index = if is_indexed(spec) { free.next() } else { None };
        plan.pods.create.push(make(job, spec, index));
    }
}

fn wait_after_failure(seen: &Seen, now: Timestamp) -> i64 {
    let Some(count) = u32::try_from(seen.failed.len()).ok().filter(|count| *count > 0) else {
        return 0;
    };
    let last = seen.failed.iter().filter_map(|pod| ended(pod)).max();
    let wait = FIRST_WAIT.saturating_mul(2_i64.saturating_pow(count.min(16) - 1)).min(LONGEST_WAIT);
    last.map_or(0, |at| wait - now.duration_since(at).as_secs())
}

/// When the last container of a pod ended, or else when the pod was made.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let ends = statuses.into_iter().flatten().filter_map(|container| {
        let Time(at) = container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?;
        Some(*at)
    });
    ends.max().or_else(|| pod.metadata.creation_timestamp.as_ref().map(|Time(at)| *at))
}

fn make(job: &Job, spec: &JobSpec, index: Option<i32>) -> Pod {
    let name = job.name_any();
    let prefix = match index {
        Some(index) => format!("{name}-{index}-"),
        None => format!("{name}-"),
    };
    let owner = owners::controller_reference(job);
    let namespace = job.namespace().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, owner, &namespace, Naming::Prefix(&prefix));
    if let Some(index) = index {
        pod.annotations_mut().insert(INDEX.to_owned(), index.to_string());
        pod.labels_mut().insert(INDEX.to_owned(), index.to_string());
        if let Some(pod_spec) = &mut pod.spec {
            pod_spec.hostname = Some(format!("{name}-{index}"));
            let variable = EnvVar {
                name: INDEX_VARIABLE.to_owned(),
                value: Some(index.to_string()),
                ..EnvVar::default()
            };
            let inits = pod_spec.init_containers.iter_mut().flatten();
            for container in pod_spec.containers.iter_mut().chain(inits) {
                container.env.get_or_insert_default().push(variable.clone());
            }
        }
    }
    pod
}

fn count(seen: &Seen, plan: &mut Plan) {
    let some = |count: i32| (count != 0).then_some(count);
    let status = &mut plan.status;
    let stopped = i32::try_from(plan.pods.delete.len()).unwrap_or(i32::MAX);
    let ready = seen.active.iter().filter(|pod| pods::is_ready(pod)).count();
    status.active = some(Seen::len(&seen.active) - stopped);
    status.ready = Some(i32::try_from(ready).unwrap_or(i32::MAX));
    status.terminating = Some(seen.leaving);
    // A pod that is deleted takes nothing back of what was reached.
    status.succeeded = some(Seen::len(&seen.succeeded).max(status.succeeded.unwrap_or(0)));
    status.failed = some(Seen::len(&seen.failed).max(status.failed.unwrap_or(0)));
    if !seen.done.is_empty() {
        status.completed_indexes = Some(ranges(&seen.done));
    }
}

/// `0-2,5`: how completed indexes are written.
fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let show = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(show).collect::<Vec<_>>().join(",")
}

fn finish(status: &mut JobStatus, end: &End, now: Timestamp) {
    status.active = None;
    status.ready = Some(0);
    match end {
        End::Complete => {
            let met = ("True", "CompletionsReached", "Reached expected number of succeeded pods");
            set(status, "SuccessCriteriaMet", met, now);
            set(status, "Complete", met, now);
            status.completion_time = Some(Time::from(now));
        }
        End::Failed(reason, message) => {
            set(status, "FailureTarget", ("True", reason, message), now);
            set(status, "Failed", ("True", reason, message), now);
        }
    }
}

fn expire(spec: &JobSpec, now: Timestamp, plan: &mut Plan) {
    let Some(seconds) = spec.ttl_seconds_after_finished else { return };
    let ends = ["Complete", "Failed"].into_iter().filter_map(|kind| condition(&plan.status, kind));
    let Some(Time(at)) = ends.filter_map(|c| c.last_transition_time.clone()).next() else { return };
    let left = i64::from(seconds) - now.duration_since(at).as_secs();
    if left <= 0 {
        plan.expire = true;
    } else {
        sooner(&mut plan.recheck, left);
    }
}

fn is_finished(status: &JobStatus) -> bool {
    ["Complete", "Failed"].into_iter().any(|kind| condition(status, kind).is_some())
}

/// A condition that holds.
fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True")
}

fn set(
    status: &mut JobStatus,
    kind: &str,
    (state, reason, message): (&str, &str, &str),
    now: Timestamp,
) {
    let all = status.conditions.get_or_insert_default();
    if all.iter().any(|c| c.type_ == kind && c.status == state) {
        return;
    }
    all.retain(|c| c.type_ != kind);
    all.push(JobCondition {
        type_: kind.to_owned(),
        status: state.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time::from(now)),
        last_transition_time: Some(Time::from(now)),
    });
}

fn sooner(recheck: &mut Recheck, seconds: i64) {
    let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    *recheck = Some(recheck.map_or(wait, |known| known.min(wait)));
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

fn on_failure(spec: &JobSpec) -> bool {
    let template = spec.template.spec.as_ref();
    template.and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure")
}

fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|container| container.restart_count).sum()
}

#[cfg(test)]
mod tests;
