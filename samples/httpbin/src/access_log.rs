//! The line of an answered request, in the combined log format.

use std::net::IpAddr;

use http::{Request, Version};
use jiff::Timestamp;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who sent the request.
    pub peer: IpAddr,
    /// `GET /headers HTTP/1.1`.
    pub request: String,
    /// The `Referer` field.
    pub referer: String,
    /// The `User-Agent` field.
    pub user_agent: String,
}

impl Entry {
    /// What is known of a request before it is answered.
    pub fn of<B>(request: &Request<B>, peer: IpAddr) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map_or_else(|| "-".to_owned(), |v| String::from_utf8_lossy(v.as_bytes()).into())
        };
        let version = match request.version() {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        Self {
            peer: peer.to_canonical(),
            request: format!("{} {target} {version}", request.method()),
            referer: header("referer"),
            user_agent: header("user-agent"),
        }
    }

    /// The line, without its line break; `bytes` are those of the body.
    ///
    /// ```
    /// let request = http::Request::get("/headers").header("user-agent", "curl/8").body(()).unwrap();
    /// let entry = httpbin::access_log::Entry::of(&request, [127, 0, 0, 6].into());
    /// let at = "2026-03-07T19:02:43Z".parse().unwrap();
    /// assert_eq!(
    ///     entry.line(at, 200, 321),
    ///     r#"127.0.0.6 - - [07/Mar/2026:19:02:43 +0000] "GET /headers HTTP/1.1" 200 321 "-" "curl/8""#
    /// );
    /// ```
    #[must_use]
    pub fn line(&self, at: Timestamp, status: u16, bytes: u64) -> String {
        let time = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
        let [request, referer, agent] =
            [&self.request, &self.referer, &self.user_agent].map(|text| escaped(text));
        format!(
            "{} - - [{time}] \"{request}\" {status} {bytes} \"{referer}\" \"{agent}\"",
            self.peer
        )
    }
}

/// Nothing a client sends ends the quotes or the line.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => safe.extend(['\\', letter]),
            letter if letter.is_control() => safe.extend(letter.escape_default()),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_forge_lines() {
        assert_eq!(escaped("a\" 200\nGET\\"), "a\\\" 200\\nGET\\\\");
    }
}
