//! A real Prometheus on the cluster scrapes the mesh, and answers what users ask it.

use mesh_test::mesh::PATIENCE;
use mesh_test::metrics::sum;
use mesh_test::{Mesh, eventually, settings};
use serde_json::Value;

/// Requests that the test makes.
const REQUESTS: u32 = 30;

const PRODUCTPAGE: &str = "productpage.default.svc.cluster.local";
const REVIEWS: &str = "reviews.default.svc.cluster.local";

#[test]
fn the_queries_of_the_task_are_answered() {
    let mesh = Mesh::with_bookinfo();
    let addon = settings::repository().join("samples/addons/prometheus.yaml");
    mesh.kubectl.ok(&["apply", "-f", &addon.display().to_string()]);
    let rollout = ["rollout", "status", "deployment/prometheus", "--timeout=90s"];
    let rolled_out = mesh.kubectl.run(&[&rollout[..], &["-n", "istio-system"]].concat());
    assert_eq!(rolled_out.code, 0, "{rolled_out:#?}\n{}", mesh.state());
    let prometheus = mesh.dashboard(&["prometheus"]);

    // Six sidecars, the gateway, pilot, citadel and galley.
    eventually("all of the mesh is scraped", PATIENCE, || {
        let up = prometheus.query("up{job=\"kubernetes-pods\"} == 1")?;
        let mut pods: Vec<&str> = up.iter().map(|one| label(one, "pod")).collect();
        pods.sort_unstable();
        let are = |app: &&str| pods.iter().any(|pod| pod.starts_with(app));
        let all = ["istiod-", "istio-ca-", "istio-galley-", "istio-ingressgateway-", "reviews-v3-"];
        let all = all.iter().all(are);
        if pods.len() == 10 && all { Ok(()) } else { Err(format!("{pods:?}")) }
    });

    // What the sidecar itself has counted before is what Prometheus adds the test's requests to.
    let outsider = mesh.outsider();
    let (_, address) = mesh.pod("productpage", "");
    let answered = [("destination_service", PRODUCTPAGE), ("response_code", "200")];
    let count = || sum(&mesh.metrics(&outsider, &address), "istio_requests_total", &answered);
    let before = count();
    for _ in 0..REQUESTS {
        assert_eq!(mesh.page().unwrap().status, 200);
    }
    let expected = before + f64::from(REQUESTS);
    eventually("the sidecar has counted", PATIENCE, || {
        let counted = count();
        if counted == expected { Ok(()) } else { Err(format!("{counted} of {expected}")) }
    });

    let all = answer(&mesh, &prometheus, "istio_requests_total");
    assert!(all.iter().any(|one| label(one, "reporter") == "source"), "{all:?}");
    let query = format!("istio_requests_total{{destination_service=\"{PRODUCTPAGE}\"}}");
    eventually("Prometheus has as many as the sidecar", PATIENCE, || {
        let series = prometheus.query(&query)?;
        let own = series.iter().filter(|one| {
            label(one, "reporter") == "destination" && label(one, "response_code") == "200"
        });
        let total: f64 = own.map(value).sum();
        if total == expected { Ok(()) } else { Err(format!("{total} of {expected}: {series:?}")) }
    });
    let all = answer(&mesh, &prometheus, &query);
    let one = all.iter().find(|one| label(one, "reporter") == "destination").unwrap();
    for (name, expected) in [("namespace", "default"), ("destination_app", "productpage")] {
        assert_eq!(label(one, name), expected, "{one}");
    }
    let query = format!(
        "istio_requests_total{{destination_service=\"{REVIEWS}\", destination_version=\"v3\"}}"
    );
    // Each pod is scraped at a moment of its own.
    eventually("v3 of the reviews has told of its share", PATIENCE, || {
        let v3 = prometheus.query(&query)?;
        let own = v3.iter().filter(|one| label(one, "reporter") == "destination");
        let asked: f64 = own.map(value).sum();
        if asked >= 1.0 && asked < expected { Ok(()) } else { Err(format!("{v3:?}")) }
    });
    let query = "rate(istio_requests_total{destination_service=~\"productpage.*\", \
         response_code=\"200\"}[5m])";
    eventually("there is a rate", PATIENCE, || {
        let series = prometheus.query(query)?;
        if series.iter().any(|one| value(one) > 0.0) { Ok(()) } else { Err(format!("{series:?}")) }
    });
}

#[track_caller]
fn answer(mesh: &Mesh, prometheus: &mesh_test::Dashboard, query: &str) -> Vec<Value> {
    let series = prometheus.query(query).unwrap_or_else(|e| panic!("{e}\n{}", mesh.state()));
    assert!(!series.is_empty(), "{query} has no answer\n{}", mesh.state());
    series
}

fn label<'a>(series: &'a Value, name: &str) -> &'a str {
    series["metric"][name].as_str().unwrap_or_default()
}

fn value(series: &Value) -> f64 {
    series["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
