//! Which path is answered how.
//!
//! | path | answer |
//! |---|---|
//! | `/get`, `/post`, `/put`, `/patch`, `/delete`, `/anything[/…]` | the request |
//! | `/headers`, `/ip`, `/user-agent`, `/cookies` | a part of it |
//! | `/status/:code[,:code…]`, with `:weight` | a status |
//! | `/unstable?failure_rate=0.5` | 500 or 200 |
//! | `/delay/:seconds` | the request, later; at most 10 s |
//! | `/redirect/:n`, `/relative-redirect/:n`, `/absolute-redirect/:n`, `/redirect-to?url=` | 302 |
//! | `/cookies/set?name=value`, `/cookies/delete?name` | cookies, then `/cookies` |
//! | `/basic-auth/:user/:password`, `/hidden-basic-auth/…`, `/bearer` | 401 without credentials |
//! | `/bytes/:n`, `/stream/:n`, `/base64/:text`, `/uuid` | bytes, lines, text |
//! | `/gzip`, `/deflate`, `/response-headers`, `/cache[/:seconds]`, `/etag/:etag` | header fields |
//! | `/html`, `/xml`, `/json`, `/robots.txt`, `/deny`, `/encoding/utf8`, `/hostname` | documents |

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use mesh_rt::http_server::{reply, text};
use serde_json::json;

use crate::answers::{self, Answer, error, pretty};
use crate::request::AppRequest;
use crate::{auth, echo, pages};

const HTML: &str = "text/html; charset=utf-8";

/// What differs between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// What `/hostname` answers: the pod's name in Kubernetes.
    pub hostname: String,
}

impl App {
    /// Answers one request.
    pub async fn answer(&self, request: &AppRequest) -> Answer {
        let mut answer = if request.method == Method::OPTIONS {
            preflight(request)
        } else {
            self.route(request).await
        };
        let origin = request.headers.get(header::ORIGIN).cloned();
        let origin = origin.unwrap_or_else(|| HeaderValue::from_static("*"));
        let headers = answer.headers_mut();
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(origin);
        headers
            .entry(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            .or_insert(HeaderValue::from_static("true"));
        answer
    }

    async fn route(&self, request: &AppRequest) -> Answer {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let Some(allowed) = allowed(path[0]) {
            let method = request.method.as_str();
            if !allowed.split(", ").any(|one| one == method) {
                return not_allowed(allowed);
            }
        }
        match path.as_slice() {
            ["get"] => echo::get(request),
            ["post" | "put" | "patch" | "delete"] | ["anything", ..] => echo::with_body(request),
            ["headers"] => echo::headers(request),
            ["ip"] => echo::ip(request),
            ["user-agent"] => echo::user_agent(request),
            ["cookies"] => echo::cookies(request),
            ["cookies", "set"] => answers::set_cookies(request, false),
            ["cookies", "delete"] => answers::set_cookies(request, true),
            ["status", codes] => answers::status(codes, rand::random()),
            ["unstable"] => unstable(request),
            ["delay", time] => match answers::delay(time) {
                Ok(time) => {
                    tokio::time::sleep(time).await;
                    echo::with_body(request)
                }
                Err(refusal) => *refusal,
            },
            [kind @ ("redirect" | "relative-redirect" | "absolute-redirect"), count] => {
                answers::redirect(request, kind, count)
            }
            ["redirect-to"] => answers::redirect_to(request),
            ["basic-auth", user, password] => auth::basic(request, user, password),
            ["hidden-basic-auth", user, password] => auth::hidden(request, user, password),
            ["bearer"] => auth::bearer(request),
            ["bytes", count] => answers::bytes(count, random_bytes),
            ["stream", count] => match count.parse() {
                Ok(count) => echo::stream(request, count),
                Err(_) => error(StatusCode::BAD_REQUEST, "invalid count: a number is expected"),
            },
            _ => self.document(request, &path),
        }
    }

    fn document(&self, request: &AppRequest, path: &[&str]) -> Answer {
        match path {
            [""] => reply(StatusCode::OK, HTML, pages::INDEX),
            ["html"] => reply(StatusCode::OK, HTML, pages::HTML),
            ["encoding", "utf8"] => reply(StatusCode::OK, HTML, pages::UTF8),
            ["xml"] => reply(StatusCode::OK, "application/xml", pages::XML),
            ["json"] => pretty(StatusCode::OK, &slideshow()),
            ["robots.txt"] => text(StatusCode::OK, pages::ROBOTS),
            ["deny"] => text(StatusCode::OK, pages::DENY),
            ["hostname"] => pretty(StatusCode::OK, &json!({ "hostname": self.hostname })),
            ["uuid"] => {
                let uuid = uuid::Uuid::new_v4().to_string();
                pretty(StatusCode::OK, &json!({ "uuid": uuid }))
            }
            ["base64", text] | ["base64", "decode", text] => answers::decode_base64(text),
            ["base64", "encode", text] => answers::encode_base64(text),
            ["gzip"] => answers::compressed(request, true),
            ["deflate"] => answers::compressed(request, false),
            ["response-headers"] => answers::response_headers(request),
            ["cache"] => answers::cached(request, None),
            ["cache", seconds] => answers::cache_for(request, seconds),
            ["etag", etag] => answers::cached(request, Some(etag)),
            _ => error(StatusCode::NOT_FOUND, ""),
        }
    }
}

/// The methods of a path's first part; none where every method is answered.
fn allowed(first: &str) -> Option<&'static str> {
    Some(match first {
        "post" => "POST",
        "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "anything" | "status" | "delay" | "unstable" | "redirect-to" | "response-headers" => {
            return None;
        }
        _ => "GET, HEAD",
    })
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// What a browser asks before a request to another site.
fn preflight(request: &AppRequest) -> Answer {
    let mut answer = text(StatusCode::OK, "");
    let headers = answer.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(wanted) = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer
}

fn unstable(request: &AppRequest) -> Answer {
    let rate = request.arg("failure_rate").map_or(Ok(0.5), |text| text.parse::<f64>());
    match rate {
        Ok(rate) if (0.0..=1.0).contains(&rate) => {
            let fails = rand::random::<f64>() < rate;
            text(if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, "")
        }
        _ => error(StatusCode::BAD_REQUEST, "invalid failure_rate: 0 to 1 is expected"),
    }
}

fn random_bytes(count: usize) -> Vec<u8> {
    (0..count).map(|_| rand::random()).collect()
}

fn slideshow() -> serde_json::Value {
    json!({ "slideshow": {
        "author": "Yours Truly",
        "date": "date of publication",
        "slides": [
            { "title": "Of sails", "type": "all" },
            { "items": ["What a lateen is", "How it is set"], "title": "Overview", "type": "all" },
        ],
        "title": "Sample Slide Show",
    } })
}
