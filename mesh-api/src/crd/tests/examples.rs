//! One object of each kind, as a user would write it.

pub(super) const VIRTUAL_SERVICE: &str = r#"
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - name: jason
    match:
    - headers: {end-user: {exact: jason}}
      uri: {prefix: /reviews}
    route:
    - destination: {host: reviews, subset: v2}
      weight: 80
    - destination: {host: reviews, subset: v3, port: {number: 9080}}
      weight: 20
    timeout: 0.500s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,reset", retryRemoteLocalities: false}
    fault:
      delay: {fixedDelay: 7s, percentage: {value: 100.0}}
      abort: {httpStatus: 500, percentage: {value: 0.5}}
    headers: {request: {set: {x-a: b}, remove: [x-c]}, response: {add: {x-d: e}}}
    mirrors:
    - destination: {host: shadow}
      percentage: {value: 1.5}
    corsPolicy: {allowOrigins: [{regex: ".*"}], maxAge: 60s, allowCredentials: true}
  - redirect: {uri: /new, authority: example.com, derivePort: FROM_REQUEST_PORT, redirectCode: 308}
  - directResponse: {status: 503, body: {string: later}}
  - delegate: {name: more, namespace: other}
    rewrite: {uriRegexRewrite: {match: "^/a/(.*)", rewrite: '/b/\1'}}
  tls:
  - match: [{sniHosts: [a.example.com], port: 443}]
    route: [{destination: {host: a.example.com}}]
  tcp:
  - match: [{destinationSubnets: [10.0.0.0/8], sourceLabels: {app: b}}]
    route: [{destination: {host: db}, weight: 100}]
  exportTo: ["."]
"#;

pub(super) const DESTINATION_RULE: &str = r#"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
        ringHash: {minimumRingSize: 2048}
      localityLbSetting: {enabled: true, failover: [{from: eu, to: us}]}
      warmup: {duration: 300s, minimumPercent: 5.0, aggression: 1.0}
    connectionPool:
      tcp:
        maxConnections: 100
        connectTimeout: 0.030s
        idleTimeout: 0s
        tcpKeepalive: {time: 7200s, interval: 75s, probes: 9}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 0, h2UpgradePolicy: DO_NOT_UPGRADE}
    outlierDetection: {consecutive5xxErrors: 0, interval: 1s, baseEjectionTime: 180s, maxEjectionPercent: 100}
    tls: {mode: ISTIO_MUTUAL}
    portLevelSettings:
    - port: {number: 80}
      tls: {mode: DISABLE}
    retryBudget: {percent: 25.0, minRetryConcurrency: 5}
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  workloadSelector: {matchLabels: {app: productpage}}
"#;

pub(super) const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bookinfo-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: [default/bookinfo.example.com]
    tls: {mode: OPTIONAL_MUTUAL, credentialName: bookinfo, minProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}
"#;

pub(super) const SERVICE_ENTRY: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external}
spec:
  hosts: ["*.example.com"]
  addresses: [192.0.2.0/24]
  ports:
  - {number: 443, name: https, protocol: TLS, targetPort: 8443}
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints:
  - address: 192.0.2.1
    ports: {https: 9443}
    labels: {version: v1}
    locality: eu/eu-1/a
    weight: 2
  subjectAltNames: [spiffe://example.com/a]
status:
  addresses: [{value: 240.240.0.1, host: a.example.com}]
"#;

pub(super) const SIDECAR: &str = r#"
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  workloadSelector: {labels: {app: ratings}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:8080
    captureMode: DEFAULT
    connectionPool: {http: {maxConcurrentStreams: 10, http2KeepAlive: {interval: 30s, timeout: 5s}}}
  egress:
  - hosts: ["./*", istio-system/*]
  - port: {number: 3306, protocol: MYSQL, name: mysql}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ["*/db.example.com"]
  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: egress.istio-system.svc.cluster.local, port: {number: 80}}}
"#;

pub(super) const WORKLOAD_ENTRY: &str = r#"
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1}
spec: {address: 192.0.2.9, ports: {http: 8080}, labels: {app: vm}, network: vm-net, locality: eu/eu-1, weight: 0, serviceAccount: vm}
"#;

pub(super) const WORKLOAD_GROUP: &str = r#"
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms}
spec:
  metadata: {labels: {app: vm}, annotations: {a: b}}
  template: {serviceAccount: vm, network: vm-net}
  probe:
    initialDelaySeconds: 0
    periodSeconds: 5
    httpGet: {path: /ready, port: 8080, scheme: HTTPS, httpHeaders: [{name: x-a, value: b}]}
"#;

pub(super) const ENVOY_FILTER: &str = r#"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  priority: -10
  workloadSelector: {labels: {app: ratings}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      proxy: {proxyVersion: ^1\.3.*, metadata: {a: b}}
      listener:
        portNumber: 8080
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      filterClass: AUTHZ
      value: {name: envoy.lua, typed_config: {"@type": type.googleapis.com/x, nested: [1, {a: null}]}}
  - applyTo: HTTP_ROUTE
    match: {routeConfiguration: {vhost: {name: a:80, route: {action: DIRECT_RESPONSE}}}}
    patch: {operation: MERGE_AND_REPLACE_LIST, value: {decorator: {operation: x}}}
"#;

pub(super) const PROXY_CONFIG: &str = r#"
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: workers}
spec: {selector: {matchLabels: {app: ratings}}, concurrency: 0, environmentVariables: {A: b}, image: {imageType: distroless}}
"#;

pub(super) const AUTHORIZATION_POLICY: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-get}
spec:
  selector: {matchLabels: {app: productpage}}
  action: ALLOW
  rules:
  - from:
    - source: {principals: [cluster.local/ns/default/sa/sleep], notIpBlocks: [192.0.2.0/24]}
    - source: {serviceAccounts: [default/sleep], trustDomains: [cluster.local]}
    to:
    - operation: {methods: [GET], paths: ["/info*", "/a/{*}/b"], ports: ["9080"]}
    when:
    - {key: "request.auth.claims[iss]", values: ["https://accounts.example.com"]}
  - {}
"#;

pub(super) const PEER_AUTHENTICATION: &str = r#"
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {selector: {matchLabels: {app: ratings}}, mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: DISABLE}}}
"#;

pub(super) const REQUEST_AUTHENTICATION: &str = r#"
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  jwtRules:
  - issuer: https://accounts.example.com
    audiences: [bookstore]
    jwksUri: https://example.com/keys
    fromHeaders: [{name: x-token, prefix: "Token "}]
    fromParams: [token]
    fromCookies: [token]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{header: x-sub, claim: sub}]
    forwardOriginalToken: true
    timeout: 5s
    spaceDelimitedClaims: [roles]
"#;

pub(super) const TELEMETRY: &str = r#"
apiVersion: telemetry.istio.io/v1alpha1
kind: Telemetry
metadata: {name: mesh-default}
spec:
  tracing:
  - providers: [{name: otel}]
    match: {mode: SERVER}
    randomSamplingPercentage: 0.5
    disableSpanReporting: false
    customTags:
      a: {literal: {value: b}}
      c: {environment: {name: D, defaultValue: e}}
      f: {header: {name: x-f}}
      g: {formatter: {value: "%REQ(X-G)%"}}
  metrics:
  - providers: [{name: prometheus}]
    reportingInterval: 10s
    overrides:
    - match: {metric: REQUEST_COUNT, mode: CLIENT}
      disabled: true
    - match: {customMetric: mine}
      tagOverrides: {request_host: {operation: UPSERT, value: request.host}, response_flags: {operation: REMOVE}}
  accessLogging:
  - providers: [{name: envoy}]
    filter: {expression: response.code >= 400}
"#;

pub(super) const WASM_PLUGIN: &str = r#"
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: auth}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  url: oci://registry.example.com/auth:latest
  imagePullPolicy: IfNotPresent
  phase: AUTHN
  priority: -1
  failStrategy: FAIL_RELOAD
  type: NETWORK
  pluginConfig: {realm: a, deep: {list: [1, 2]}}
  vmConfig: {env: [{name: A, value: b}, {name: C, valueFrom: HOST}]}
  match: [{mode: CLIENT, ports: [{number: 80}]}]
"#;

pub(super) const TRAFFIC_EXTENSION: &str = r#"
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: headers}
spec:
  targetRefs: [{kind: Service, name: reviews}]
  phase: STATS
  lua: {inlineCode: "function envoy_on_request(handle) end"}
"#;
