//! Tables of decisions.

use serde_json::{Value, json};

use super::*;
use crate::kubelet::state::Termination;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec}))
        .expect("a pod")
}

/// `init`, sidecar `side`, mains `a` and `b`.
fn full(policy: &str) -> Pod {
    pod(json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 7,
        "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}, {"name": "b"}],
    }))
}

fn running() -> ContainerState {
    ContainerState {
        phase: Phase::Running { since: time(0), stopping: false },
        has_run: true,
        started: true,
        ready: true,
        ..ContainerState::default()
    }
}

fn exited(code: i32) -> ContainerState {
    ContainerState {
        phase: Phase::Exited(Termination {
            exit_code: code,
            signal: None,
            reason: String::new(),
            message: None,
            started_at: Some(time(0)),
            finished_at: time(1),
        }),
        has_run: true,
        ..ContainerState::default()
    }
}

fn state(containers: &[(&str, ContainerState)]) -> PodState {
    PodState {
        sandbox: Sandbox::Ready,
        containers: containers
            .iter()
            .map(|(name, state)| ((*name).to_owned(), state.clone()))
            .collect(),
        ..PodState::default()
    }
}

fn start(name: &str) -> Action {
    Action::StartContainer(name.to_owned())
}

fn stop(name: &str, grace: u64) -> Action {
    Action::StopContainer {
        name: name.to_owned(),
        grace: Duration::from_secs(grace),
        why: "Stopping container".to_owned(),
    }
}

fn actions(pod: &Pod, state: &PodState) -> Vec<Action> {
    decide(pod, state, time(100)).actions
}

#[test]
fn containers_start_in_order() {
    let pod = full("Always");
    let unstarted = || ContainerState { started: false, ..running() };
    for (containers, expected) in [
        (vec![], vec![start("init")]),
        (vec![("init", ContainerState { phase: Phase::Starting, ..exited(0) })], vec![]),
        (vec![("init", exited(0))], vec![start("side")]),
        (vec![("init", exited(0)), ("side", unstarted())], vec![]),
        (vec![("init", exited(0)), ("side", running())], vec![start("a"), start("b")]),
        (vec![("init", exited(0)), ("side", running()), ("a", running())], vec![start("b")]),
        (vec![("init", exited(3))], vec![start("init")]),
    ] {
        assert_eq!(actions(&pod, &state(&containers)), expected, "{containers:?}");
    }
    let absent = PodState::default();
    assert_eq!(actions(&pod, &absent), vec![Action::StartSandbox]);
}

#[test]
fn a_restarted_sidecar_holds_nobody_up_later() {
    let pod = full("Always");
    let mut later_on = state(&[("init", exited(0)), ("side", exited(1)), ("a", exited(1))]);
    assert_eq!(actions(&pod, &later_on), vec![start("side")]);
    later_on.initialized = true;
    assert_eq!(actions(&pod, &later_on), vec![start("side"), start("a"), start("b")]);
}

#[test]
fn crashes_wait() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut crashed = exited(1);
    crashed.backoff.until = Some(time(105));
    let plan = decide(&pod, &state(&[("a", crashed.clone())]), time(100));
    assert_eq!(plan, Plan { actions: vec![], wake: Some(time(105)) });
    let plan = decide(&pod, &state(&[("a", crashed)]), time(105));
    assert_eq!(plan.actions, vec![start("a")]);
}

#[test]
fn refusals_wait_too() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let refused = ContainerState {
        phase: Phase::Refused {
            reason: "ErrImagePull".to_owned(),
            message: String::new(),
            retry_at: time(110),
        },
        ..ContainerState::default()
    };
    let plan = decide(&pod, &state(&[("a", refused.clone())]), time(100));
    assert_eq!(plan, Plan { actions: vec![], wake: Some(time(110)) });
    assert_eq!(decide(&pod, &state(&[("a", refused)]), time(110)).actions, vec![start("a")]);
}

#[test]
fn policies_decide_the_end() {
    for (policy, init, a, b, expected) in [
        ("Never", 1, None, None, vec![stop("side", 7)]),
        ("Never", 0, Some(0), Some(1), vec![stop("side", 7)]),
        ("OnFailure", 0, Some(0), Some(0), vec![stop("side", 7)]),
        ("OnFailure", 0, Some(0), Some(1), vec![start("b")]),
        ("Never", 0, Some(1), None, vec![start("b")]),
        ("Always", 0, Some(0), Some(0), vec![start("a"), start("b")]),
    ] {
        let mut containers = vec![("init", exited(init)), ("side", running())];
        containers.extend(a.map(|code| ("a", exited(code))));
        containers.extend(b.map(|code| ("b", exited(code))));
        assert_eq!(actions(&full(policy), &state(&containers)), expected, "{policy} {a:?} {b:?}");
    }
}

#[test]
fn deletion_stops_sidecars_last() {
    let mut pod = full("Always");
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time(90)));
    let all = [("init", exited(0)), ("side", running()), ("a", running()), ("b", running())];
    let mut going = state(&all);
    going.kill_at = Some(time(104));
    assert_eq!(actions(&pod, &going), vec![stop("a", 4), stop("b", 4)]);

    let stopping =
        ContainerState { phase: Phase::Running { since: time(0), stopping: true }, ..running() };
    going.containers.insert("a".to_owned(), stopping.clone());
    going.containers.insert("b".to_owned(), exited(0));
    assert_eq!(actions(&pod, &going), vec![]);

    going.containers.insert("a".to_owned(), exited(137));
    assert_eq!(actions(&pod, &going), vec![stop("side", 4)]);
    going.kill_at = Some(time(99));
    assert_eq!(actions(&pod, &going), vec![stop("side", 2)]);
    going.containers.insert("side".to_owned(), stopping);
    assert_eq!(actions(&pod, &going), vec![]);
    going.containers.insert("side".to_owned(), exited(0));
    assert_eq!(actions(&pod, &going), vec![Action::EndSandbox]);
    going.sandbox = Sandbox::Ending;
    assert_eq!(actions(&pod, &going), vec![]);
    going.sandbox = Sandbox::Ended;
    assert_eq!(actions(&pod, &going), vec![Action::Remove]);
    assert_eq!(actions(&pod, &PodState::default()), vec![Action::Remove]);
}

#[test]
fn sidecars_stop_in_reverse() {
    let pod = pod(json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a"}],
    }));
    let mut done = state(&[("s1", running()), ("s2", running()), ("a", exited(0))]);
    assert_eq!(actions(&pod, &done), vec![stop("s2", 30)]);
    done.containers.insert("s2".to_owned(), exited(0));
    assert_eq!(actions(&pod, &done), vec![stop("s1", 30)]);
}

#[test]
fn probes_stop_with_their_own_grace() {
    let pod = pod(json!({"containers": [{
        "name": "a",
        "livenessProbe": {"terminationGracePeriodSeconds": 1},
    }]}));
    let mut doomed = running();
    doomed.doomed = Some("failed liveness probe".to_owned());
    let expected = Action::StopContainer {
        name: "a".to_owned(),
        grace: Duration::from_secs(1),
        why: "failed liveness probe".to_owned(),
    };
    assert_eq!(actions(&pod, &state(&[("a", doomed.clone())])), vec![expected]);
    doomed.phase = Phase::Running { since: time(0), stopping: true };
    assert_eq!(actions(&pod, &state(&[("a", doomed)])), vec![]);
}

#[test]
fn deadlines_and_rejections_end_the_pod() {
    let pod = pod(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]}));
    let mut late = state(&[("a", running())]);
    late.start_time = Some(time(50));
    assert!(!is_overdue(pods::spec(&pod), &late, time(109)));
    assert!(is_overdue(pods::spec(&pod), &late, time(110)));
    assert_eq!(decide(&pod, &late, time(100)).wake, Some(time(110)));
    late.deadline_exceeded = true;
    assert_eq!(actions(&pod, &late), vec![stop("a", 30)]);

    let refused = PodState {
        rejected: Some(("NodeAffinity".to_owned(), String::new())),
        ..PodState::default()
    };
    assert_eq!(actions(&pod, &refused), vec![]);
}
