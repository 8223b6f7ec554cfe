//! The table: rules of a service, requests to it, and what they come to.

use serde_json::{Value, json};

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Where it is sent instead of the service's address.
    pub(crate) to: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
    /// Milliseconds after the first one, when a case's requests are sent together.
    pub(crate) after: u64,
    /// Milliseconds it takes at least and at most.
    pub(crate) takes: Option<(u128, u128)>,
    /// Whether it does not matter which endpoint gets it.
    pub(crate) any_app: bool,
    /// Status, flags and details in the log.
    pub(crate) comes_to: &'static str,
}

/// A service and its rules.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Which of the pods are its endpoints.
    pub(crate) versions: &'static [&'static str],
    /// `http` of its VirtualService; null for none.
    pub(crate) http: Value,
    /// `trafficPolicy` of its DestinationRule; null for none.
    pub(crate) policy: Value,
    /// Whether the requests are sent at once.
    pub(crate) together: bool,
    /// How many requests the applications see of each at least.
    pub(crate) copies: usize,
    pub(crate) asks: Vec<Sent>,
}

const FINE: &str = "200 - via_upstream";
const DIRECT: &str = "200 - direct_response";

const fn get(path: &'static str, comes_to: &'static str) -> Sent {
    Sent {
        method: "GET",
        path,
        to: None,
        host: None,
        headers: &[],
        body: "",
        after: 0,
        takes: None,
        any_app: false,
        comes_to,
    }
}

const fn wish(headers: &'static [(&'static str, &'static str)], comes_to: &'static str) -> Sent {
    Sent { headers, ..get("/", comes_to) }
}

fn case(name: &'static str, http: Value, asks: Vec<Sent>) -> Case {
    Case { name, versions: &["v1"], http, policy: Value::Null, together: false, copies: 0, asks }
}

fn to(name: &str) -> Value {
    json!([{ "destination": { "host": name } }])
}

fn subset(name: &str, subset: &str) -> Value {
    json!({ "host": name, "subset": subset })
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = vec![matches(), redirects(), rewrites(), headers(), per_destination(), plain()];
    all.extend([delays(), aborts(), delay_and_abort(), timeouts(), late_tries()]);
    all.extend([retries(), numeric(), exhausted(), unreachable(), asked(), broken(), budget()]);
    all.extend([mirrored(), some_mirrored(), shares(), pools(), spent(), requests()]);
    all.extend([ejected(), gateway_errors(), split(), kept(), nobody()]);
    all
}

/// A host that no registry knows, where that is allowed.
pub(crate) fn allowed() -> Case {
    let stranger =
        Sent { to: Some("10.1.0.2:9080"), host: Some("stranger.example"), ..get("/", FINE) };
    let post = Sent { method: "POST", body: "text", ..stranger };
    let asks = vec![stranger, post, Sent { path: "/a?b", host: Some("10.1.0.2:9080"), ..stranger }];
    case("allowed", Value::Null, asks)
}

fn matches() -> Case {
    let row = |name: &str, matching: Value| {
        json!({
            "name": name, "match": [matching],
            "directResponse": { "status": 200, "body": { "string": name } },
        })
    };
    let uri = |kind: &str, value: &str| json!({ "uri": { kind: value } });
    let mut rows = vec![
        row("exact", uri("exact", "/exact")),
        row("prefix", uri("prefix", "/pre")),
        row("regex", uri("regex", "/[0-9]+/x")),
        row("anycase", json!({ "uri": { "exact": "/CaSe" }, "ignoreUriCase": true })),
        row("anyprefix", json!({ "uri": { "prefix": "/Any" }, "ignoreUriCase": true })),
        row("method", json!({ "uri": { "prefix": "/m" }, "method": { "exact": "DELETE" } })),
        row("authority", json!({ "uri": { "exact": "/a" }, "authority": { "prefix": "10." } })),
        row("scheme", json!({ "uri": { "exact": "/s" }, "scheme": { "exact": "http" } })),
        row("port", json!({ "uri": { "exact": "/port" }, "port": 9080 })),
        row("otherport", json!({ "uri": { "prefix": "/port" }, "port": 81 })),
        row("source", json!({ "uri": { "exact": "/src" }, "sourceLabels": { "app": "client" } })),
        row("othersource", json!({ "uri": { "prefix": "/src" }, "sourceLabels": { "app": "x" } })),
    ];
    let of = |path: &str, more: Value| {
        let mut all = json!({ "uri": { "prefix": path } });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    rows.extend([
        row("hexact", of("/h", json!({ "headers": { "x-h": { "exact": "one" } } }))),
        row("hprefix", of("/h", json!({ "headers": { "x-h": { "prefix": "two" } } }))),
        row("hregex", of("/h", json!({ "headers": { "x-h": { "regex": "t.*e" } } }))),
        row("hjoined", of("/h", json!({ "headers": { "x-h": { "exact": "x,y" } } }))),
        row("hpresent", of("/h", json!({ "headers": { "x-h": {} } }))),
        row("without", of("/w", json!({ "withoutHeaders": { "x-h": { "exact": "one" } } }))),
        row("withoutany", of("/v", json!({ "withoutHeaders": { "x-h": {} } }))),
        row("qexact", of("/q", json!({ "queryParams": { "a": { "exact": "1" } } }))),
        row("qprefix", of("/q", json!({ "queryParams": { "a": { "prefix": "2" } } }))),
        row("qregex", of("/q", json!({ "queryParams": { "a": { "regex": "[a-c]+" } } }))),
        row("qpresent", of("/q", json!({ "queryParams": { "b": {} } }))),
    ]);
    rows.push(json!({
        "name": "rest", "match": [{ "uri": { "prefix": "/rest" }, "name": "own" }],
        "route": to("matches"),
    }));
    let with = |path, headers| Sent { headers, ..get(path, DIRECT) };
    let missing = "404 NR route_not_found";
    let mut asks: Vec<Sent> = [
        "/exact",
        "/exact?q=1",
        "/pre",
        "/prefix/more?x=y",
        "/12/x",
        "/12/x?q",
        "/case",
        "/CASE",
        "/anything",
        "/s",
        "/port",
        "/src",
        "/vv",
        "/w",
        "/q?a=1",
        "/q?a=22",
        "/q?a=abc",
        "/q?b",
        "/q?b=&c=1",
        "/q?c=1&a=1",
    ]
    .into_iter()
    .map(|path| get(path, DIRECT))
    .collect();
    asks.extend([
        get("/exact/", missing),
        get("/12/xy", missing),
        get("/q?a=d", missing),
        get("/q?a=", missing),
        get("/m", missing),
        Sent { method: "DELETE", ..get("/m", DIRECT) },
        get("/a", missing),
        Sent { host: Some("10.96.1.1"), ..get("/a", DIRECT) },
        get("/h", missing),
        with("/h", &[("x-h", "one")]),
        with("/h", &[("x-h", "two and more")]),
        with("/h", &[("x-h", "tee")]),
        with("/h", &[("x-h", "")]),
        with("/h", &[("x-h", "one"), ("x-h", "two")]),
        with("/h", &[("x-h", "other"), ("x-h", "one")]),
        with("/w", &[("x-h", "two")]),
        with("/h", &[("x-h", "x"), ("x-h", "y")]),
        Sent { comes_to: missing, ..with("/w", &[("x-h", "one")]) },
        Sent { comes_to: missing, ..with("/w", &[("x-h", "two"), ("x-h", "one")]) },
        Sent { comes_to: missing, ..with("/v", &[("x-h", "one")]) },
        get("/rest", FINE),
    ]);
    case("matches", rows.into(), asks)
}

fn redirects() -> Case {
    let row = |path: &str, redirect: Value| json!({ "match": [{ "uri": { "prefix": path } }], "redirect": redirect });
    let rows = json!([
        row("/uri", json!({ "uri": "/new" })),
        row("/host", json!({ "authority": "other.example" })),
        row("/both", json!({ "uri": "/new?x=1", "authority": "other.example", "redirectCode": 302 })),
        row("/scheme", json!({ "scheme": "https" })),
        row("/port", json!({ "port": 8443 })),
        row("/default", json!({ "derivePort": "FROM_PROTOCOL_DEFAULT", "redirectCode": 303 })),
        row("/derived", json!({ "derivePort": "FROM_REQUEST_PORT", "redirectCode": 307 })),
        row("/all", json!({
            "scheme": "https", "port": 443, "authority": "a.example", "uri": "/", "redirectCode": 308,
        })),
        row("/pre", json!({ "prefixRewrite": "/after" })),
        {
            "match": [{ "uri": { "prefix": "/headers" } }], "redirect": { "uri": "/x" },
            "headers": { "response": { "set": { "x-set": "1" } } },
        },
    ]);
    let come = [
        ("/uri/a?q=1", "301 - direct_response"),
        ("/host/a?q=1", "301 - direct_response"),
        ("/both/a?q=1", "302 - direct_response"),
        ("/scheme/a", "301 - direct_response"),
        ("/port/a?b", "301 - direct_response"),
        ("/default", "303 - direct_response"),
        ("/derived", "307 - direct_response"),
        ("/all", "308 - direct_response"),
        ("/prefix/b?c=d", "301 - direct_response"),
        ("/headers", "301 - direct_response"),
    ];
    case("redirects", rows, come.into_iter().map(|(path, to)| get(path, to)).collect())
}

fn rewrites() -> Case {
    let row = |matching: Value, rewrite: Value| json!({ "match": [{ "uri": matching }], "rewrite": rewrite, "route": to("rewrites") });
    let rows = json!([
        row(json!({ "exact": "/exact" }), json!({ "uri": "/whole" })),
        row(json!({ "prefix": "/prefix/" }), json!({ "uri": "/" })),
        row(json!({ "prefix": "/cut" }), json!({ "uri": "/" })),
        row(json!({ "regex": "/re/[a-z]+" }), json!({ "uri": "/plain" })),
        row(
            json!({ "prefix": "/groups" }),
            json!({ "uriRegexRewrite": { "match": "^/groups/([^/]+)/(.*)$", "rewrite": "/\\2/\\1" } }),
        ),
        row(json!({ "prefix": "/authority" }), json!({ "authority": "other.example:81" })),
        row(json!({ "prefix": "/both" }), json!({ "uri": "/new", "authority": "other.example" })),
    ]);
    let paths = [
        "/exact?q=1",
        "/prefix/a/b?q=1",
        "/cut",
        "/cut/",
        "/cut/a",
        "/cute",
        "/re/abc",
        "/re/abc?q=1",
        "/groups/one/two?q=1",
        "/groups/one",
        "/authority",
        "/both/x?y",
    ];
    case("rewrites", rows, paths.into_iter().map(|path| get(path, FINE)).collect())
}

fn headers() -> Case {
    let rows = json!([
        {
            "match": [{ "uri": { "prefix": "/host" } }],
            "route": to("headers"),
            "headers": { "request": { "set": { "Host": "set.example" } } },
        },
        {
            "route": [{
                "destination": { "host": "headers" },
                "headers": {
                    "request": { "add": { "x-order": "destination" }, "remove": ["x-gone-too"] },
                    "response": { "add": { "x-answer": "destination" }, "remove": ["x-secret"] },
                },
            }],
            "headers": {
                "request": {
                    "set": { "x-set": "route", "x-path": "%REQ(:PATH)%" },
                    "add": { "x-order": "route", "x-add": "route" },
                    "remove": ["x-gone"],
                },
                "response": {
                    "set": { "x-code": "%RESPONSE_CODE%", "server": "mine" },
                    "add": { "x-answer": "route" },
                },
            },
        },
    ]);
    let sent: &[_] = &[
        ("x-set", "client"),
        ("x-add", "client"),
        ("x-gone", "1"),
        ("x-gone-too", "1"),
        ("x-backend", "header=x-secret:1 header=x-answer:application"),
    ];
    case("headers", rows, vec![get("/host", FINE), wish(sent, FINE), get("/a?b=c", FINE)])
}

fn per_destination() -> Case {
    let rows = json!([{
        "route": [
            {
                "destination": subset("per-destination", "v1"), "weight": 100,
                "headers": {
                    "request": { "set": { "Host": "v1.example", "x-to": "v1" } },
                    "response": { "set": { "x-from": "v1" } },
                },
            },
            {
                "destination": subset("per-destination", "v2"), "weight": 0,
                "headers": { "request": { "set": { "x-to": "v2" } } },
            },
        ],
        "headers": { "request": { "set": { "x-to": "any" } } },
    }]);
    let all = case("per-destination", rows, vec![get("/", FINE); 4]);
    Case { versions: &["v1", "v2"], ..all }
}

fn plain() -> Case {
    let posted = Sent { method: "POST", body: "some text", ..get("/post", FINE) };
    let head = Sent { method: "HEAD", ..get("/head", FINE) };
    let teapot = wish(&[("x-backend", "status=418")], "418 - via_upstream");
    let failed = wish(&[("x-backend", "status=500")], "500 - via_upstream");
    case("plain", Value::Null, vec![get("/", FINE), posted, head, teapot, failed])
}

fn delays() -> Case {
    let delay =
        |value: f64| json!({ "delay": { "fixedDelay": "0.3s", "percentage": { "value": value } } });
    let rows = json!([
        { "match": [{ "uri": { "prefix": "/all" } }], "fault": delay(100.0), "route": to("delays") },
        { "match": [{ "uri": { "prefix": "/none" } }], "fault": delay(0.0), "route": to("delays") },
        // The route's time begins after the delay.
        {
            "match": [{ "uri": { "prefix": "/short" } }], "timeout": "0.2s",
            "fault": delay(100.0), "route": to("delays"),
        },
    ]);
    let slow = Some((250, 2000));
    let asks = vec![
        Sent { takes: slow, ..get("/all", "200 DI via_upstream") },
        get("/none", FINE),
        Sent { takes: slow, ..get("/short", "200 DI via_upstream") },
        Sent {
            path: "/short",
            takes: Some((450, 2800)),
            ..wish(&[("x-backend", "delay=5000")], "504 DI,UT response_timeout")
        },
    ];
    case("delays", rows, asks)
}

fn aborts() -> Case {
    let row = |path: &str, abort: Value| json!({ "match": [{ "uri": { "prefix": path } }], "fault": { "abort": abort }, "route": to("aborts") });
    let all = json!({ "value": 100 });
    let rows = json!([
        row("/teapot", json!({ "httpStatus": 418, "percentage": all })),
        row("/error", json!({ "httpStatus": 500, "percentage": all })),
        row("/none", json!({ "httpStatus": 500, "percentage": { "value": 0 } })),
        row("/absent", json!({ "httpStatus": 500 })),
        row("/grpc", json!({ "grpcStatus": "UNAVAILABLE", "percentage": all })),
        {
            "match": [{ "uri": { "prefix": "/headers" } }], "route": to("aborts"),
            "fault": { "abort": { "httpStatus": 503, "percentage": all } },
            "headers": { "response": { "set": { "x-set": "1" } } },
        },
    ]);
    let grpc: &[_] = &[("content-type", "application/grpc"), ("te", "trailers")];
    let asks = vec![
        get("/teapot", "418 FI fault_filter_abort"),
        get("/error", "500 FI fault_filter_abort"),
        get("/none", FINE),
        get("/absent", FINE),
        get("/grpc", "200 FI fault_filter_abort"),
        Sent { method: "POST", headers: grpc, ..get("/grpc", "200 FI fault_filter_abort") },
        Sent { method: "POST", headers: grpc, ..get("/error", "200 FI fault_filter_abort") },
        Sent { method: "HEAD", ..get("/error", "500 FI fault_filter_abort") },
        get("/headers", "503 FI fault_filter_abort"),
    ];
    case("aborts", rows, asks)
}

fn delay_and_abort() -> Case {
    let rows = json!([{
        "fault": {
            "delay": { "fixedDelay": "0.3s", "percentage": { "value": 100 } },
            "abort": { "httpStatus": 555, "percentage": { "value": 100 } },
        },
        "route": to("delay-and-abort"),
    }]);
    let ask = get("/", "555 DI,FI fault_filter_abort");
    case("delay-and-abort", rows, vec![Sent { takes: Some((250, 2500)), ..ask }])
}

fn timeouts() -> Case {
    let rows = json!([
        { "match": [{ "uri": { "prefix": "/none" } }], "route": to("timeouts") },
        { "timeout": "0.5s", "route": to("timeouts") },
    ]);
    let late = "504 UT response_timeout";
    let grpc: &[_] = &[
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "200m"),
        ("x-backend", "delay=3000"),
    ];
    let asks = vec![
        get("/", FINE),
        Sent { takes: Some((450, 2800)), ..wish(&[("x-backend", "delay=3000")], late) },
        Sent {
            takes: Some((450, 2800)),
            method: "POST",
            body: "text",
            ..wish(&[("x-backend", "delay=3000")], late)
        },
        Sent { path: "/none", ..wish(&[("x-backend", "delay=700")], FINE) },
        Sent { method: "POST", ..wish(grpc, "200 UT response_timeout") },
        Sent {
            takes: Some((450, 2800)),
            ..wish(&[("x-backend", "delay=3000"), ("x-envoy-upstream-rq-timeout-ms", "200")], late)
        },
    ];
    case("timeouts", rows, asks)
}

/// Tries are bounded one by one and together.
fn late_tries() -> Case {
    let rows = json!([
        {
            "match": [{ "uri": { "prefix": "/all" } }], "timeout": "0.5s", "route": to("late-tries"),
            "retries": { "attempts": 10, "perTryTimeout": "0.2s", "retryOn": "5xx" },
        },
        {
            "route": to("late-tries"),
            "retries": { "attempts": 2, "perTryTimeout": "0.2s", "retryOn": "gateway-error" },
        },
    ]);
    let slow: &[_] = &[("x-backend", "delay=3000")];
    let asks = vec![
        Sent { takes: Some((550, 2900)), ..wish(slow, "504 URX,UT upstream_per_try_timeout") },
        Sent { path: "/all", takes: Some((450, 2800)), ..wish(slow, "504 UT response_timeout") },
        Sent { path: "/all", ..wish(&[("x-backend", "fail=3")], FINE) },
    ];
    case("late-tries", rows, asks)
}

fn retries() -> Case {
    let rows = json!([{ "route": to("retries"), "retries": { "attempts": 3, "retryOn": "5xx" } }]);
    let asks = vec![
        wish(&[("x-backend", "fail=2")], FINE),
        Sent { method: "POST", body: "sent again", ..wish(&[("x-backend", "fail=3")], FINE) },
        wish(&[("x-backend", "fail=4")], "503 URX via_upstream"),
        wish(&[("x-backend", "status=404")], "404 - via_upstream"),
        wish(&[("x-backend", "fail=1 header=x-envoy-overloaded:true")], FINE),
        wish(&[("x-backend", "status=503 header=x-envoy-ratelimited:true")], "503 - via_upstream"),
    ];
    case("retries", rows, asks)
}

fn numeric() -> Case {
    let rows = json!([{
        "route": to("numeric"), "retries": { "attempts": 1, "retryOn": "409,gateway-error" },
    }]);
    let asks = vec![
        wish(&[("x-backend", "status=409")], "409 URX via_upstream"),
        wish(&[("x-backend", "fail=1")], FINE),
        wish(&[("x-backend", "status=500")], "500 - via_upstream"),
        wish(&[("x-backend", "grpc=14"), ("content-type", "application/grpc")], FINE),
    ];
    case("numeric", rows, asks)
}

/// What Istio retries without a rule.
fn exhausted() -> Case {
    let rows = json!([
        { "match": [{ "uri": { "prefix": "/off" } }], "route": to("exhausted"), "retries": { "attempts": 0 } },
        { "route": to("exhausted") },
    ]);
    let grpc: &[_] =
        &[("x-backend", "grpc=14"), ("content-type", "application/grpc"), ("te", "trailers")];
    let asks = vec![
        wish(&[("x-backend", "fail=1")], "503 - via_upstream"),
        Sent { method: "POST", ..wish(grpc, "200 URX via_upstream") },
        Sent { method: "POST", path: "/off", ..wish(grpc, FINE) },
    ];
    case("exhausted", rows, asks)
}

fn unreachable() -> Case {
    let rows = json!([
        { "match": [{ "uri": { "prefix": "/off" } }], "route": to("unreachable"), "retries": { "attempts": 0 } },
        { "route": to("unreachable") },
    ]);
    let refused = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";
    let (once, again): (&'static str, &'static str) =
        (format!("503 UF {refused}").leak(), format!("503 URX,UF {refused}").leak());
    let asks = vec![get("/off", once), get("/", again)];
    Case { versions: &["dead"], ..case("unreachable", rows, asks) }
}

/// An application may not ask its proxy for retries.
fn asked() -> Case {
    let asks = vec![
        wish(&[("x-backend", "fail=1"), ("x-envoy-retry-on", "5xx")], "503 - via_upstream"),
        wish(
            &[("x-backend", "fail=4"), ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "4")],
            "503 - via_upstream",
        ),
    ];
    case("asked", json!([{ "route": to("asked") }]), asks)
}

/// An application that breaks off.
fn broken() -> Case {
    let rows = json!([
        { "match": [{ "uri": { "prefix": "/off" } }], "route": to("broken"), "retries": { "attempts": 0 } },
        { "route": to("broken"), "retries": { "attempts": 2, "retryOn": "reset" } },
    ]);
    let closed = "upstream_reset_before_response_started{connection_termination}";
    let (once, again): (&'static str, &'static str) =
        (format!("503 UC {closed}").leak(), format!("503 URX,UC {closed}").leak());
    let close: &[_] = &[("x-backend", "close")];
    let asks = vec![
        Sent { path: "/off", ..wish(close, once) },
        wish(close, again),
        Sent { method: "POST", body: "x", ..wish(close, again) },
    ];
    case("broken", rows, asks)
}

/// Retries are bounded by what the pool allows.
fn budget() -> Case {
    let rows = json!([{ "route": to("budget"), "retries": { "attempts": 3, "retryOn": "5xx" } }]);
    let slow: &[_] = &[("x-backend", "fail=1 delay=600")];
    let asks = vec![wish(slow, FINE), Sent { after: 300, ..wish(slow, "503 UO via_upstream") }];
    let policy = json!({ "connectionPool": { "http": { "maxRetries": 1 } } });
    Case { together: true, policy, ..case("budget", rows, asks) }
}

fn mirrored() -> Case {
    let rows = json!([{
        "route": [{ "destination": subset("mirrored", "v1") }],
        "mirror": subset("mirrored", "v2"),
    }]);
    let asks = vec![
        get("/copied?x=1", FINE),
        Sent { method: "POST", body: "a body", ..get("/copied", FINE) },
        Sent { host: Some("mirrored"), ..get("/copied", FINE) },
        // The main request does not wait for the copy, nor fail with it.
        Sent {
            method: "PUT",
            body: "a body",
            ..wish(&[("x-backend", "status=503")], "503 - via_upstream")
        },
    ];
    Case { versions: &["v1", "v2"], copies: 2, ..case("mirrored", rows, asks) }
}

fn some_mirrored() -> Case {
    let rows = json!([
        {
            "match": [{ "uri": { "prefix": "/never" } }],
            "route": [{ "destination": subset("some-mirrored", "v1") }],
            "mirror": subset("some-mirrored", "v2"), "mirrorPercentage": { "value": 0 },
        },
        {
            "match": [{ "uri": { "prefix": "/gone" } }],
            "route": [{ "destination": subset("some-mirrored", "v1") }],
            "mirror": { "host": "unreachable" },
        },
    ]);
    let asks = vec![get("/never", FINE), get("/gone", FINE)];
    Case { versions: &["v1", "v2"], ..case("some-mirrored", rows, asks) }
}

fn shares() -> Case {
    let rows = json!([
        {
            "match": [{ "uri": { "prefix": "/v2" } }],
            "route": [
                { "destination": subset("shares", "v1"), "weight": 0 },
                { "destination": subset("shares", "v2"), "weight": 100 },
            ],
        },
        {
            "match": [{ "uri": { "prefix": "/missing" } }],
            "route": [{ "destination": subset("shares", "v3") }],
        },
        { "route": [{ "destination": subset("shares", "v1") }] },
    ]);
    let missing = "503 NC cluster_not_found";
    let asks = vec![get("/v2", FINE), get("/v2", FINE), get("/", FINE), get("/missing", missing)];
    Case { versions: &["v1", "v2"], ..case("shares", rows, asks) }
}

const OVERFLOW: &str = "503 UO upstream_reset_before_response_started{overflow}";

/// One connection, one request that waits for it.
fn pools() -> Case {
    let slow: &[_] = &[("x-backend", "delay=800")];
    let after = |after, comes_to| Sent { after, ..wish(slow, comes_to) };
    let asks = vec![after(0, FINE), after(200, FINE), after(400, OVERFLOW), after(500, OVERFLOW)];
    let policy = json!({ "connectionPool": {
        "tcp": { "maxConnections": 1 }, "http": { "http1MaxPendingRequests": 1 },
    } });
    Case { together: true, policy, ..case("pools", Value::Null, asks) }
}

/// A connection for each request.
fn spent() -> Case {
    let policy = json!({ "connectionPool": { "http": { "maxRequestsPerConnection": 1 } } });
    Case { policy, ..case("spent", Value::Null, vec![get("/", FINE); 3]) }
}

/// Few requests at once, whatever the connections.
fn requests() -> Case {
    let slow: &[_] = &[("x-backend", "delay=800")];
    let after = |after, comes_to| Sent { after, ..wish(slow, comes_to) };
    let asks = vec![after(0, FINE), after(200, FINE), after(400, OVERFLOW)];
    let policy = json!({ "connectionPool": { "http": { "http2MaxRequests": 2 } } });
    Case { together: true, policy, ..case("requests", Value::Null, asks) }
}

const NOBODY: &str = "503 UH no_healthy_upstream";

fn ejected() -> Case {
    let failed = wish(&[("x-backend", "status=500")], "500 - via_upstream");
    let asks = vec![failed, get("/", FINE), failed, failed, get("/", NOBODY)];
    let policy = json!({ "outlierDetection": {
        "consecutive5xxErrors": 2, "interval": "60s", "baseEjectionTime": "60s", "maxEjectionPercent": 100,
    } });
    Case { policy, ..case("ejected", Value::Null, asks) }
}

fn gateway_errors() -> Case {
    let other = wish(&[("x-backend", "status=500")], "500 - via_upstream");
    let failed = wish(&[("x-backend", "status=502")], "502 - via_upstream");
    let asks = vec![failed, other, failed, failed, get("/", NOBODY)];
    let policy = json!({ "outlierDetection": {
        "consecutiveGatewayErrors": 2, "consecutive5xxErrors": 0,
        "interval": "60s", "baseEjectionTime": "60s", "maxEjectionPercent": 100,
    } });
    Case { policy, ..case("gateway-errors", Value::Null, asks) }
}

/// What the endpoint answers and that it is not reached are counted apart.
fn split() -> Case {
    let rows = json!([{ "route": to("split"), "retries": { "attempts": 0 } }]);
    let refused = "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";
    let asks = vec![get("/", refused), get("/", refused), get("/", refused), get("/", NOBODY)];
    let policy = json!({ "outlierDetection": {
        "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 3,
        "consecutive5xxErrors": 1, "interval": "60s", "baseEjectionTime": "60s", "maxEjectionPercent": 100,
    } });
    Case { versions: &["dead"], policy, ..case("split", rows, asks) }
}

/// One endpoint of one is more than the share that may be put aside.
fn kept() -> Case {
    let failed = wish(&[("x-backend", "status=500")], "500 - via_upstream");
    let policy = json!({ "outlierDetection": {
        "consecutive5xxErrors": 2, "interval": "60s", "baseEjectionTime": "60s",
    } });
    Case { policy, ..case("kept", Value::Null, vec![failed, failed, get("/", FINE)]) }
}

/// A service without endpoints.
fn nobody() -> Case {
    Case { versions: &[], ..case("nobody", Value::Null, vec![get("/", NOBODY)]) }
}
