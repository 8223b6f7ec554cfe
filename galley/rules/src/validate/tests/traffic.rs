//! Kinds of `networking.istio.io`.

use super::judge;

const API: &str = "networking.istio.io/v1";

#[test]
fn virtual_services() {
    judge(
        API,
        "VirtualService",
        &[
            ("{hosts: [a], http: [{route: [{destination: {host: a, subset: v1}}]}]}", &[]),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], timeOut: 1s}]}",
                &["E spec.http[0]: unknown field \"timeOut\""],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], timeout: soon}]}",
                &["E spec.http[0].timeout: duration \"soon\""],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 1us}]}",
                &["E spec.http[0].timeout: duration must be greater"],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}]}",
                &["E spec.http[0].route: total destination weight = 0"],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}",
                &["E spec.http[0].route[0].weight: weight -1 < 0"],
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: a}}]}]}",
                &["E spec.http[0].match[0].uri.regex: invalid regular expression"],
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {exact: a, prefix: b}}], route: [{destination: {host: a}}]}]}",
                &["E spec.http[0].match[0].uri: only one of exact, prefix"],
            ),
            (
                "{hosts: [a, a], http: [{route: [{destination: {host: a}}]}]}",
                &["E spec.hosts[1]: duplicate hosts in virtual service: a & a"],
            ),
            (
                "{hosts: ['*'], http: [{route: [{destination: {host: a}}]}]}",
                &["E spec.hosts[0]: wildcard host *"],
            ),
            ("{hosts: ['*'], gateways: [g], http: [{route: [{destination: {host: a}}]}]}", &[]),
            (
                "{hosts: ['outbound_.80_.v1_.a.b.com'], gateways: [g], http: [{route: [{destination: {host: a}}]}]}",
                &[],
            ),
            (
                "{hosts: [a], gateways: [x.y.z], http: [{route: [{destination: {host: a}}]}]}",
                &["W spec.gateways[0]: using legacy"],
            ),
            (
                "{hosts: [a], gateways: [a/b/c], http: [{route: [{destination: {host: a}}]}]}",
                &["E spec.gateways[0]: "],
            ),
        ],
    );
}

#[test]
fn virtual_service_actions() {
    judge(
        API,
        "VirtualService",
        &[
            ("{hosts: [a]}", &["E spec: http, tcp or tls must be provided"]),
            ("{hosts: [a], http: [{}]}", &["E spec.http[0]: HTTP route, redirect"]),
            (
                "{hosts: [a], http: [{redirect: {uri: /}, fault: {abort: {httpStatus: 99}}}]}",
                &[
                    "E spec.http[0]: HTTP route cannot contain both fault",
                    "E spec.http[0].fault.abort.httpStatus: HTTP status 99",
                ],
            ),
            (
                "{hosts: [a], http: [{redirect: {uri: /, redirectCode: 200}}]}",
                &["E spec.http[0].redirect.redirectCode: 200"],
            ),
            (
                "{hosts: [a], http: [{directResponse: {status: 100}}]}",
                &["E spec.http[0].directResponse.status: "],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], fault: {delay: {percentage: {value: 101}, fixedDelay: 5s}}}]}",
                &["E spec.http[0].fault.delay.percentage.value: percentage 101"],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], retries: {attempts: 0, retryOn: 5xx}}]}",
                &["E spec.http[0].retries: http retry policy"],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], retries: {attempts: 2, retryOn: '5xx,503,never'}}]}",
                &["E spec.http[0].retries.retryOn: \"never\""],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], corsPolicy: {allowMethods: [GRAB], maxAge: 1500ms}}]}",
                &["E spec.http[0].corsPolicy.allowMethods[0]", "E spec.http[0].corsPolicy.maxAge"],
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}}], headers: {request: {set: {':path': x}}}}]}",
                &["E spec.http[0].headers.request.set[\":path\"]"],
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims[g]': {exact: b}}}], route: [{destination: {host: a}}]}]}",
                &["E spec.http[0].match[0].headers[\"@request.auth.claims[g]\"]: JWT claim"],
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {a: null}}], route: [{destination: {host: a}}]}]}",
                &["E spec.http[0].match[0].headers[\"a\"]: must not be null"],
            ),
            (
                "{hosts: [a], tcp: [{route: [{destination: {host: '*'}}]}]}",
                &["E spec.tcp[0].route[0].destination.host: invalid destination host *"],
            ),
            (
                "{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}",
                &["E spec.tls[0].match[0].sniHosts[0]: SNI host \"b.com\""],
            ),
            (
                "{hosts: [a], exportTo: [., here], http: [{route: [{destination: {host: a}}]}]}",
                &["E spec.exportTo[1]: duplicate"],
            ),
            ("{http: [{delegate: {name: b}}]}", &["E spec.http[0].delegate: a delegate cannot"]),
            (
                "{hosts: [a], http: [{delegate: {name: b}, route: [{destination: {host: a}}]}]}",
                &["E spec.http[0]: root HTTP route"],
            ),
        ],
    );
}

#[test]
fn rules_that_earlier_rules_shadow() {
    let to = "route: [{destination: {host: a}}]";
    let spec = |rules: &str| format!("{{hosts: [a], http: [{}]}}", rules.replace("TO", to));
    judge(
        API,
        "VirtualService",
        &[
            (
                &spec("{TO}, {match: [{uri: {prefix: /}}], TO}"),
                &["W spec.http[1]: virtualService rule #1 is not reachable"],
            ),
            (
                &spec("{match: [{uri: {exact: /}}], TO}, {match: [{uri: {exact: /}}], TO}"),
                &["W spec.http[1]: virtualService rule #1 is not reachable"],
            ),
            (
                &spec("{match: [{uri: {prefix: /a}}], TO}, {match: [{uri: {prefix: /a/b}}], TO}"),
                &["W spec.http[1].match[0]: virtualService rule #1 match #0 is not used"],
            ),
            (
                &spec(
                    "{match: [{uri: {prefix: /a}, port: 1}], TO}, {match: [{uri: {prefix: /a/b}}], TO}",
                ),
                &[],
            ),
            (
                &spec(
                    "{match: [{uri: {prefix: /a}, headers: {a: {exact: b}}}], TO}, {match: [{uri: {prefix: /a/b}}], TO}",
                ),
                &[],
            ),
            (
                &spec(
                    "{match: [{uri: {exact: /}}, {uri: {exact: /c}}], TO}, {match: [{uri: {exact: /}}, {uri: {exact: /b}}], TO}",
                ),
                &["W spec.http[1].match[0]: virtualService rule #1 match #0 is not used"],
            ),
        ],
    );
}

#[test]
fn destination_rules() {
    judge(
        API,
        "DestinationRule",
        &[
            ("{host: reviews, subsets: [{name: v1, labels: {version: v1}}]}", &[]),
            (
                "{host: reviews, subsets: [{name: v1}, {name: v1}]}",
                &["E spec.subsets[1]: duplicate subset name: v1"],
            ),
            ("{host: reviews, trafficPolicy: {}}", &["E spec.trafficPolicy: "]),
            ("{host: 'a b'}", &["E spec.host: "]),
            (
                "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
                &[
                    "E spec.trafficPolicy.tls.clientCertificate",
                    "E spec.trafficPolicy.tls.privateKey",
                ],
            ),
            (
                "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}",
                &["E spec.trafficPolicy.connectionPool.tcp.maxConnections"],
            ),
            (
                "{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}}",
                &["W spec.trafficPolicy.outlierDetection.consecutiveErrors"],
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 4}}}}}",
                &["E spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"],
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a/b, to: {a: 60, 'a/*': 30}}]}}}}",
                &[
                    "E spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to[\"a/*\"]: locality",
                    "E spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: total",
                ],
            ),
            (
                "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}",
                &["W spec.trafficPolicy.loadBalancer.localityLbSetting: outlier"],
            ),
            (
                "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 0}, tls: {mode: SIMPLE}}]}}",
                &["E spec.trafficPolicy.portLevelSettings[0].port.number"],
            ),
            (
                "{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']}",
                &["E spec.exportTo: "],
            ),
        ],
    );
}

#[test]
fn gateways() {
    let server = |rest: &str| format!("{{selector: {{istio: ingressgateway}}, servers: [{rest}]}}");
    judge(
        API,
        "Gateway",
        &[
            (&server("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"), &[]),
            (
                &server("{port: {number: 80, name: http, protocol: HTTP}, hosts: [reviews]}"),
                &["E spec.servers[0].hosts[0]: short names"],
            ),
            (
                &server("{port: {number: 0, name: http, protocol: HTTP}, hosts: ['*']}"),
                &["E spec.servers[0].port.number"],
            ),
            (
                &server("{port: {number: 80, name: http, protocol: GOPHER}, hosts: ['*']}"),
                &["E spec.servers[0].port.protocol"],
            ),
            (
                &server("{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']}"),
                &["E spec.servers[0]: server must have TLS"],
            ),
            (
                &server(
                    "{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}",
                ),
                &["E spec.servers[0].tls.serverCertificate", "E spec.servers[0].tls.privateKey"],
            ),
            (
                &server(
                    "{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['a.com'], tls: {mode: SIMPLE, credentialName: a}}",
                ),
                &[],
            ),
            (
                &server(
                    "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}",
                ),
                &[],
            ),
            (
                &server(
                    "{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 81, name: a, protocol: HTTP}, hosts: ['*']}",
                ),
                &["E spec.servers[1]: duplicate port name"],
            ),
            ("{}", &["E spec.servers: gateway must have"]),
        ],
    );
}

#[test]
fn service_entries() {
    judge(
        API,
        "ServiceEntry",
        &[
            (
                "{hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
                &[],
            ),
            (
                "{hosts: ['*'], ports: [{number: 80, name: http, protocol: HTTP}]}",
                &["E spec.hosts[0]: invalid host *"],
            ),
            (
                "{hosts: ['*.a.com'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
                &["E spec.hosts[0]: hosts must be FQDN"],
            ),
            (
                "{hosts: [a.com], addresses: [10.0.0.0/8], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
                &["E spec.addresses[0]: CIDR"],
            ),
            (
                "{hosts: [a.com], ports: [{number: 80, name: tcp, protocol: TCP}], resolution: DNS}",
                &["W spec.ports[0].protocol: addresses"],
            ),
            (
                "{hosts: [a.com], ports: [{number: 80, name: a, protocol: HTTP}, {number: 80, name: a, protocol: HTTP}], resolution: DNS}",
                &["E spec.ports[1]: duplicate", "E spec.ports[1].number: port 80"],
            ),
            (
                "{hosts: [a.com], ports: [{number: 80, name: a, protocol: HTTP}], resolution: STATIC, endpoints: [{address: b.com}]}",
                &["E spec.endpoints[0].address"],
            ),
            (
                "{hosts: [a.com], ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: 1.1.1.1}]}",
                &["E spec.endpoints: no endpoints"],
            ),
        ],
    );
}

#[test]
fn sidecars_workloads_and_patches() {
    judge(
        API,
        "Sidecar",
        &[
            ("{egress: [{hosts: ['./*']}]}", &[]),
            ("{}", &["E spec: sidecar: empty"]),
            ("{egress: [{hosts: [reviews]}]}", &["E spec.egress[0].hosts[0]: \"reviews\" must be"]),
            (
                "{ingress: [{port: {number: 80, protocol: HTTP, name: a}, defaultEndpoint: '10.0.0.1:80'}]}",
                &["E spec.ingress[0].defaultEndpoint"],
            ),
            (
                "{outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a}}}",
                &[
                    "E spec.outboundTrafficPolicy: sidecar",
                    "E spec.outboundTrafficPolicy.egressProxy.port",
                ],
            ),
        ],
    );
    judge(
        API,
        "WorkloadEntry",
        &[
            ("{address: 1.1.1.1, ports: {http: 80}}", &[]),
            ("{}", &["E spec.address: address must be set"]),
            ("{network: a}", &["W spec: address is unset"]),
            ("{address: 'unix://a'}", &["E spec.address: "]),
        ],
    );
    judge(
        API,
        "WorkloadGroup",
        &[
            ("{template: {serviceAccount: a}, probe: {tcpSocket: {port: 80}}}", &[]),
            ("{template: {}, probe: {}}", &["E spec.probe: health check method"]),
        ],
    );
    judge(
        "networking.istio.io/v1alpha3",
        "EnvoyFilter",
        &[
            (
                "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {name: a}}}]}",
                &["W spec: EnvoyFilter exposes"],
            ),
            (
                "{configPatches: [{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]}",
                &[
                    "W spec: EnvoyFilter exposes",
                    "E spec.configPatches[0].match: applyTo for cluster",
                ],
            ),
        ],
    );
}
