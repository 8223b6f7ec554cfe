//! Cookies of one run: given, collected, sent where they belong (RFC 6265), and kept in a file.

use crate::url::{Scheme, Url};

/// Cookies that are kept.
const LIMIT: usize = 1000;

const TITLE: &str = "# Netscape HTTP Cookie File\n";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cookie {
    /// The domain; with a dot before it, subdomains too.
    domain: String,
    path: String,
    secure: bool,
    /// Seconds since 1970; 0 ends with the session.
    expires: i64,
    name: String,
    value: String,
}

/// Where cookies are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar {
    /// What `-b` gave as text: sent everywhere.
    given: Vec<String>,
    kept: Vec<Cookie>,
}

impl Jar {
    /// Adds `name=value; …`, to be sent with every request.
    pub(crate) fn give(&mut self, text: &str) {
        self.given.push(text.trim().to_owned());
    }

    /// Adds the cookies of a file, as [`Jar::file`] writes it.
    pub(crate) fn load(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
            if line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split('\t').collect();
            let [domain, _, path, secure, expires, name, value] = fields.as_slice() else {
                continue;
            };
            self.keep(Cookie {
                domain: (*domain).to_owned(),
                path: (*path).to_owned(),
                secure: *secure == "TRUE",
                expires: expires.parse().unwrap_or(0),
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            });
        }
    }

    /// Keeps what a `Set-Cookie` of `url` says.
    pub(crate) fn set(&mut self, url: &Url, field: &str) {
        let mut parts = field.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let directory = url.target.split('?').next().unwrap_or("/");
        let directory = directory.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut cookie = Cookie {
            domain: url.host.clone(),
            path: if directory.is_empty() { "/".to_owned() } else { directory.to_owned() },
            secure: false,
            expires: 0,
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
        };
        let mut gone = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => gone |= value.parse::<i64>().is_ok_and(|age| age <= 0),
                "domain" if !value.is_empty() => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    if !within(&url.host, &domain) {
                        return;
                    }
                    cookie.domain = format!(".{domain}");
                }
                _ => {}
            }
        }
        if gone {
            cookie.value.clear();
            self.kept.retain(|kept| !same(kept, &cookie));
        } else {
            self.keep(cookie);
        }
    }

    fn keep(&mut self, cookie: Cookie) {
        self.kept.retain(|kept| !same(kept, &cookie));
        if self.kept.len() < LIMIT {
            self.kept.push(cookie);
        }
    }

    /// The value of `Cookie` for a request to `url`.
    pub(crate) fn field(&self, url: &Url) -> Option<String> {
        let path = url.target.split('?').next().unwrap_or("/");
        let here = |cookie: &&Cookie| {
            let domain = match cookie.domain.strip_prefix('.') {
                Some(domain) => within(&url.host, domain),
                None => url.host.eq_ignore_ascii_case(&cookie.domain),
            };
            let below = path.strip_prefix(cookie.path.as_str()).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || cookie.path.ends_with('/')
            });
            domain && below && (!cookie.secure || url.scheme == Scheme::Https)
        };
        let kept = self.kept.iter().filter(here);
        let all: Vec<String> = kept
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .chain(self.given.iter().cloned())
            .filter(|text| !text.is_empty())
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The kept cookies as a file of Netscape's format.
    pub(crate) fn file(&self) -> String {
        let mut text = TITLE.to_owned();
        for cookie in &self.kept {
            let Cookie { domain, path, secure, expires, name, value } = cookie;
            let flag = |set: bool| if set { "TRUE" } else { "FALSE" };
            let (subdomains, secure) = (flag(domain.starts_with('.')), flag(*secure));
            text.push_str(&format!(
                "{domain}\t{subdomains}\t{path}\t{secure}\t{expires}\t{name}\t{value}\n"
            ));
        }
        text
    }
}

fn same(one: &Cookie, other: &Cookie) -> bool {
    (&one.domain, &one.path, &one.name) == (&other.domain, &other.path, &other.name)
}

/// Whether `host` is `domain` or below it.
fn within(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == domain || host.strip_suffix(domain).is_some_and(|before| before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let mut jar = Jar::default();
        jar.set(&url("http://a.b/x/y"), "k=1");
        jar.set(&url("http://a.b/x/y"), "d=2; Domain=b; Path=/");
        jar.set(&url("http://a.b/"), "s=3; Secure");
        jar.set(&url("http://a.b/"), "foreign=4; Domain=c");
        jar.give("g=5");
        for (to, field) in [
            ("http://a.b/x/z", "k=1; d=2; g=5"),
            ("http://a.b/xy", "d=2; g=5"),
            ("http://c.b/", "d=2; g=5"),
            ("https://a.b/", "d=2; s=3; g=5"),
            ("http://cb/", "g=5"),
        ] {
            assert_eq!(jar.field(&url(to)).as_deref(), Some(field), "{to}");
        }
        jar.set(&url("http://a.b/x/y"), "k=; Max-Age=0");
        assert_eq!(jar.field(&url("http://a.b/x/z")).as_deref(), Some("d=2; g=5"));
        let mut again = Jar::default();
        again.load(&jar.file());
        assert_eq!(again.kept, jar.kept);
        assert_eq!(Jar::default().field(&url("http://a/")), None);
    }
}
