//! Answers that show the request.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answers::{Answer, error, pretty};
use crate::form::{self, Parsed};
use crate::request::{AppRequest, Values};

/// What a request without a body is shown as. The order of fields is go-httpbin's.
#[derive(Serialize)]
pub(crate) struct Shown {
    args: Values,
    headers: Values,
    method: String,
    origin: String,
    url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deflated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gzipped: bool,
}

impl Shown {
    /// A request as it came.
    pub(crate) fn of(request: &AppRequest) -> Self {
        Self {
            args: request.args(),
            headers: request.shown_headers(),
            method: request.method.to_string(),
            origin: request.origin(),
            url: request.url(),
            deflated: false,
            gzipped: false,
        }
    }

    /// Says that the answer is compressed.
    pub(crate) fn compressed(self, gzipped: bool) -> Self {
        Self { gzipped, deflated: !gzipped, ..self }
    }
}

#[derive(Serialize)]
struct ShownBody {
    #[serde(flatten)]
    request: Shown,
    data: String,
    files: Values,
    form: Values,
    json: Value,
}

/// `/get`.
pub(crate) fn get(request: &AppRequest) -> Answer {
    pretty(StatusCode::OK, &Shown::of(request))
}

/// `/post`, `/put`, `/patch`, `/delete`, `/anything`.
pub(crate) fn with_body(request: &AppRequest) -> Answer {
    match form::parse(request) {
        Ok(Parsed { data, files, form, json }) => pretty(
            StatusCode::OK,
            &ShownBody { request: Shown::of(request), data, files, form, json },
        ),
        Err(cause) => {
            error(StatusCode::BAD_REQUEST, &format!("error parsing request body: {cause}"))
        }
    }
}

/// `/headers`.
pub(crate) fn headers(request: &AppRequest) -> Answer {
    pretty(StatusCode::OK, &json!({ "headers": request.shown_headers() }))
}

/// `/ip`.
pub(crate) fn ip(request: &AppRequest) -> Answer {
    pretty(StatusCode::OK, &json!({ "origin": request.origin() }))
}

/// `/user-agent`.
pub(crate) fn user_agent(request: &AppRequest) -> Answer {
    let agent = request.header("user-agent").unwrap_or_default();
    pretty(StatusCode::OK, &json!({ "user-agent": agent }))
}

/// `/cookies`.
pub(crate) fn cookies(request: &AppRequest) -> Answer {
    let mut cookies = BTreeMap::new();
    for value in request.headers.get_all("cookie") {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        for (name, value) in text.split(';').filter_map(|pair| pair.split_once('=')) {
            cookies.insert(name.trim().to_owned(), value.trim().trim_matches('"').to_owned());
        }
    }
    pretty(StatusCode::OK, &cookies)
}

/// `/stream/:n`: the request, `n` times, one line each.
pub(crate) fn stream(request: &AppRequest, lines: usize) -> Answer {
    let shown = Shown::of(request);
    let mut body = String::new();
    for id in 0..lines.clamp(1, 100) {
        let line = json!({
            "id": id, "args": &shown.args, "headers": &shown.headers, "origin": &shown.origin,
            "url": &shown.url,
        });
        body.push_str(&format!("{line}\n"));
    }
    mesh_rt::http_server::reply(StatusCode::OK, "application/json; charset=utf-8", body)
}
