//! Cross-origin requests, by the route's policy: preflights are answered here, other responses
//! get their headers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proxy_model::http::filter::CorsPolicy;

use crate::http::reply::LocalReply;
use crate::http::request::Head;

/// Headers of a response to an allowed origin.
#[derive(Clone, Debug)]
pub struct Allowed(Vec<(HeaderName, HeaderValue)>);

impl Allowed {
    /// Sets them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// Decides about a request with an `origin`.
///
/// # Errors
/// The answer to a preflight.
pub fn on_request(policy: &CorsPolicy, head: &Head) -> Result<Option<Allowed>, LocalReply> {
    let Some(origin) = head.headers.get(ORIGIN) else { return Ok(None) };
    let text = origin.to_str().unwrap_or_default();
    let allowed = policy.allow_origins.iter().any(|matcher| matcher.matches(text));
    let preflight =
        head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !allowed {
        if preflight && !policy.forward_not_matching_preflights {
            return Err(LocalReply::new(StatusCode::OK, "cors_response"));
        }
        return Ok(None);
    }
    let mut set = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
    let mut add = |name: HeaderName, value: &Option<std::sync::Arc<str>>| {
        let value = value.as_deref().filter(|value| !value.is_empty());
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            set.push((name, value));
        }
    };
    if preflight {
        add(ACCESS_CONTROL_ALLOW_METHODS, &policy.allow_methods);
        add(ACCESS_CONTROL_ALLOW_HEADERS, &policy.allow_headers);
        add(ACCESS_CONTROL_MAX_AGE, &policy.max_age);
    } else {
        add(ACCESS_CONTROL_EXPOSE_HEADERS, &policy.expose_headers);
    }
    if policy.allow_credentials {
        set.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
    let set = Allowed(set);
    if preflight {
        let mut reply = LocalReply::new(StatusCode::OK, "cors_response");
        set.apply(&mut reply.headers);
        return Err(reply);
    }
    Ok(Some(set))
}
