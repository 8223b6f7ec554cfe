//! Answers that ask who one is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use serde_json::json;

use crate::answers::{Answer, error, pretty};
use crate::request::AppRequest;

/// `/basic-auth/:user/:password`.
pub(crate) fn basic(request: &AppRequest, user: &str, password: &str) -> Answer {
    let given = credentials(request);
    let name = given.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
    let authorized = given.is_some_and(|given| given == (user.to_owned(), password.to_owned()));
    let shown = json!({ "authenticated": authorized, "authorized": authorized, "user": name });
    if authorized {
        return pretty(StatusCode::OK, &shown);
    }
    let mut answer = pretty(StatusCode::UNAUTHORIZED, &shown);
    put(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"httpbin\"");
    answer
}

/// `/hidden-basic-auth/:user/:password`: who does not know is told that nothing is there.
pub(crate) fn hidden(request: &AppRequest, user: &str, password: &str) -> Answer {
    let answer = basic(request, user, password);
    if answer.status() == StatusCode::OK { answer } else { error(StatusCode::NOT_FOUND, "") }
}

/// `/bearer`.
pub(crate) fn bearer(request: &AppRequest) -> Answer {
    let given = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    match given {
        Some(token) => {
            pretty(StatusCode::OK, &json!({ "authenticated": true, "token": token.trim() }))
        }
        None => {
            let mut answer = error(StatusCode::UNAUTHORIZED, "");
            put(&mut answer, WWW_AUTHENTICATE, "Bearer");
            answer
        }
    }
}

fn put(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn credentials(request: &AppRequest) -> Option<(String, String)> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
