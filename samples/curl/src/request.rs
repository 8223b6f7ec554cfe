//! The request that is sent: its line, its fields in curl's order, its bytes on the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::args::Args;
use crate::error::CurlError;
use crate::payload::Payload;
use crate::url::Url;

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: Url,
    /// Names and values in order; `Host` first.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// What differs between the requests of one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) url: Url,
    pub(crate) method: String,
    pub(crate) body: bool,
    /// Credentials may be shown to this host.
    pub(crate) trusted: bool,
    pub(crate) cookies: Option<String>,
    pub(crate) payload: &'a Payload,
}

/// The method of the first request.
pub(crate) fn method(args: &Args, payload: &Payload) -> String {
    let implied = if args.head { "HEAD" } else { payload.method.unwrap_or("GET") };
    args.request.clone().unwrap_or_else(|| implied.to_owned())
}

impl Request {
    /// Puts a request together.
    pub(crate) fn new(args: &Args, turn: Turn<'_>) -> Result<Self, CurlError> {
        let Turn { mut url, method, body, trusted, cookies, payload } = turn;
        if let Some(query) = &payload.query {
            let joint = if url.target.contains('?') { '&' } else { '?' };
            url.target.push_str(&format!("{joint}{query}"));
        }
        let mut headers = vec![("Host".to_owned(), url.authority())];
        let user = url.user.as_ref().or(args.user.as_ref().filter(|_| trusted));
        if let Some(user) = user {
            let user = if user.contains(':') { user.clone() } else { format!("{user}:") };
            headers.push(("Authorization".into(), format!("Basic {}", STANDARD.encode(user))));
        } else if let Some(token) = args.oauth2_bearer.as_ref().filter(|_| trusted) {
            headers.push(("Authorization".into(), format!("Bearer {token}")));
        }
        let agent = args.user_agent.clone();
        let agent = agent.unwrap_or_else(|| format!("curl/{}", env!("CARGO_PKG_VERSION")));
        if !agent.is_empty() {
            headers.push(("User-Agent".into(), agent));
        }
        let accept = if args.json.is_empty() { "*/*" } else { "application/json" };
        headers.push(("Accept".into(), accept.into()));
        if args.compressed {
            headers.push(("Accept-Encoding".into(), "gzip, deflate".into()));
        }
        if let Some(referer) = args.referer.as_ref().filter(|text| !text.is_empty()) {
            headers.push(("Referer".into(), referer.clone()));
        }
        if let Some(cookies) = cookies {
            headers.push(("Cookie".into(), cookies));
        }
        let body = payload.body.clone().filter(|_| body);
        if let Some(body) = &body {
            headers.push(("Content-Length".into(), body.len().to_string()));
            if let Some(kind) = &payload.content_type {
                headers.push(("Content-Type".into(), kind.clone()));
            }
        }
        apply(&mut headers, &args.headers, trusted)?;
        Ok(Self { method, url, headers, body })
    }

    /// The head as HTTP/1 sends it; `absolute` is the form for a proxy.
    pub(crate) fn encode(&self, version: &str, absolute: bool) -> Vec<u8> {
        let target = if absolute { self.url.to_string() } else { self.url.target.clone() };
        let mut head = format!("{} {target} {version}\r\n", self.method);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Adds the user's fields; one of a name that is there takes its place.
fn apply(
    headers: &mut Vec<(String, String)>,
    given: &[String],
    trusted: bool,
) -> Result<(), CurlError> {
    let own = headers.len();
    for field in given {
        let line = field.trim_end_matches(['\r', '\n']);
        if line.contains(['\r', '\n', '\0']) {
            let message = format!("option -H: {field:?}: one header field is expected");
            return Err(CurlError::Usage(message));
        }
        let (name, value) = match (line.split_once(':'), line.strip_suffix(';')) {
            (Some((name, value)), _) => match value.trim() {
                "" => (name, None),
                value => (name, Some(value)),
            },
            (None, Some(name)) => (name, Some("")),
            // As curl: what is no field is left out.
            (None, None) => continue,
        };
        let name = name.trim();
        let secret = ["authorization", "cookie"].iter().any(|one| name.eq_ignore_ascii_case(one));
        if secret && !trusted {
            continue;
        }
        let place = headers[..own.min(headers.len())]
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case(name));
        match (place, value) {
            (Some(place), Some(value)) => headers[place] = (name.to_owned(), value.to_owned()),
            (Some(place), None) => headers[place].1.clear(),
            (None, Some(value)) => headers.push((name.to_owned(), value.to_owned())),
            (None, None) => {}
        }
        if let (Some(place), None) = (place, value) {
            // Marked, so that places stay what they are until all are read.
            headers[place].0 = format!("-{}", headers[place].0);
        }
    }
    headers.retain(|(name, _)| !name.starts_with('-'));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(line: &[&str], trusted: bool) -> String {
        let arguments: Vec<String> = line.iter().map(|text| (*text).into()).collect();
        let args = Args::read(&arguments).unwrap();
        let body = args.data.first().map(|text| text.clone().into_bytes());
        let query = args.get.then(|| args.data.join("&"));
        let payload = Payload { body, query, content_type: Some("x/y".into()), method: None };
        let turn = Turn {
            url: Url::parse(&args.urls[0]).unwrap(),
            method: method(&args, &payload),
            body: !args.get,
            trusted,
            cookies: None,
            payload: &payload,
        };
        let text = Request::new(&args, turn).unwrap().encode("HTTP/1.1", false);
        String::from_utf8(text).unwrap().replace(env!("CARGO_PKG_VERSION"), "V")
    }

    #[test]
    fn requests_on_the_wire() {
        for (line, trusted, expected) in [
            (
                &["http://a:8/x"][..],
                true,
                "GET /x HTTP/1.1\r\nHost: a:8\r\nUser-Agent: curl/V\r\nAccept: */*\r\n\r\n",
            ),
            (
                &[
                    "a", "-H", "Host: b", "-H", "accept:", "-H", "X-A: 1", "-H", "X-A: 2", "-H",
                    "E;",
                ],
                true,
                "GET / HTTP/1.1\r\nHost: b\r\nUser-Agent: curl/V\r\nX-A: 1\r\nX-A: 2\r\nE: \r\n\r\n",
            ),
            (
                &["a", "-d", "k=v", "-H", "Content-Type: t", "-A", "", "-X", "PATCH"],
                true,
                "PATCH / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Length: 3\r\n\
                 Content-Type: t\r\n\r\n",
            ),
            (
                &["a?b", "-G", "-d", "k=v", "-u", "u:p", "-A", "t"],
                true,
                "GET /?b&k=v HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTpw\r\nUser-Agent: t\r\n\
                 Accept: */*\r\n\r\n",
            ),
            (
                &["a", "-u", "u:p", "-A", "t", "-H", "Authorization: x", "-H", "Cookie: y"],
                false,
                "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: t\r\nAccept: */*\r\n\r\n",
            ),
        ] {
            assert_eq!(encoded(line, trusted), expected, "{line:?}");
        }
    }

    #[test]
    fn fields_cannot_smuggle_others() {
        let mut headers = Vec::new();
        apply(&mut headers, &["A: b\r\nC: d".to_owned()], true).unwrap_err();
        apply(&mut headers, &["A: b\r\n".to_owned()], true).unwrap();
        assert_eq!(headers, [("A".to_owned(), "b".to_owned())]);
    }
}
