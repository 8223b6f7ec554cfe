//! Status documents of typical moments.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn pod(spec: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
}

fn running(ready: bool) -> ContainerState {
    ContainerState {
        phase: Phase::Running { since: time(5), stopping: false },
        has_run: true,
        started: true,
        ready,
        ..ContainerState::default()
    }
}

fn exited(code: i32) -> ContainerState {
    let end = Termination {
        exit_code: code,
        signal: None,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: None,
        started_at: Some(time(5)),
        finished_at: time(6),
    };
    ContainerState { phase: Phase::Exited(end), has_run: true, ..ContainerState::default() }
}

fn state(containers: &[(&str, ContainerState)]) -> PodState {
    PodState {
        sandbox: Sandbox::Ready,
        ips: vec![[10, 244, 0, 7].into()],
        containers: containers
            .iter()
            .map(|(name, state)| ((*name).to_owned(), state.clone()))
            .collect(),
        ..PodState::default()
    }
}

fn document(pod: &Pod, state: &PodState) -> PodStatus {
    status(pod, state, &NodeFacts { host_ip: "10.244.0.1".to_owned() }, &[], time(100))
}

/// Type, status and reason of each condition.
fn verdicts(status: &PodStatus) -> Vec<String> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.as_deref().unwrap_or("-")))
        .collect()
}

#[test]
fn phases() {
    let simple = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let with = |policy: &str| {
        let mut spec = simple.clone();
        spec["restartPolicy"] = json!(policy);
        pod(spec)
    };
    let crashed_before = ContainerState {
        last: Some(exited(1).exited().cloned()).flatten(),
        ..ContainerState::default()
    };
    for (policy, a, b, expected) in [
        ("Always", ContainerState::default(), ContainerState::default(), "Pending"),
        ("Always", running(true), ContainerState::default(), "Pending"),
        ("Always", running(true), running(false), "Running"),
        ("Always", running(true), exited(1), "Running"),
        ("Always", running(true), crashed_before, "Running"),
        ("Always", exited(0), exited(0), "Running"),
        ("OnFailure", exited(0), exited(1), "Running"),
        ("OnFailure", exited(0), exited(0), "Succeeded"),
        ("Never", exited(0), exited(1), "Failed"),
        ("Never", exited(0), running(true), "Running"),
    ] {
        let pod = with(policy);
        let state = state(&[("a", a), ("b", b)]);
        assert_eq!(phase(pods::spec(&pod), &state), expected, "{policy} {state:?}");
    }
}

#[test]
fn a_new_pod_waits() {
    let pod = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let status = document(&pod, &PodState::default());
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(
        verdicts(&status),
        [
            "PodReadyToStartContainers=False -",
            "Initialized=False ContainersNotInitialized",
            "Ready=False ContainersNotReady",
            "ContainersReady=False ContainersNotReady",
            "PodScheduled=True -",
        ]
    );
    let main = serde_json::to_value(&status.container_statuses).expect("json");
    assert_eq!(main[0]["state"], json!({"waiting": {"reason": "PodInitializing"}}));
    let init = serde_json::to_value(&status.init_container_statuses).expect("json");
    assert_eq!(init[0]["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
}

#[test]
fn a_running_pod_is_ready() {
    let pod = pod(json!({
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "x"}],
    }));
    let status =
        document(&pod, &state(&[("i", exited(0)), ("s", running(true)), ("a", running(true))]));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.7"));
    assert!(verdicts(&status).iter().all(|verdict| verdict.ends_with("=True -")));
    let main = serde_json::to_value(&status.container_statuses).expect("json");
    assert_eq!(main[0]["ready"], json!(true));
    assert_eq!(main[0]["started"], json!(true));
    assert_eq!(main[0]["state"]["running"]["startedAt"], json!("1970-01-01T00:00:05Z"));
    let unready =
        document(&pod, &state(&[("i", exited(0)), ("s", running(false)), ("a", running(false))]));
    let ready = unready.conditions.iter().flatten().find(|c| c.type_ == "Ready").expect("Ready");
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [s a]"));
}

#[test]
fn a_crash_loop_says_how_long() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut crashed = exited(1);
    crashed.restarts = 3;
    crashed.backoff.until = Some(time(120));
    crashed.backoff.wait = Duration::from_secs(40);
    let status = document(&pod, &state(&[("a", crashed)]));
    let main = serde_json::to_value(&status.container_statuses).expect("json");
    assert_eq!(
        main[0]["state"]["waiting"],
        json!({
            "reason": "CrashLoopBackOff",
            "message": "back-off 40s restarting failed container=a pod=p_ns(u)",
        })
    );
    assert_eq!(main[0]["lastState"]["terminated"]["exitCode"], json!(1));
    assert_eq!(main[0]["restartCount"], json!(3));
}

#[test]
fn conditions_keep_their_times_and_others_conditions() {
    let mut pod = pod(json!({
        "readinessGates": [{"conditionType": "example.com/gate"}],
        "containers": [{"name": "a"}],
    }));
    let up = state(&[("a", running(true))]);
    let first = document(&pod, &up);
    let ready = first.conditions.iter().flatten().find(|c| c.type_ == "Ready").expect("Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    let gate = PodCondition {
        type_: "example.com/gate".to_owned(),
        status: "True".to_owned(),
        ..PodCondition::default()
    };
    pod.status = Some(first);
    pod.status.as_mut().and_then(|s| s.conditions.as_mut()).expect("conditions").push(gate.clone());
    let facts = NodeFacts { host_ip: String::new() };
    let second = status(&pod, &up, &facts, &[], time(200));
    let find = |name: &str| {
        second.conditions.iter().flatten().find(|c| c.type_ == name).cloned().expect("there")
    };
    assert_eq!(find("example.com/gate"), gate);
    assert_eq!(find("Ready").last_transition_time, Some(Time(time(200))));
    assert_eq!(find("ContainersReady").last_transition_time, Some(Time(time(100))));
}

#[test]
fn waits_print_as_go_does() {
    for (seconds, text) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
        assert_eq!(short(Duration::from_secs(seconds)), text);
    }
}
