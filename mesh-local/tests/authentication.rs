//! Who may talk to the server, over its real front: certificates, tokens, nobody; and what it
//! keeps over a restart.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

use std::path::Path;

use http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use mesh_local::api::{ApiServer, Config, ISSUER};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A server on a free port of the loopback.
struct Front {
    server: ApiServer,
    url: String,
    serving: JoinSet<()>,
}

impl Front {
    async fn start(data: Option<&Path>) -> Self {
        let config = Config { data: data.map(Path::to_path_buf), ..Config::default() };
        let server = ApiServer::start(config).await.expect("the server starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        let front = server.clone();
        serving.spawn(async move { front.serve(listener).await.unwrap() });
        Self { server, url, serving }
    }

    fn kubeconfig(&self) -> Kubeconfig {
        let text = self.server.admin_kubeconfig("test", &self.url).unwrap();
        Kubeconfig::from_yaml(&text).unwrap()
    }

    async fn client(&self, kubeconfig: Kubeconfig) -> Client {
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }

    async fn admin(&self) -> Client {
        self.client(self.kubeconfig()).await
    }

    /// A client with a token instead of a certificate; an empty token is none at all.
    async fn with_token(&self, token: &str) -> Client {
        let mut kubeconfig = self.kubeconfig();
        let user = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        user.client_certificate_data = None;
        user.client_key_data = None;
        user.token = (!token.is_empty()).then(|| token.to_owned().into());
        self.client(kubeconfig).await
    }

    async fn stop(mut self) {
        self.server.shutdown();
        while self.serving.join_next().await.is_some() {}
        self.server.flush().unwrap();
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API: {other}"),
    }
}

async fn account(client: &Client, name: &str) {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let account = object(json!({"metadata": {"name": name}}));
    accounts.create(&PostParams::default(), &account).await.unwrap();
}

async fn token(client: &Client, name: &str, spec: Value) -> String {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let request: TokenRequest = object(json!({"metadata": {}, "spec": spec}));
    let params = PostParams::default();
    let answer = accounts.create_token_request(name, &params, &request).await;
    answer.unwrap().status.unwrap().token
}

async fn review(client: &Client, token: &str, audiences: &[&str]) -> Value {
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let review = object(json!({"metadata": {}, "spec": {"token": token, "audiences": audiences}}));
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    serde_json::to_value(answer.status.unwrap()).unwrap()
}

#[tokio::test]
async fn certificates_tokens_and_nobody() {
    let front = Front::start(None).await;
    let admin = front.admin().await;
    account(&admin, "me").await;
    let maps = |client: &Client| Api::<ConfigMap>::default_namespaced(client.clone());
    maps(&admin).list(&ListParams::default()).await.unwrap();

    let token = token(&admin, "me", json!({"audiences": []})).await;
    let me = front.with_token(&token).await;
    let refused = maps(&me).list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(&refused), 403);
    assert!(refused.to_string().contains("system:serviceaccount:default:me"), "{refused}");
    let bad = front.with_token("a.b.c").await;
    assert_eq!(code(&maps(&bad).list(&ListParams::default()).await.unwrap_err()), 401);

    let nobody = front.with_token("").await;
    nobody.apiserver_version().await.unwrap();
    let refused = maps(&nobody).list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(&refused), 403);
    assert!(refused.to_string().contains("system:anonymous"), "{refused}");
    front.stop().await;
}

#[tokio::test]
async fn token_reviews_check_audience_and_binding() {
    let front = Front::start(None).await;
    let admin = front.admin().await;
    account(&admin, "default").await;
    let pods: Api<Pod> = Api::default_namespaced(admin.clone());
    let pod = object(
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}),
    );
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
    let bound = json!({
        "audiences": ["istio-ca"], "expirationSeconds": 3607,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod.metadata.uid},
    });
    let token = token(&admin, "default", bound).await;
    let good = review(&admin, &token, &["istio-ca", "other"]).await;
    assert_eq!(good["authenticated"], true);
    assert_eq!(good["audiences"], json!(["istio-ca"]));
    assert_eq!(good["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let other = review(&admin, &token, &["vault"]).await;
    assert_ne!(other["authenticated"], json!(true));
    assert!(other["error"].as_str().unwrap().contains("is invalid for the target audiences"));
    // Without audiences the server's own is meant, which this token is not for.
    assert_ne!(review(&admin, &token, &[]).await["authenticated"], json!(true));
    let client = front.with_token(&token).await;
    assert_eq!(code(&pods_of(&client).list(&ListParams::default()).await.unwrap_err()), 401);
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert_ne!(review(&admin, &token, &["istio-ca"]).await["authenticated"], json!(true));
    assert_ne!(review(&admin, "garbage", &[ISSUER]).await["authenticated"], json!(true));
    front.stop().await;
}

fn pods_of(client: &Client) -> Api<Pod> {
    Api::default_namespaced(client.clone())
}

#[tokio::test]
async fn the_front_refuses_what_it_does_not_serve() {
    let front = Front::start(None).await;
    let admin = front.admin().await;
    let send = |method: &str, path: &str, accept: &str, body: Vec<u8>| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let admin = admin.clone();
        async move { admin.send(request).await.unwrap().status().as_u16() }
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(send("GET", "/nowhere", "*/*", vec![]).await, 404);
    assert_eq!(send("GET", "/apis/none/v1/things", "*/*", vec![]).await, 404);
    assert_eq!(send("PUT", maps, "*/*", vec![]).await, 405);
    assert_eq!(send("POST", "/api/v1/configmaps", "*/*", vec![]).await, 405);
    assert_eq!(send("GET", maps, "text/html", vec![]).await, 406);
    assert_eq!(send("POST", maps, "*/*", vec![b' '; 4 << 20]).await, 413);
    assert_eq!(send("POST", maps, "*/*", b"{".to_vec()).await, 400);
    let deep = [b'['; 100_000].to_vec();
    assert_eq!(send("POST", maps, "*/*", deep).await, 400);
    assert_eq!(send("GET", "/readyz?verbose", "*/*", vec![]).await, 200);
    assert_eq!(send("GET", "/openid/v1/jwks", "*/*", vec![]).await, 200);
    front.stop().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let front = Front::start(Some(dir.path())).await;
    let admin = front.admin().await;
    let old_config = front.kubeconfig();
    account(&admin, "me").await;
    let token = token(&admin, "me", json!({"audiences": []})).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(admin.clone());
    let kept = object(json!({"metadata": {"name": "kept"}, "data": {"a": "1"}}));
    let kept: ConfigMap = maps.create(&PostParams::default(), &kept).await.unwrap();
    let old_version = kept.metadata.resource_version.clone().unwrap();
    front.stop().await;

    let front = Front::start(Some(dir.path())).await;
    let mut again = old_config;
    again.clusters[0].cluster.as_mut().unwrap().server = Some(front.url.clone());
    let client = front.client(again).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let found = maps.get("kept").await.unwrap();
    assert_eq!(found.metadata.uid, kept.metadata.uid);
    assert_eq!(review(&client, &token, &[]).await["authenticated"], true);
    // A watch from before the restart is told to list again.
    let path = format!(
        "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={old_version}&timeoutSeconds=5"
    );
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    let text =
        String::from_utf8(response.into_body().collect_bytes().await.unwrap().to_vec()).unwrap();
    assert!(text.contains("\"ERROR\"") && text.contains("Expired"), "{text}");
    front.stop().await;
}
