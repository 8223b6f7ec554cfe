//! Answers as they were asked for: statuses, delays, redirects, bytes.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use mesh_rt::http_server::{reply, text};
use serde::Serialize;
use serde_json::json;

use crate::echo::Shown;
use crate::request::AppRequest;

/// What a handler answers with.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The longest delay.
const DELAY: Duration = Duration::from_secs(10);

/// The largest answer of `/bytes`.
const BYTES: usize = 100 * 1024;

/// Statuses of one `/status`.
const CHOICES: usize = 100;

const JSON: &str = "application/json; charset=utf-8";
const BINARY: &str = "application/octet-stream";

/// JSON for people: indented, with a line break at the end.
pub(crate) fn pretty(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(body) => reply(status, JSON, body + "\n"),
        Err(cause) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("encoding: {cause}\n")),
    }
}

/// An error as JSON; `detail` may be empty.
pub(crate) fn error(status: StatusCode, detail: &str) -> Answer {
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut shown = json!({ "status_code": status.as_u16(), "error": reason });
    if !detail.is_empty() {
        shown["detail"] = json!(detail);
    }
    pretty(status, &shown)
}

fn bad(detail: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, detail)
}

/// `/status/:codes`: one code, or one of several `code[:weight]`, drawn at `point` of 0 to 1.
pub(crate) fn status(codes: &str, point: f64) -> Answer {
    match choose(codes, point) {
        Ok(code) => with_status(code),
        Err(cause) => bad(&cause),
    }
}

fn choose(codes: &str, point: f64) -> Result<StatusCode, String> {
    let mut choices = Vec::new();
    for choice in codes.split(',') {
        let (code, weight) = choice.trim().split_once(':').unwrap_or((choice.trim(), "1"));
        let invalid = || format!("invalid status code: {code:?}: 200 to 599 is expected");
        let number: u16 = code.parse().map_err(|_| invalid())?;
        // A 1xx would not be an answer.
        let code = StatusCode::from_u16(number).ok().filter(|_| (200..=599).contains(&number));
        let weight: f64 = weight.parse().map_err(|_| format!("invalid weight: {weight:?}"))?;
        if !weight.is_finite() || weight < 0.0 {
            return Err(format!("invalid weight: {weight}: at least 0 is expected"));
        }
        choices.push((code.ok_or_else(invalid)?, weight));
    }
    if choices.len() > CHOICES {
        return Err(format!("at most {CHOICES} status codes are expected"));
    }
    let mut left = point * choices.iter().map(|(_, weight)| weight).sum::<f64>();
    for (code, weight) in &choices {
        left -= weight;
        if left < 0.0 {
            return Ok(*code);
        }
    }
    choices.last().map(|(code, _)| *code).ok_or_else(|| "no status code".to_owned())
}

fn with_status(code: StatusCode) -> Answer {
    let mut answer = text(code, "");
    let mut put = |name: HeaderName, value: &'static str| {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    match code.as_u16() {
        301 | 302 | 303 | 305 | 307 | 308 => put(header::LOCATION, "/redirect/1"),
        401 => put(header::WWW_AUTHENTICATE, "Basic realm=\"httpbin\""),
        407 => put(header::PROXY_AUTHENTICATE, "Basic realm=\"httpbin\""),
        418 => {
            put(HeaderName::from_static("x-more-info"), "http://tools.ietf.org/html/rfc2324");
            *answer.body_mut() = Full::from("I'm a teapot!");
        }
        _ => {}
    }
    answer
}

/// Reads the time of `/delay/:time`: seconds with a fraction, or as `500ms` and `1.5s`.
pub(crate) fn delay(given: &str) -> Result<Duration, Box<Answer>> {
    let (number, unit) = match (given.strip_suffix("ms"), given.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (given, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|seconds| seconds * unit);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("invalid duration: {given:?}: seconds are expected"))
        .and_then(|time| {
            let late =
                format!("invalid duration: {given}: at most {}s is expected", DELAY.as_secs());
            (time <= DELAY).then_some(time).ok_or(late)
        })
        .map_err(|cause| Box::new(bad(&cause)))
}

/// `/redirect/:n` and its kin: to itself with one less, at last to `/get`.
pub(crate) fn redirect(request: &AppRequest, kind: &str, count: &str) -> Answer {
    let Some(count) = count.parse::<u32>().ok().filter(|count| *count > 0) else {
        return bad("invalid redirect count: at least 1 is expected");
    };
    let absolute = match kind {
        "absolute-redirect" => true,
        "relative-redirect" => false,
        _ => request.arg("absolute").is_some_and(|text| text.eq_ignore_ascii_case("true")),
    };
    let name = if absolute { "absolute-redirect" } else { "relative-redirect" };
    let base = if absolute { request.base() } else { String::new() };
    let path = if count == 1 { "/get".to_owned() } else { format!("/{name}/{}", count - 1) };
    to(StatusCode::FOUND, &format!("{base}{path}"))
}

/// `/redirect-to?url=…&status_code=…`.
pub(crate) fn redirect_to(request: &AppRequest) -> Answer {
    let Some(url) = request.arg("url") else {
        return bad("missing required query parameter: url");
    };
    let code = request.arg("status_code").map_or(Ok(302), |code| code.parse::<u16>());
    let code = code.ok().filter(|code| (300..400).contains(code));
    match code.and_then(|code| StatusCode::from_u16(code).ok()) {
        Some(code) => to(code, &url),
        None => bad("invalid status code: 300 to 399 is expected"),
    }
}

fn to(code: StatusCode, location: &str) -> Answer {
    match HeaderValue::from_str(location) {
        Ok(value) => {
            let mut answer = text(code, "");
            answer.headers_mut().insert(header::LOCATION, value);
            answer
        }
        Err(_) => bad("invalid url: it is no header field"),
    }
}

/// `/cookies/set?name=value` and `/cookies/delete?name`.
pub(crate) fn set_cookies(request: &AppRequest, delete: bool) -> Answer {
    let mut answer = to(StatusCode::FOUND, "/cookies");
    for (name, values) in request.args() {
        let value = values.first().map_or("", String::as_str);
        let end = if delete { "; Max-Age=0" } else { "" };
        let value = if delete { "" } else { value };
        match HeaderValue::from_str(&format!("{name}={value}; HttpOnly{end}")) {
            Ok(cookie) => {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            Err(_) => return bad(&format!("cookie {name:?}: its value is no header field")),
        }
    }
    answer
}

/// `/response-headers?name=value`: the parameters as header fields and as JSON.
pub(crate) fn response_headers(request: &AppRequest) -> Answer {
    let args = request.args();
    let mut answer = pretty(StatusCode::OK, &args);
    for (name, values) in &args {
        let fields: Option<Vec<HeaderValue>> =
            values.iter().map(|value| HeaderValue::from_str(value).ok()).collect();
        let (Ok(field), Some(values)) = (name.parse::<HeaderName>(), fields) else {
            return bad(&format!("{name:?} is no header field"));
        };
        // How the answer is framed is the server's to say.
        if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(&field)
        {
            continue;
        }
        answer.headers_mut().remove(&field);
        for value in values {
            answer.headers_mut().append(field.clone(), value);
        }
    }
    answer
}

/// `/bytes/:n`: `fill` gives the bytes.
pub(crate) fn bytes(count: &str, fill: impl FnOnce(usize) -> Vec<u8>) -> Answer {
    match count.parse::<usize>() {
        Ok(count) => reply(StatusCode::OK, BINARY, fill(count.min(BYTES))),
        Err(_) => bad("invalid byte count: a number is expected"),
    }
}

/// `/base64/:text`, `/base64/decode/:text`.
pub(crate) fn decode_base64(given: &str) -> Answer {
    let given = given.trim();
    let decoded = STANDARD
        .decode(given)
        .or_else(|_| URL_SAFE.decode(given))
        .or_else(|_| URL_SAFE_NO_PAD.decode(given.trim_end_matches('=')));
    match decoded {
        Ok(bytes) => text(StatusCode::OK, bytes),
        Err(cause) => bad(&format!("decode failed: {cause}")),
    }
}

/// `/base64/encode/:text`.
pub(crate) fn encode_base64(given: &str) -> Answer {
    text(StatusCode::OK, URL_SAFE.encode(given))
}

/// `/cache` and `/etag/:etag`: 304 for who has it already.
pub(crate) fn cached(request: &AppRequest, etag: Option<&str>) -> Answer {
    let quoted = etag.map(|etag| format!("\"{etag}\""));
    let known = match &quoted {
        Some(etag) => request
            .header("if-none-match")
            .is_some_and(|list| list.split(',').any(|one| one.trim() == etag || one.trim() == "*")),
        None => ["if-modified-since", "if-none-match"]
            .iter()
            .any(|name| request.headers.contains_key(*name)),
    };
    let mut answer = match known {
        true => text(StatusCode::NOT_MODIFIED, ""),
        false => pretty(StatusCode::OK, &Shown::of(request)),
    };
    match quoted.map(|etag| HeaderValue::from_str(&etag)) {
        Some(Ok(value)) => {
            answer.headers_mut().insert(header::ETAG, value);
        }
        Some(Err(_)) => return bad("the etag is no header field"),
        None => {
            let then = HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
            answer.headers_mut().insert(header::LAST_MODIFIED, then);
            answer.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"httpbin\""));
        }
    }
    answer
}

/// `/cache/:seconds`.
pub(crate) fn cache_for(request: &AppRequest, seconds: &str) -> Answer {
    match seconds.parse::<u32>() {
        Ok(seconds) => {
            let mut answer = pretty(StatusCode::OK, &Shown::of(request));
            if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={seconds}")) {
                answer.headers_mut().insert(header::CACHE_CONTROL, value);
            }
            answer
        }
        Err(_) => bad("invalid age: seconds are expected"),
    }
}

/// `/gzip` and `/deflate`.
pub(crate) fn compressed(request: &AppRequest, gzip: bool) -> Answer {
    let shown = Shown::of(request).compressed(gzip);
    let packed =
        serde_json::to_vec_pretty(&shown).map_err(std::io::Error::other).and_then(|plain| {
            if gzip {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&plain)?;
                encoder.finish()
            } else {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&plain)?;
                encoder.finish()
            }
        });
    match packed {
        Ok(body) => {
            let mut answer = reply(StatusCode::OK, JSON, body);
            let coding = HeaderValue::from_static(if gzip { "gzip" } else { "deflate" });
            answer.headers_mut().insert(header::CONTENT_ENCODING, coding);
            answer
        }
        Err(cause) => error(StatusCode::INTERNAL_SERVER_ERROR, &cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_drawn_by_weight() {
        for (codes, point, expected) in [
            ("418", 0.5, 418),
            ("200,500", 0.49, 200),
            ("200,500", 0.51, 500),
            ("200:9,503:1", 0.89, 200),
            ("200:9,503:1", 0.91, 503),
            ("200:0,503:1", 0.0, 503),
            ("500", 1.0, 500),
        ] {
            assert_eq!(choose(codes, point).unwrap().as_u16(), expected, "{codes} at {point}");
        }
        for codes in ["", "99", "100", "600", "200,", "200:x", "200:-1", "200:inf", "ok"] {
            choose(codes, 0.5).unwrap_err();
        }
        choose(&vec!["200"; CHOICES + 1].join(","), 0.5).unwrap_err();
    }

    #[test]
    fn delays_are_bounded() {
        for (given, millis) in [("1", 1000), ("0.25", 250), ("500ms", 500), ("1.5s", 1500)] {
            assert_eq!(delay(given).unwrap(), Duration::from_millis(millis), "{given}");
        }
        for given in ["11", "-1", "x", "", "NaN", "1e99", "ms"] {
            assert_eq!(delay(given).unwrap_err().status(), 400, "{given}");
        }
    }
}
