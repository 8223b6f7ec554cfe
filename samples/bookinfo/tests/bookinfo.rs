//! Bookinfo as its users meet it, in one process and over real sockets.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may give up like the test")]

mod shop;

use std::time::Duration;

use bookinfo::details::{BookService, Details};
use bookinfo::ratings::{Ratings, Variant};
use http::StatusCode;
use serde_json::{Value, json};
use shop::{Backends, Shop, get, get_with, nowhere, send};

const DETAILS: &str = r#"{"id":0,"author":"A","ISBN-10":"1"}"#;
const REVIEWS: &str = r#"{"id":"0","podname":"p","clustername":"null","reviews":[]}"#;

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn three_versions_of_reviews() {
    let shop = Shop::new();
    for (version, black, red, full) in [("v1", 0, 0, 0), ("v2", 2, 0, 9), ("v3", 0, 2, 9)] {
        let page = get(shop.whole(version), "/productpage?u=normal").await;
        assert_eq!(page.status, 200);
        for part in [
            "<title>Simple Bookstore App</title>",
            "<h1>The Comedy of Errors</h1>",
            "Book Details",
            "1234567890",
            "PublisherA",
            "Book Reviews",
            "Reviewer1",
            "Reviewer2",
            &format!("Reviews served by: <code id=\"pod\">reviews-{version}-pod</code>"),
            "id=\"sign-in-button\"",
        ] {
            assert!(page.body.contains(part), "{version}: {part}: {}", page.body);
        }
        let count = |what: &str| page.body.matches(what).count();
        assert_eq!(count("data-color=\"black\""), black, "{version}");
        assert_eq!(count("data-color=\"red\""), red, "{version}");
        assert_eq!(count("class=\"full\""), full, "{version}");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn signing_in_and_out() {
    let shop = Shop::new();
    let (ratings, mut asked) = shop.fake(StatusCode::OK, r#"{"ratings":{"Reviewer1":1}}"#);
    let reviews = shop.reviews("v2", ratings);
    let page = shop.productpage(Backends { reviews, ratings, ..Backends::new(shop.details()) });

    let referer = [("referer", "http://shop/productpage?u=test")];
    let login = send(page, "POST /login", &referer, b"username=jason&passwd=secret").await;
    assert_eq!(
        (login.status, &login.headers["location"]),
        (302, &"/productpage?u=test".parse().unwrap())
    );
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    // A caller's own end-user header is not believed.
    let signed_in = [("cookie", cookie), ("end-user", "mallory")];
    let shown = get_with(page, "/productpage", &signed_in).await;
    assert!(shown.body.contains("<span id=\"user\">jason</span>"), "{}", shown.body);
    assert!(shown.body.contains("id=\"sign-out\"") && !shown.body.contains("sign-in-button"));
    let request = asked.recv().await.unwrap();
    assert_eq!(request.headers["end-user"], "jason");
    // One reviewer rated, the other did not.
    assert!(shown.body.contains("1 of 5 stars"), "{}", shown.body);
    assert!(shown.body.contains("Ratings service is currently unavailable"));

    let logout = get_with(page, "/logout", &[("referer", "http://elsewhere/")]).await;
    assert_eq!(
        (logout.status, &logout.headers["location"]),
        (302, &"/productpage".parse().unwrap())
    );
    assert!(logout.headers["set-cookie"].to_str().unwrap().starts_with("session=; "));
    get(page, "/productpage").await;
    assert!(!asked.recv().await.unwrap().headers.contains_key("end-user"));
}

#[tokio::test]
async fn reviews_that_take_too_long_are_asked_twice_and_then_missing() {
    let shop = Shop::new();
    let (reviews, mut asked) = shop.silent();
    let patience = Duration::from_millis(20);
    let (details, _requests) = shop.fake(StatusCode::OK, DETAILS);
    let with =
        Backends { details, reviews, ratings: nowhere(), patience, ..Backends::new(details) };
    let page = shop.productpage(with);
    let shown = get(page, "/productpage").await;
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("Error fetching product reviews!"), "{}", shown.body);
    let sorry = "Sorry, product reviews are currently unavailable for this book.";
    assert!(shown.body.contains(sorry));
    assert!(asked.try_recv().is_ok() && asked.try_recv().is_ok() && asked.try_recv().is_err());

    let api = get(page, "/api/v1/products/0/reviews").await;
    assert_eq!((api.status, parsed(&api.body)), (500, json!({ "error": sorry })));
    let metrics = get(page, "/metrics").await.body;
    let line = "request_result_total{destination_app=\"reviews\",response_code=\"500\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn each_service_can_be_missing() {
    let shop = Shop::new();
    let reviews = shop.reviews("v3", nowhere());
    let page = shop.productpage(Backends { reviews, ..Backends::new(nowhere()) });
    let shown = get(page, "/productpage").await;
    assert_eq!(shown.status, 200);
    let sorry = "Sorry, product details are currently unavailable for this book.";
    assert!(shown.body.contains(sorry), "{}", shown.body);
    assert_eq!(shown.body.matches("Ratings service is currently unavailable").count(), 2);
    assert!(shown.body.contains("reviews-v3-pod"));

    // What a proxy answers in a service's stead shows as that status in the API.
    let (refusing, _asked) = shop.fake(StatusCode::SERVICE_UNAVAILABLE, "fault filter abort");
    let page = shop.productpage(Backends::new(refusing));
    for part in ["", "/reviews", "/ratings"] {
        let api = get(page, &format!("/api/v1/products/0{part}")).await;
        assert_eq!(api.status, 503, "{part}");
        let name = part.trim_start_matches('/');
        let name = if name.is_empty() { "details" } else { name };
        let sorry = format!("Sorry, product {name} are currently unavailable for this book.");
        assert_eq!(parsed(&api.body), json!({ "error": sorry }));
    }
}

#[tokio::test]
async fn trace_headers_travel_to_every_service() {
    let shop = Shop::new();
    let (ratings, mut ratings_asked) = shop.fake(StatusCode::OK, r#"{"ratings":{}}"#);
    let (details, mut details_asked) = shop.fake(StatusCode::OK, DETAILS);
    let reviews = shop.reviews("v2", ratings);
    let page = shop.productpage(Backends { details, reviews, ..Backends::new(ratings) });
    let sent = [
        ("x-request-id", "r-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-sampled", "1"),
        ("b3", "0"),
        ("sw8", "1-x"),
        ("user-agent", "test"),
        ("authorization", "Bearer token"),
        ("x-datadog-trace-id", "7"),
        ("x-secret", "stays here"),
    ];
    assert_eq!(get_with(page, "/productpage", &sent).await.status, 200);
    for asked in [&mut details_asked, &mut ratings_asked] {
        let request = asked.recv().await.unwrap();
        for (name, value) in &sent[..sent.len() - 1] {
            assert_eq!(request.headers[*name], *value, "{}", request.uri);
        }
        assert!(!request.headers.contains_key("x-secret"));
    }
}

#[tokio::test]
async fn what_users_type_is_text_on_the_page() {
    let page = Shop::new().whole("v1");
    let evil = b"username=%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let login = send(page, "POST /login", &[], evil).await;
    let cookie = login.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let shown = get_with(page, "/productpage", &[("cookie", cookie)]).await;
    assert!(shown.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", shown.body);
    assert!(!shown.body.contains("<script"));
    assert!(
        shown.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
    for refused in ["", "username=", "username=%0d%0aset-cookie:+a=b"] {
        assert_eq!(send(page, "POST /login", &[], refused.as_bytes()).await.status, 400);
    }
}

#[tokio::test]
async fn the_api_of_productpage() {
    let page = Shop::new().whole("v2");
    let list = parsed(&get(page, "/api/v1/products").await.body);
    assert_eq!((&list[0]["id"], &list[0]["title"]), (&json!(0), &json!("The Comedy of Errors")));
    assert!(list[0]["descriptionHtml"].is_string());
    let details = parsed(&get(page, "/api/v1/products/0").await.body);
    assert_eq!(
        details,
        json!({"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback",
            "pages": 200, "publisher": "PublisherA", "language": "English",
            "ISBN-10": "1234567890", "ISBN-13": "123-1234567890"})
    );
    let ratings = parsed(&get(page, "/api/v1/products/0/ratings").await.body);
    assert_eq!(ratings, json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}));
    let reviews = parsed(&get(page, "/api/v1/products/0/reviews").await.body);
    assert_eq!((&reviews["id"], &reviews["podname"]), (&json!("0"), &json!("reviews-v2-pod")));
    assert_eq!(reviews["reviews"][0]["rating"], json!({"stars": 5, "color": "black"}));
    assert_eq!(reviews["clustername"], "null");

    assert_eq!(get(page, "/health").await.body, "Product page is healthy");
    for path in ["/", "/index.html"] {
        let index = get(page, path).await.body;
        assert!(index.contains("href=\"/productpage?u=normal\""), "{index}");
    }
    assert_eq!(get(page, "/nowhere").await.status, 404);
    assert_eq!(get(page, "/login").await.status, 405);
    let wrong = send(page, "POST /productpage", &[], b"").await;
    assert_eq!((wrong.status, wrong.headers["allow"].to_str().unwrap()), (405, "GET"));
    let metrics = get(page, "/metrics").await.body;
    let line = "request_result_total{destination_app=\"ratings\",response_code=\"200\"} 1";
    assert!(metrics.contains(line) && metrics.contains("process_cpu_seconds_total"), "{metrics}");
}

#[tokio::test]
async fn details_and_ratings_and_reviews_by_themselves() {
    let shop = Shop::new();
    let (details, ratings) = (shop.details(), shop.ratings());
    let reviews = shop.reviews("v1", ratings);
    for (address, name) in [(details, "Details"), (ratings, "Ratings"), (reviews, "Reviews")] {
        let health = parsed(&get(address, "/health").await.body);
        assert_eq!(health, json!({"status": format!("{name} is healthy")}));
        assert_eq!(get(address, "/").await.status, 404);
        assert_eq!(send(address, "DELETE /health", &[], b"").await.status, 405);
    }
    let bad = get(details, "/details/one").await;
    assert_eq!(bad.status, 400);
    assert_eq!(parsed(&bad.body), json!({"error": "please provide numeric product id"}));
    assert_eq!(parsed(&get(details, "/details/7").await.body)["id"], 7);
    assert_eq!(get(reviews, "/reviews/one").await.status, 404);
    assert!(parsed(&get(reviews, "/reviews/3").await.body)["reviews"][0].get("rating").is_none());

    let bad = get(ratings, "/ratings/one").await;
    assert_eq!(parsed(&bad.body), json!({"error": "please provide numeric product ID"}));
    let bad = send(ratings, "POST /ratings/2", &[], b"{").await;
    assert_eq!(parsed(&bad.body), json!({"error": "please provide valid ratings JSON"}));
    let posted = send(ratings, "POST /ratings/2", &[], br#"{"Reviewer1":1}"#).await;
    assert_eq!(parsed(&posted.body), json!({"id": 2, "ratings": {"Reviewer1": 1}}));
    assert_eq!(get(ratings, "/ratings/2").await.body, posted.body);
    assert_eq!(parsed(&get(ratings, "/ratings/3").await.body)["ratings"]["Reviewer1"], 5);
}

#[tokio::test]
async fn ratings_variants() {
    let shop = Shop::new();
    let database = shop.start(Ratings::new(Variant::Database));
    assert_eq!(get(database, "/ratings/0").await.status, 500);
    assert_eq!(send(database, "POST /ratings/0", &[], b"{}").await.status, 501);
    let faulty = shop.start(Ratings::new(Variant::Faulty));
    let mut seen = std::collections::BTreeSet::new();
    // A fair coin that falls one way 200 times means that it is not a coin.
    for _ in 0..200 {
        seen.insert(get(faulty, "/ratings/0").await.status);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [200, 503]);
}

#[tokio::test]
async fn flooding_asks_for_more_reviews_than_it_shows() {
    let shop = Shop::new();
    let (reviews, mut asked) = shop.fake(StatusCode::OK, REVIEWS);
    let (details, _asked) = shop.fake(StatusCode::OK, DETAILS);
    let page = shop.productpage(Backends { reviews, flood: 5, ..Backends::new(details) });
    assert_eq!(get(page, "/productpage").await.status, 200);
    let mut count = 0;
    while asked.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 6);
}

#[tokio::test]
async fn connections_are_kept_only_if_asked() {
    for (keep_alive, connection) in [(false, Some("close")), (true, None)] {
        let shop = Shop::new();
        let (backend, mut asked) = shop.fake(StatusCode::OK, DETAILS);
        let page = shop.productpage(Backends { keep_alive, ..Backends::new(backend) });
        for _ in 0..2 {
            assert_eq!(get(page, "/api/v1/products/0").await.status, 200);
            let request = asked.recv().await.unwrap();
            let sent = request.headers.get("connection").map(|value| value.to_str().unwrap());
            assert_eq!(sent, connection);
        }
    }
}

#[tokio::test]
async fn details_v2_asks_outside() {
    const VOLUME: &str = r#"{"items":[{"volumeInfo":{"authors":["W. S."],"publishedDate":"1994",
        "printType":"BOOK","pageCount":64,"publisher":"Dover","language":"en",
        "industryIdentifiers":[{"type":"ISBN_10","identifier":"0486424618"},
        {"type":"ISBN_13","identifier":"9780486424613"}]}}]}"#;
    let shop = Shop::new();
    let (books, mut asked) = shop.fake(StatusCode::OK, VOLUME);
    let service = |address: std::net::SocketAddr| BookService {
        host: address.ip().to_string(),
        port: address.port(),
        roots: None,
        limit: shop::PATIENCE,
        tasks: shop.process.tasks.clone(),
    };
    let details = shop.start(Details::with_external(service(books)));
    let answer = get_with(details, "/details/0", &[("x-request-id", "r-1")]).await;
    let book = parsed(&answer.body);
    assert_eq!((&book["publisher"], &book["ISBN-13"]), (&json!("Dover"), &json!("9780486424613")));
    let request = asked.recv().await.unwrap();
    assert_eq!(request.uri, "/books/v1/volumes?q=isbn:0486424618");
    assert_eq!(request.headers["x-request-id"], "r-1");

    let details = shop.start(Details::with_external(service(nowhere())));
    let answer = get(details, "/details/0").await;
    assert_eq!(answer.status, 400);
    assert!(parsed(&answer.body)["error"].as_str().unwrap().starts_with("asking 127.0.0.1: "));
}

#[tokio::test]
async fn requests_are_bounded() {
    let page = Shop::new().whole("v1");
    let long = "x".repeat(40 * 1024);
    assert_eq!(get_with(page, "/productpage", &[("x-long", &long)]).await.status, 431);
    let body = vec![b'x'; 65 * 1024];
    assert_eq!(send(page, "POST /login", &[], &body).await.status, 413);
}
