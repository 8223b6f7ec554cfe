//! Commands in a pod such as injection makes: capture rules, a native sidecar of user 1337, its
//! token, its limits.

use mesh_test::{Cluster, settings};

/// What an injected pod relies on. Both containers sleep: the test looks around in them.
const INJECTED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: injected, annotations: {note: kept}}
spec:
  securityContext: {fsGroup: 1337}
  volumes:
  - name: istio-token
    projected:
      sources:
      - serviceAccountToken: {audience: istio-ca, expirationSeconds: 43200, path: istio-token}
  - name: istio-podinfo
    downwardAPI:
      items:
      - {path: annotations, fieldRef: {fieldPath: metadata.annotations}}
      - path: cpu-limit
        resourceFieldRef: {containerName: istio-proxy, resource: limits.cpu, divisor: 1m}
  - {name: istio-envoy, emptyDir: {medium: Memory}}
  initContainers:
  - name: istio-init
    image: lateen/host
    command: [sh, -ec]
    args:
    - |
      nft add table ip mesh
      nft add chain ip mesh output '{ type nat hook output priority -100; }'
      nft add rule ip mesh output meta skuid 1337 return || nft add rule ip mesh output meta mark 1337 return
      nft add rule ip mesh output tcp dport 9999 redirect to :15001
      nft list table ip mesh
    securityContext:
      runAsUser: 0
      capabilities: {drop: [ALL], add: [NET_ADMIN, NET_RAW]}
  - name: istio-proxy
    image: lateen/host
    restartPolicy: Always
    command: [sh, -c, "trap 'exit 0' TERM; touch /etc/istio/proxy/up; while true; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /etc/istio/proxy/up]}, periodSeconds: 1}
    securityContext:
      runAsUser: 1337
      runAsGroup: 1337
      runAsNonRoot: true
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {limits: {cpu: "2"}}
    env:
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    volumeMounts:
    - {name: istio-token, mountPath: /var/run/secrets/tokens}
    - {name: istio-podinfo, mountPath: /etc/istio/pod}
    - {name: istio-envoy, mountPath: /etc/istio/proxy}
  containers:
  - name: main
    image: lateen/host
    command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
"#;

#[test]
fn what_injection_relies_on_is_there() {
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(settings::kubectl());
    kubectl.apply(INJECTED);
    kubectl.ok(&["wait", "--for=condition=Ready", "pod/injected", "--timeout=60s"]);
    let table = kubectl.ok(&["get", "pod", "injected"]);
    assert!(table.contains("2/2"), "{table}");
    let rules = kubectl.ok(&["logs", "injected", "-c", "istio-init"]);
    assert!(rules.contains("redirect to :15001"), "{rules}");
    let script = "id -u; id -G; echo $CPUS; cat /etc/istio/pod/cpu-limit; echo; \
                  grep -c note= /etc/istio/pod/annotations; \
                  cut -d. -f2 /var/run/secrets/tokens/istio-token; \
                  touch /x 2>/dev/null || echo read-only; grep CapBnd /proc/self/status";
    let proxy = ["exec", "injected", "-c", "istio-proxy", "--", "sh", "-c", script];
    let seen = kubectl.ok(&proxy);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "1337", "{seen}");
    assert!(lines[1].split(' ').any(|group| group == "1337"), "{seen}");
    assert_eq!(lines[2..5], ["2", "2000", "1"], "{seen}");
    assert_eq!(lines[6], "read-only", "{seen}");
    assert!(lines[7].ends_with("0000000000000000"), "no capability: {seen}");
    let token = kubectl.ok(&[
        "exec",
        "injected",
        "-c",
        "istio-proxy",
        "--",
        "cat",
        "/var/run/secrets/tokens/istio-token",
    ]);
    for (audience, expected) in [("istio-ca", "true"), ("other", "")] {
        let review = format!(
            "apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec:\n  token: {}\n  \
             audiences: [{audience}]\n",
            token.trim()
        );
        let args = ["create", "-f", "-", "-o", "jsonpath={.status.authenticated}"];
        let answer = kubectl.with_input(&args, &review);
        assert_eq!(answer.stdout, expected, "{audience}: {answer:#?}");
    }
    let failed = kubectl.run(&["exec", "injected", "-c", "main", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.code, 7, "{failed:#?}");
    let piped = ["exec", "-i", "injected", "-c", "main", "--", "tr", "a-z", "A-Z"];
    assert_eq!(kubectl.with_input(&piped, "ahoy").stdout, "AHOY");
    let other = kubectl.refused(&["exec", "injected", "-c", "nosuch", "--", "ls"]);
    assert!(other.contains("container nosuch is not valid for pod injected"), "{other}");
    kubectl.ok(&["delete", "pod", "injected", "--timeout=30s"]);
}
