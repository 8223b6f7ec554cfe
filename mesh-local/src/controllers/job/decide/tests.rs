//! Jobs that complete, fail, wait, run by index, and go when their time is over.

use std::sync::Arc;

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{Plan, condition, decide, news};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_735_689_600 + seconds).unwrap()
}

fn job(extra: Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "j", "namespace": "n", "uid": "u"},
        "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 2,
                 "template": {"spec": {"restartPolicy": "Never",
                                       "containers": [{"name": "a", "image": "a"}]}}}
    });
    for (key, value) in extra.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    serde_json::from_value(job).unwrap()
}

fn pod(name: &str, phase: &str, ended: i64) -> Arc<Pod> {
    let state = json!({"terminated": {"exitCode": 1, "finishedAt": at(ended).to_string()}});
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"phase": phase, "containerStatuses": [{
                "name": "a", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
                "state": if ended >= 0 { state } else { json!({}) }}]}
        }))
        .unwrap(),
    )
}

fn summary(plan: &Plan) -> (usize, usize, String) {
    let ends = ["Complete", "Failed", "Suspended"];
    let all = ends.into_iter().filter_map(|kind| condition(&plan.status, kind));
    let names: Vec<_> = all.map(|c| format!("{}:{}", c.type_, c.reason.clone().unwrap())).collect();
    (plan.pods.create.len(), plan.pods.delete.len(), names.join(","))
}

#[test]
fn jobs_run_to_their_end() {
    let running = |name: &str| pod(name, "Running", -1);
    let over = || "Failed:BackoffLimitExceeded".to_owned();
    let none = String::new;
    for (extra, owned, now, want) in [
        (json!({}), vec![], 0, (1, 0, none())),
        (json!({}), vec![running("a")], 0, (0, 0, none())),
        (
            json!({}),
            vec![pod("a", "Succeeded", 0)],
            0,
            (0, 0, "Complete:CompletionsReached".to_owned()),
        ),
        (
            json!({"completions": 5, "parallelism": 2}),
            vec![pod("a", "Succeeded", 0), running("b")],
            0,
            (1, 0, none()),
        ),
        (
            json!({"completions": 2, "parallelism": 9}),
            vec![pod("a", "Succeeded", 0)],
            0,
            (1, 0, none()),
        ),
        // Ten seconds after a first failure, twenty after a second.
        (json!({}), vec![pod("a", "Failed", 0)], 9, (0, 0, none())),
        (json!({}), vec![pod("a", "Failed", 0)], 10, (1, 0, none())),
        (json!({}), vec![pod("a", "Failed", 0), pod("b", "Failed", 10)], 29, (0, 0, none())),
        (json!({}), vec![pod("a", "Failed", 0), pod("b", "Failed", 10)], 30, (1, 0, none())),
        (
            json!({"parallelism": 2, "completions": 2}),
            vec![pod("a", "Failed", 0), pod("b", "Failed", 0), pod("c", "Failed", 0), running("d")],
            99,
            (0, 1, over()),
        ),
        (
            json!({"parallelism": 1, "completions": 3}),
            vec![running("a"), running("b")],
            0,
            (0, 1, none()),
        ),
        (
            json!({"suspend": true}),
            vec![running("a")],
            0,
            (0, 1, "Suspended:JobSuspended".to_owned()),
        ),
        // A work queue: no number of completions.
        (
            json!({"completions": null, "parallelism": 3}),
            vec![pod("a", "Succeeded", 0), running("b")],
            0,
            (0, 0, none()),
        ),
    ] {
        let plan = decide(&job(extra.clone()), &owned, at(now));
        assert_eq!(summary(&plan), want, "{extra} at {now}");
    }
}

#[test]
fn the_deadline_ends_a_job() {
    let mut late = job(json!({"activeDeadlineSeconds": 60}));
    let first = decide(&late, &[], at(0));
    assert_eq!(first.recheck.map(|wait| wait.as_secs()), Some(61));
    late.status = Some(first.status);
    let plan = decide(&late, &[pod("a", "Running", -1)], at(60));
    assert_eq!(summary(&plan), (0, 1, "Failed:DeadlineExceeded".to_owned()));
    let told = news(late.status.as_ref(), &plan.status).unwrap();
    assert_eq!((told.0, told.1), (false, "DeadlineExceeded"));
}

#[test]
fn indexes_run_once_each() {
    let indexed = job(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 2}));
    let plan = decide(&indexed, &[], at(0));
    let hostnames: Vec<_> = plan
        .pods
        .create
        .iter()
        .map(|pod| pod.spec.as_ref().unwrap().hostname.clone().unwrap())
        .collect();
    assert_eq!(hostnames, ["j-0", "j-1"]);
    let mut done = plan.pods.create[0].clone();
    done.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
    let running = Arc::new(plan.pods.create[1].clone());
    let plan = decide(&indexed, &[Arc::new(done), running], at(0));
    assert_eq!(plan.pods.create.len(), 1);
    let container = &plan.pods.create[0].spec.as_ref().unwrap().containers[0];
    assert_eq!(container.env.as_ref().unwrap()[0].value.as_deref(), Some("2"));
    assert_eq!(plan.status.completed_indexes.as_deref(), Some("0"));
    assert_eq!(super::ranges(&[0, 1, 2, 5, 7, 8].into()), "0-2,5,7,8");
}

#[test]
fn a_finished_job_stays_finished_and_expires() {
    let mut done = job(json!({"ttlSecondsAfterFinished": 30}));
    done.status = Some(decide(&done, &[pod("a", "Succeeded", 0)], at(5)).status);
    let later = decide(&done, &[], at(10));
    assert_eq!(later.status.succeeded, Some(1));
    assert_eq!((later.pods.create.len(), later.expire), (0, false));
    assert_eq!(later.recheck.map(|wait| wait.as_secs()), Some(25));
    assert!(decide(&done, &[], at(35)).expire);
}
