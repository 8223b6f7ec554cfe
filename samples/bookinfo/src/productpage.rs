//! productpage: the page, its sign-in, and the JSON API beside it.

mod backends;
mod html;
mod page;
mod session;

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, LOCATION, REFERER, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use mesh_rt::http_server::{json, reply, text};
use mesh_rt::metrics::{Metrics, PROMETHEUS_TEXT};
use mesh_rt::process::Process;
use serde::Serialize;

pub use backends::Limits;
use backends::{Backends, Fetched};

use crate::client::Client;
use crate::headers::forwarded_for;
use crate::server::{App, AppRequest, AppResponse, method_not_allowed};
use crate::settings::ProductpageSettings;

/// The pages need nothing from outside and run no script.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'self'";

/// A product, as the API lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// The product's number.
    pub id: u32,
    /// The book's title.
    pub title: &'static str,
    /// What it is about; our own markup.
    #[serde(rename = "descriptionHtml")]
    pub description_html: &'static str,
}

/// The one book of the shop.
pub const PRODUCTS: [Product; 1] = [Product {
    id: 0,
    title: "The Comedy of Errors",
    description_html: "Two sets of identical twins, parted by a storm at sea, arrive in the same \
        town on the same day without knowing it. In <b>William Shakespeare's</b> shortest play, \
        servants are beaten for other servants' errands, husbands are locked out of their own \
        dinners, and everyone is sure that everyone else is mad. \
        <a href=\"https://en.wikipedia.org/wiki/The_Comedy_of_Errors\">Read more on Wikipedia</a>.",
}];

/// The service.
#[derive(Debug)]
pub struct Productpage {
    backends: Backends,
    metrics: Metrics,
}

impl Productpage {
    /// The service as its variables say, with the time limits of Istio's.
    #[must_use]
    pub fn new(settings: ProductpageSettings, process: &Process) -> Self {
        Self::with_limits(settings, process, Limits::default())
    }

    /// The same with other time limits.
    #[must_use]
    pub fn with_limits(settings: ProductpageSettings, process: &Process, limits: Limits) -> Self {
        let client = Client::new(&process.tasks, settings.keep_alive);
        let backends = Backends::new(settings, client, limits, &process.metrics);
        Self { backends, metrics: process.metrics.clone() }
    }

    async fn front(&self, request: &AppRequest) -> AppResponse {
        let user = session::user(&request.headers);
        let headers = forwarded_for(&request.headers, user.as_deref());
        let product = PRODUCTS[0];
        let id = product.id.to_string();
        let details = self.backends.details(&id, &headers).await;
        self.backends.flood(&id, &headers).await;
        let reviews = self.backends.reviews(&id, &headers).await;
        let view = page::View {
            product: &product,
            details: &details,
            reviews: &reviews,
            user: user.as_deref(),
        };
        html_reply(page::product(&view))
    }

    async fn api(&self, request: &AppRequest, product: &str, part: Part) -> AppResponse {
        let user = session::user(&request.headers);
        let headers = forwarded_for(&request.headers, user.as_deref());
        let Fetched { status, json: body } = match part {
            Part::Details => self.backends.details(product, &headers).await,
            Part::Reviews => self.backends.reviews(product, &headers).await,
            Part::Ratings => self.backends.ratings(product, &headers).await,
        };
        json(status, &body)
    }
}

/// Which backend a route of the API asks.
#[derive(Clone, Copy)]
enum Part {
    Details,
    Reviews,
    Ratings,
}

impl App for Productpage {
    async fn answer(&self, request: AppRequest) -> AppResponse {
        let segments = request.segments();
        let expected = if segments == ["login"] { Method::POST } else { Method::GET };
        let is_expected = request.method == expected;
        match segments[..] {
            ["login"] if is_expected => login(&request),
            ["login"] => method_not_allowed("POST"),
            [_, ..] if !is_expected => method_not_allowed("GET"),
            ["" | "index.html"] => html_reply(page::index(&self.backends)),
            ["health"] => text(StatusCode::OK, "Product page is healthy"),
            ["productpage"] => self.front(&request).await,
            ["logout"] => signed(&request, &session::clear()),
            ["metrics"] => reply(StatusCode::OK, PROMETHEUS_TEXT, self.metrics.encode()),
            ["api", "v1", "products"] => json(StatusCode::OK, &PRODUCTS),
            ["api", "v1", "products", id] => self.api(&request, id, Part::Details).await,
            ["api", "v1", "products", id, "reviews"] => self.api(&request, id, Part::Reviews).await,
            ["api", "v1", "products", id, "ratings"] => self.api(&request, id, Part::Ratings).await,
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}

/// Signs in as whoever they say they are: the sample has no passwords.
fn login(request: &AppRequest) -> AppResponse {
    match session::username(&request.body) {
        Some(user) => signed(request, &session::set(&user)),
        None => text(StatusCode::BAD_REQUEST, "a username of 1 to 64 characters is needed\n"),
    }
}

fn signed(request: &AppRequest, cookie: &str) -> AppResponse {
    let mut response = text(StatusCode::FOUND, "");
    let headers = response.headers_mut();
    if let Ok(back) = HeaderValue::from_str(&back(&request.headers)) {
        headers.insert(LOCATION, back);
    }
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// The page they came from, if it is one of ours: anything else would let a link on our site send
/// people to another.
fn back(headers: &HeaderMap) -> String {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let referer = text(REFERER).and_then(|referer| referer.parse::<Uri>().ok());
    let own = referer.as_ref().filter(|uri| {
        uri.authority().map(http::uri::Authority::as_str) == text(HOST) && text(HOST).is_some()
    });
    let page = own.and_then(Uri::path_and_query).map(http::uri::PathAndQuery::as_str);
    page.filter(|page| !page.starts_with("//")).unwrap_or("/productpage").to_owned()
}

fn html_reply(body: String) -> AppResponse {
    let mut response = reply(StatusCode::OK, "text/html; charset=utf-8", body);
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        // Signed in or not, and which version answered: no two loads are the same page.
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_on_this_site() {
        let table = [
            (Some("http://shop:9080/productpage?u=normal"), "/productpage?u=normal"),
            (Some("http://shop:9080/"), "/"),
            (Some("http://shop:9080//evil.example/"), "/productpage"),
            (Some("http://evil.example/productpage"), "/productpage"),
            (Some("/relative"), "/productpage"),
            (Some("not a uri"), "/productpage"),
            (None, "/productpage"),
        ];
        for (referer, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("shop:9080"));
            if let Some(referer) = referer {
                headers.insert(REFERER, HeaderValue::from_static(referer));
            }
            assert_eq!(back(&headers), expected, "{referer:?}");
        }
    }
}
