//! Requests that the proxy answers itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proxy_model::flags::ResponseFlags;
use proxy_model::http::action::{Action, DirectResponse};
use proxy_model::http::filter::{
    AbortWith, CorsPolicy, Fault, FilterOverride, FilterOverrides, HttpFilter, HttpFilterConfig,
    Percentage,
};
use proxy_model::http::manager::RouteSource;
use proxy_model::http::redirect::Redirect;
use proxy_model::http::rewrite::PathRewrite;
use proxy_model::matcher::StringMatcher;
use proxy_model::problem::Refusal;
use proxy_model::snapshot::OnDemand;

use super::harness::{
    Proxy, any_host, cluster, echo, forwarding, get, local, manager, route, server, to,
};

#[test]
fn local_replies_are_envoys() {
    local(async {
        let direct = DirectResponse { status: 418, body: Bytes::from_static(b"tea") };
        let redirect = Redirect {
            scheme: Some("https".into()),
            host: None,
            port: None,
            path: PathRewrite::Keep,
            strip_query: false,
            status: 308,
        };
        let refusal = Refusal { name: "x".into(), reason: "y z".into() };
        let host = any_host(vec![
            route("/direct", Action::DirectResponse(Arc::new(direct))),
            route("/redirect", Action::Redirect(Arc::new(redirect))),
            route("/refuse", Action::Refuse(refusal)),
            route("/gone", Action::Forward(Arc::new(to("gone")))),
            route("/empty", Action::Forward(Arc::new(to("empty")))),
        ]);
        let proxy = Proxy::new(manager(host), vec![cluster("empty", &[])]);
        let rows = [
            ("/direct", 418, "tea", "direct_response", ResponseFlags::NONE),
            ("/redirect", 308, "", "direct_response", ResponseFlags::NONE),
            ("/gone", 503, "", "cluster_not_found", ResponseFlags::NC),
            ("/empty", 503, "no healthy upstream", "no_healthy_upstream", ResponseFlags::UH),
            ("/other", 404, "", "route_not_found", ResponseFlags::NR),
            ("/%00", 400, "", "path_normalization_failed", ResponseFlags::NONE),
            (
                "/refuse",
                500,
                "x cannot be honoured: y z",
                "filter_not_supported{x:y_z}",
                ResponseFlags::NFCF,
            ),
        ];
        for (number, (path, status, text, details, flags)) in rows.into_iter().enumerate() {
            let (head, body) = proxy.ask(get(path)).await;
            assert_eq!((head.status().as_u16(), &*body), (status, text), "{path}");
            assert_eq!(head.headers()["server"], "istio-envoy");
            let record = proxy.nth_record(number).await;
            assert_eq!((&*record.details, record.flags), (details, flags), "{path}");
            assert_eq!(record.status, status);
            if path == "/redirect" {
                assert_eq!(head.headers()["location"], "https://a.example/redirect");
            }
        }
    });
}

#[test]
fn configuration_that_never_comes_is_a_named_reason() {
    local(async {
        let mut settings = forwarding(to("a"));
        settings.route = RouteSource::Rds("80".into());
        let proxy = Proxy::new(settings, Vec::new());
        let mut snapshot = proxy_model::snapshot::Snapshot::default();
        snapshot.mesh.on_demand = Some(OnDemand::default());
        *proxy.config.snapshot.borrow_mut() = Arc::new(snapshot);
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!(head.status(), 503);
        assert!(body.ends_with("RDS 80"), "{body}");
        assert_eq!(*proxy.config.asked.borrow(), ["RDS 80"]);
        let record = proxy.record().await;
        assert_eq!(&*record.details, "configuration_unknown{RDS_80}");
    });
}

fn with_filter(filter: HttpFilter, change: Option<FilterOverride>) -> Proxy {
    let mut entry = route(
        "/",
        Action::DirectResponse(Arc::new(DirectResponse {
            status: 200,
            body: Bytes::from_static(b"ok"),
        })),
    );
    entry.overrides = FilterOverrides(change.into_iter().map(|c| ("f".into(), c)).collect());
    let mut settings = manager(any_host(vec![entry]));
    settings.filters.insert(0, HttpFilterConfig { name: "f".into(), disabled: false, filter });
    Proxy::new(settings, Vec::new())
}

#[test]
fn a_fault_aborts_where_the_route_says_so() {
    local(async {
        let fault = |status| {
            Arc::new(Fault {
                abort: Some((AbortWith::Http(status), Percentage::ALL)),
                ..Fault::default()
            })
        };
        let none = with_filter(HttpFilter::Fault(Arc::default()), None);
        assert_eq!(none.ask(get("/")).await.0.status(), 200);
        let change = FilterOverride::Fault(fault(555));
        let proxy = with_filter(HttpFilter::Fault(Arc::default()), Some(change));
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!((head.status().as_u16(), &*body), (555, "fault filter abort"));
        let record = proxy.record().await;
        assert_eq!((record.flags, &*record.details), (ResponseFlags::FI, "fault_filter_abort"));
        let off = with_filter(HttpFilter::Fault(fault(555)), Some(FilterOverride::Disabled));
        assert_eq!(off.ask(get("/")).await.0.status(), 200);
    });
}

#[test]
fn preflights_are_answered() {
    local(async {
        let policy = CorsPolicy {
            allow_origins: vec![StringMatcher::exact("https://b.example")],
            allow_methods: Some("GET,PUT".into()),
            allow_credentials: true,
            ..CorsPolicy::default()
        };
        let change = FilterOverride::Cors(Arc::new(policy));
        let proxy = with_filter(HttpFilter::Cors, Some(change));
        let ask = |method: &str, origin: &str| {
            Request::builder()
                .method(method)
                .uri("/")
                .header("host", "a.example")
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
                .body(Full::<Bytes>::default())
                .unwrap()
        };
        let (head, body) = proxy.ask(ask("OPTIONS", "https://b.example")).await;
        assert_eq!(body, "");
        assert_eq!(head.headers()["access-control-allow-methods"], "GET,PUT");
        assert_eq!(head.headers()["access-control-allow-origin"], "https://b.example");
        assert_eq!(head.headers()["access-control-allow-credentials"], "true");
        let (head, _) = proxy.ask(ask("OPTIONS", "https://c.example")).await;
        assert!(!head.headers().contains_key("access-control-allow-origin"));
        let (head, body) = proxy.ask(ask("GET", "https://b.example")).await;
        assert_eq!(body, "ok");
        assert_eq!(head.headers()["access-control-allow-origin"], "https://b.example");
    });
}

#[test]
fn a_filter_that_is_not_known_refuses_only_its_chain() {
    local(async {
        let refusal = Refusal { name: "envoy.filters.http.lua".into(), reason: "not known".into() };
        let proxy = with_filter(HttpFilter::Refuse(refusal), None);
        let (head, body) = proxy.ask(get("/")).await;
        assert_eq!(head.status(), 500);
        assert!(body.contains("envoy.filters.http.lua"), "{body}");
        assert_eq!(proxy.record().await.flags, ResponseFlags::NFCF);
    });
}

#[tokio::test(start_paused = true)]
async fn a_route_has_only_so_much_time() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut forward = to("a");
            forward.timeout = Some(Duration::from_secs(3));
            let target = cluster("a", &[listener.local_addr().unwrap()]);
            let proxy = Proxy::new(forwarding(forward), vec![target]);
            let begun = tokio::time::Instant::now();
            let (head, body) = proxy.ask(get("/")).await;
            assert_eq!((head.status().as_u16(), &*body), (504, "upstream request timeout"));
            assert!(begun.elapsed() >= Duration::from_secs(3));
            let record = proxy.record().await;
            assert_eq!((record.flags, &*record.details), (ResponseFlags::UT, "response_timeout"));
        })
        .await;
}

#[test]
fn https_is_required_where_the_host_says_so() {
    local(async {
        let server = server(false, echo).await;
        let mut host = any_host(vec![route("/", Action::Forward(Arc::new(to("a"))))]);
        host.require_tls = proxy_model::http::virtual_host::RequireTls::All;
        let proxy = Proxy::new(manager(host), vec![cluster("a", &[server.address])]);
        let (head, _) = proxy.ask(get("/x?y")).await;
        assert_eq!(head.status(), 301);
        assert_eq!(head.headers()["location"], "https://a.example/x?y");
    });
}
