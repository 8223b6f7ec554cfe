//! `kubectl port-forward` to a pod, a Service and a Deployment, and to what is not there.

use std::time::Duration;

use mesh_test::{Cluster, Forward, eventually, settings};

const PATIENCE: Duration = Duration::from_secs(60);

const DETAILS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: details}
spec:
  type: LoadBalancer
  selector: {app: details}
  ports: [{name: http, port: 80, targetPort: 9080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: details}
spec:
  selector: {matchLabels: {app: details}}
  template:
    metadata: {labels: {app: details}}
    spec:
      containers:
      - name: details
        image: docker.io/istio/examples-bookinfo-details-v1:1.20.3
        readinessProbe: {httpGet: {path: /health, port: 9080}, periodSeconds: 1}
"#;

#[test]
fn pods_services_and_deployments_are_reached() {
    let cluster = Cluster::start();
    let newest = cluster.kubectl(settings::kubectl_newest());
    newest.apply(DETAILS);
    newest.ok(&["rollout", "status", "deployment/details", "--timeout=60s"]);
    let pod = newest.ok(&["get", "pod", "-l", "app=details", "-o", "name"]);
    for kubectl in [&cluster.kubectl(settings::kubectl()), &newest] {
        for (target, port) in
            [(pod.trim(), ":9080"), ("svc/details", ":80"), ("deployment/details", ":9080")]
        {
            let forward = Forward::start(kubectl, &[target, port]);
            let answer = forward.get("/details/0");
            assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
            assert!(answer.contains("\"author\""), "{target}: {answer}");
        }
    }
    let mut forward = Forward::start(&newest, &[pod.trim(), ":81"]);
    assert_eq!(forward.get("/"), "");
    let text = forward.complaint();
    assert!(text.contains("error forwarding port 81 to pod details-"), "{text}");
    let missing = newest.refused(&["port-forward", "pod/nobody", ":80"]);
    assert!(missing.contains("pods \"nobody\" not found"), "{missing}");
    eventually("the load balancer has an address", PATIENCE, || {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let address = newest.ok(&["get", "svc", "details", "-o", path]);
        if address.is_empty() { Err(address) } else { Ok(()) }
    });
}
