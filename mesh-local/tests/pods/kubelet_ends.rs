//! How pods end: crashes, deletion, restarts of the kubelet; and their logs all the while.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::json;

use crate::cluster::{Cluster, container};
use crate::harness::Case;

/// All cases.
pub(crate) const ALL: &[Case] = &[
    ("crashes_back_off", || Box::pin(crashes_back_off())),
    ("failures_are_final_without_restart", || Box::pin(failures_are_final_without_restart())),
    ("deletion_is_graceful", || Box::pin(deletion_is_graceful())),
    ("deadlines_end_pods", || Box::pin(deadlines_end_pods())),
    ("logs_follow_until_the_end", || Box::pin(logs_follow_until_the_end())),
    ("a_new_kubelet_runs_the_pods_again", || Box::pin(a_new_kubelet_runs_the_pods_again())),
    ("pods_start_within_the_budget", || Box::pin(pods_start_within_the_budget())),
];

async fn crashes_back_off() {
    let cluster = Cluster::new().await;
    cluster
        .create("crasher", json!({"containers": [{"name": "main", "sh": "echo try; exit 4"}]}))
        .await;
    let looping = |pod: &Pod| {
        let main = container(pod, "main");
        main["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && main["restartCount"].as_u64() >= Some(2)
    };
    let pod = cluster.until("crasher", looping).await;
    let main = container(&pod, "main");
    assert_eq!(main["lastState"]["terminated"]["exitCode"], 4, "{main}");
    assert_eq!(main["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Running"));
    assert_eq!(cluster.logs("crasher", "main", true).await, "try\n");
    cluster.delete("crasher").await;
    cluster.noted("crasher", "BackOff: Back-off restarting failed container main").await;
}

async fn failures_are_final_without_restart() {
    let cluster = Cluster::new().await;
    let no_program = json!({
        "restartPolicy": "Never",
        "containers": [{"name": "main", "command": ["no-such-program"]}],
    });
    cluster.create("broken", no_program).await;
    let pod = cluster.phase("broken", "Failed").await;
    let ended = &container(&pod, "main")["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
    let message = ended["message"].as_str().expect("a message");
    assert!(message.contains("executable file not found in $PATH"), "{message}");
    let logs = json!({
        "restartPolicy": "Never",
        "containers": [{"name": "main", "sh": "echo the reason; exit 1",
                        "terminationMessagePolicy": "FallbackToLogsOnError"}],
    });
    cluster.create("told", logs).await;
    let pod = cluster.phase("told", "Failed").await;
    assert_eq!(container(&pod, "main")["state"]["terminated"]["message"], "the reason\n");
}

async fn deletion_is_graceful() {
    let cluster = Cluster::new().await;
    let main = "trap 'echo bye; sleep 0.05; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    cluster
        .create(
            "polite",
            json!({"containers": [{
                "name": "main", "sh": main,
                "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}}},
            }]}),
        )
        .await;
    cluster.ready("polite").await;
    let params =
        LogParams { follow: true, container: Some("main".to_owned()), ..LogParams::default() };
    let stream = cluster.pods().log_stream("polite", &params).await.expect("a log");
    let mut lines = stream.lines();
    assert_eq!(lines.try_next().await.expect("read").as_deref(), Some("up"));
    cluster.delete("polite").await;
    let rest: Vec<String> = lines.try_collect().await.expect("read");
    assert_eq!(rest, ["hook", "bye"]);
    let uid_dirs = std::fs::read_dir(cluster.dir.path().join("pods")).expect("readable").count();
    assert_eq!(uid_dirs, 0, "nothing of the pod is left");
    // Without a handler SIGTERM does nothing to a container's first process; SIGKILL does.
    let deaf = json!({"terminationGracePeriodSeconds": 1,
                      "containers": [{"name": "main", "sh": "while :; do sleep 0.01; done"}]});
    cluster.create("deaf", deaf).await;
    cluster.ready("deaf").await;
    cluster.delete("deaf").await;
}

async fn deadlines_end_pods() {
    let cluster = Cluster::new().await;
    let spec = json!({
        "activeDeadlineSeconds": 1,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "sh": "sleep 1000"}],
    });
    cluster.create("late", spec).await;
    let pod = cluster.phase("late", "Failed").await;
    assert_eq!(pod.status.and_then(|s| s.reason).as_deref(), Some("DeadlineExceeded"));
    let stopped = |pod: &Pod| container(pod, "main")["state"]["terminated"]["exitCode"] == 137;
    cluster.until("late", stopped).await;
}

async fn logs_follow_until_the_end() {
    let cluster = Cluster::new().await;
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; printf tail";
    cluster
        .create(
            "talker",
            json!({"restartPolicy": "Never", "containers": [{"name": "main", "sh": script}]}),
        )
        .await;
    cluster.said("talker", "main", "line 0").await;
    let params = LogParams { follow: true, ..LogParams::default() };
    let stream = cluster.pods().log_stream("talker", &params).await.expect("a log");
    let lines: Vec<String> = stream.lines().try_collect().await.expect("read");
    let mut expected: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    expected.push("tail".to_owned());
    assert_eq!(lines, expected);
    let params = LogParams { tail_lines: Some(1), timestamps: true, ..LogParams::default() };
    let tail = cluster.pods().logs("talker", &params).await.expect("a log");
    assert!(tail.contains("Z ") && tail.ends_with("tail"), "{tail}");
}

async fn a_new_kubelet_runs_the_pods_again() {
    let mut cluster = Cluster::new().await;
    cluster.create("lasting", json!({"containers": [{"name": "main", "sh": "sleep 1000"}]})).await;
    let done = json!({"restartPolicy": "Never", "containers": [{"name": "main", "sh": "true"}]});
    cluster.create("done", done).await;
    cluster.ready("lasting").await;
    let finished = cluster.phase("done", "Succeeded").await;
    cluster.restart().await;
    let again = |pod: &Pod| {
        let main = container(pod, "main");
        main["restartCount"] == 1 && main["ready"] == true
    };
    let pod = cluster.until("lasting", again).await;
    assert_eq!(container(&pod, "main")["lastState"]["terminated"]["reason"], "Unknown");
    let after = cluster.pods().get("done").await.expect("there");
    assert_eq!(after.status, finished.status, "what is finished stays as it was");
}

/// Not a benchmark: the figure is printed, and only an order of magnitude is asserted.
async fn pods_start_within_the_budget() {
    let cluster = Cluster::new().await;
    for round in 0..3 {
        let name = format!("quick-{round}");
        let begun = std::time::Instant::now();
        cluster.create(&name, json!({"containers": [{"name": "main", "sh": "sleep 1000"}]})).await;
        cluster.phase(&name, "Running").await;
        println!("create to Running: {} ms", begun.elapsed().as_millis());
    }
}
