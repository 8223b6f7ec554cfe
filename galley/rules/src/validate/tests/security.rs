//! Kinds of `security.istio.io`, `telemetry.istio.io` and `extensions.istio.io`.

use super::judge;

#[test]
fn authorization_policies() {
    judge(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        &[
            ("{}", &[]),
            (
                "{rules: [{from: [{source: {principals: ['*']}}], when: [{key: 'request.headers[a]', values: [b]}]}]}",
                &[],
            ),
            ("{action: DENY}", &["E spec.rules: DENY action without"]),
            ("{action: CUSTOM, rules: [{}]}", &["E spec.provider.name"]),
            (
                "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {namespaces: [a]}}]}]}",
                &["E spec.rules[0].from[0].source.namespaces: is currently not"],
            ),
            ("{provider: {name: a}}", &["E spec.provider: "]),
            ("{rules: [{from: []}]}", &["E spec.rules[0].from: "]),
            ("{rules: [{to: [{operation: {}}]}]}", &["E spec.rules[0].to[0].operation: "]),
            (
                "{rules: [{to: [{operation: {ports: ['70000'], paths: ['/a/{**}/{*}', '/{x}']}}]}]}",
                &[
                    "E spec.rules[0].to[0].operation.ports[0]",
                    "E spec.rules[0].to[0].operation.paths[0]",
                    "E spec.rules[0].to[0].operation.paths[1]",
                ],
            ),
            (
                "{rules: [{from: [{source: {ipBlocks: [x]}}]}]}",
                &["E spec.rules[0].from[0].source.ipBlocks[0]"],
            ),
            (
                "{rules: [{when: [{key: destination.labels, values: [a]}]}]}",
                &["E spec.rules[0].when[0].key: destination.labels is not supported"],
            ),
            (
                "{rules: [{when: [{key: 'request.headers[a]'}]}]}",
                &["E spec.rules[0].when[0]: at least one"],
            ),
            (
                "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
                &["W spec.rules[0]: configured"],
            ),
            (
                "{selector: {matchLabels: {a: '*'}}}",
                &["E spec.selector.matchLabels[\"a\"]: wildcard"],
            ),
            ("{selector: {}}", &["W spec.selector.matchLabels: workload selector"]),
            ("{targetRefs: [{kind: Pod, name: a}]}", &["E spec.targetRefs[0]: targetRef to Pod"]),
        ],
    );
}

#[test]
fn authentication() {
    judge(
        "security.istio.io/v1",
        "PeerAuthentication",
        &[
            ("{mtls: {mode: STRICT}}", &[]),
            ("{mtls: {mode: MAYBE}}", &["E spec.mtls.mode: \"MAYBE\" is not one of"]),
            (
                "{portLevelMtls: {'80': {mode: DISABLE}}}",
                &["E spec.portLevelMtls: mutual TLS by port"],
            ),
            (
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {'0': {mode: DISABLE}}}",
                &["E spec.portLevelMtls[\"0\"]: port number 0"],
            ),
        ],
    );
    judge(
        "security.istio.io/v1",
        "RequestAuthentication",
        &[
            ("{jwtRules: [{issuer: a, jwksUri: 'https://a.com:8443/keys'}]}", &[]),
            ("{jwtRules: [{issuer: a, jwksUri: 'ftp://a'}]}", &["E spec.jwtRules[0].jwksUri: "]),
            (
                "{jwtRules: [{issuer: a, jwksUri: 'http://a:99999/'}]}",
                &["E spec.jwtRules[0].jwksUri: "],
            ),
            ("{jwtRules: [{issuer: a, jwks: '{'}]}", &["E spec.jwtRules[0].jwks: "]),
            (
                "{jwtRules: [{issuer: a, jwks: '{\"keys\":[{\"d\":\"x\"}]}'}]}",
                &["W spec.jwtRules[0].jwks: "],
            ),
        ],
    );
}

#[test]
fn telemetry_and_extensions() {
    judge(
        "telemetry.istio.io/v1",
        "Telemetry",
        &[
            ("{tracing: [{randomSamplingPercentage: 100}]}", &[]),
            ("{tracing: [{}, {}]}", &["W spec.tracing: multiple"]),
            (
                "{metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]}",
                &["E spec.metrics[0].overrides[0].tagOverrides[\"a\"]: tag value must be set"],
            ),
            (
                "{accessLogging: [{filter: {expression: 'a[1'}}]}",
                &["E spec.accessLogging[0].filter.expression"],
            ),
        ],
    );
    judge(
        "extensions.istio.io/v1alpha1",
        "WasmPlugin",
        &[
            ("{url: 'oci://a/b:c'}", &[]),
            ("{url: 'ftp://a'}", &["E spec.url: url contains unsupported"]),
            (
                "{url: a, vmConfig: {env: [{name: a}, {name: a}]}}",
                &["E spec.vmConfig.env[1]: duplicate"],
            ),
        ],
    );
    judge(
        "extensions.istio.io/v1alpha1",
        "TrafficExtension",
        &[("{lua: {inlineCode: 'x'}}", &[]), ("{}", &["E spec: exactly one of wasm or lua"])],
    );
    judge(
        "networking.istio.io/v1beta1",
        "ProxyConfig",
        &[("{concurrency: 2}", &[]), ("{selector: {matchLabels: {a: '*'}}}", &["E spec.selector"])],
    );
}
