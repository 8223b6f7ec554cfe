//! From a name to an open connection: `--resolve`, `--connect-to`, the system's resolver, one
//! address after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::error::CurlError;
use crate::url::host_and_port;

/// How long a connection may take, unless the user says.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);

/// Addresses that are tried for one name.
const ADDRESSES: usize = 32;

/// How names become addresses.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `host:port` (or `*:port`) to addresses.
    fixed: Vec<(String, u16, Vec<IpAddr>)>,
    /// From host and port, if any, to host and port, if any.
    detours: Vec<[String; 4]>,
    /// One family only.
    pub family: Family,
}

/// Which addresses are of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Names {
    /// Reads the values of `--resolve` and `--connect-to`.
    ///
    /// # Errors
    /// [`CurlError::Usage`] when one is of another form.
    pub fn new(
        resolve: &[String],
        connect_to: &[String],
        family: Family,
    ) -> Result<Self, CurlError> {
        let mut names = Self { family, ..Self::default() };
        for text in resolve {
            let bad =
                || CurlError::Usage(format!("(49) Couldn't parse CURLOPT_RESOLVE entry '{text}'"));
            let (host, rest) = bracketed(text.trim_start_matches('+')).ok_or_else(bad)?;
            let (port, addresses) = rest.split_once(':').ok_or_else(bad)?;
            let addresses: Result<Vec<IpAddr>, _> = addresses
                .split(',')
                .map(|address| address.trim_matches(['[', ']']).parse())
                .collect();
            let port = port.parse().map_err(|_| bad())?;
            names.fixed.push((host.to_ascii_lowercase(), port, addresses.map_err(|_| bad())?));
        }
        for text in connect_to {
            let bad =
                || CurlError::Usage(format!("(49) Couldn't parse --connect-to entry '{text}'"));
            let (host, rest) = bracketed(text).ok_or_else(bad)?;
            let (port, rest) = rest.split_once(':').ok_or_else(bad)?;
            let (to, to_port) = bracketed(rest).ok_or_else(bad)?;
            names.detours.push([host, port, to, to_port].map(str::to_owned));
        }
        Ok(names)
    }

    /// Where a request for `host` and `port` really goes.
    #[must_use]
    pub fn detour(&self, host: &str, port: u16) -> (String, u16) {
        let matching = self.detours.iter().find(|[from, from_port, _, _]| {
            (from.is_empty() || from.eq_ignore_ascii_case(host))
                && (from_port.is_empty() || *from_port == port.to_string())
        });
        match matching {
            Some([_, _, to, to_port]) => {
                let to = if to.is_empty() { host } else { to };
                (to.to_owned(), to_port.parse().unwrap_or(port))
            }
            None => (host.to_owned(), port),
        }
    }

    /// The addresses of a name.
    ///
    /// # Errors
    /// [`CurlError::Resolve`] when there is none of the family.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, CurlError> {
        let failed = || CurlError::Resolve(host.to_owned());
        let fixed = self
            .fixed
            .iter()
            .find(|(name, at, _)| (name == "*" || name.eq_ignore_ascii_case(host)) && *at == port);
        let all: Vec<SocketAddr> = match fixed {
            Some((_, _, addresses)) => {
                addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
            }
            None => lookup_host((host, port)).await.map_err(|_| failed())?.collect(),
        };
        let wanted = |address: &SocketAddr| match self.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let mut addresses: Vec<SocketAddr> = all.into_iter().filter(wanted).collect();
        addresses.dedup();
        addresses.truncate(ADDRESSES);
        if addresses.is_empty() { Err(failed()) } else { Ok(addresses) }
    }
}

/// The part before a colon, which may stand in brackets, and what follows the colon.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.split_once(':'),
    }
}

/// Connects to the first address that takes it; `tell` hears of each try.
///
/// # Errors
/// [`CurlError::Connect`] when none does, [`CurlError::ConnectTimeout`].
pub async fn connect(
    addresses: &[SocketAddr],
    host: &str,
    limit: Duration,
    mut tell: impl FnMut(&SocketAddr, Option<&io::Error>),
) -> Result<TcpStream, CurlError> {
    let start = Instant::now();
    let end = start + limit;
    for address in addresses {
        tell(address, None);
        match timeout_at(end, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests must not wait for the peer's delayed acknowledgement.
                let _best_effort = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => tell(address, Some(&error)),
            Err(_late) => return Err(CurlError::ConnectTimeout(start.elapsed().as_millis())),
        }
    }
    let port = addresses.first().map_or(0, SocketAddr::port);
    Err(CurlError::Connect { host: host.to_owned(), port, millis: start.elapsed().as_millis() })
}

/// Reads the address of a proxy: `http://host:port`, `host:port`; 1080 without a port.
///
/// # Errors
/// [`CurlError::Usage`], [`CurlError::Url`].
pub fn proxy(text: &str) -> Result<(String, u16), CurlError> {
    let plain = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if plain.contains("://") || plain.contains('@') {
        let message = format!("option -x: {text}: http://host:port is expected");
        return Err(CurlError::Usage(message));
    }
    let (host, port) = host_and_port(plain)?;
    Ok((host, port.unwrap_or(1080)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(resolve: &[&str], connect_to: &[&str]) -> Result<Names, CurlError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect::<Vec<_>>();
        Names::new(&owned(resolve), &owned(connect_to), Family::Any)
    }

    #[tokio::test]
    async fn fixed_names_and_detours() {
        let known =
            names(&["a.b:80:127.0.0.9,[::1]", "*:81:127.0.0.8"], &["x:80:y:8080", ":90::91"]);
        let known = known.unwrap();
        let found = known.resolve("A.B", 80).await.unwrap();
        assert_eq!(found, ["127.0.0.9:80".parse().unwrap(), "[::1]:80".parse().unwrap()]);
        let v4 = Names { family: Family::V4, ..known.clone() };
        assert_eq!(v4.resolve("a.b", 80).await.unwrap().len(), 1);
        assert_eq!(known.resolve("c", 81).await.unwrap()[0].ip().to_string(), "127.0.0.8");
        assert_eq!(known.detour("x", 80), ("y".to_owned(), 8080));
        assert_eq!(known.detour("z", 90), ("z".to_owned(), 91));
        assert_eq!(known.detour("x", 81), ("x".to_owned(), 81));
        let v6 = Names { family: Family::V6, ..Names::default() };
        assert_eq!(v6.resolve("127.0.0.1", 80).await.unwrap_err().code(), 6);
    }

    #[test]
    fn forms() {
        for bad in ["a", "a:80", "a:80:b", "a:x:127.0.0.1"] {
            names(&[bad], &[]).unwrap_err();
        }
        names(&[], &["a:b"]).unwrap_err();
        assert_eq!(proxy("http://p:3128/").unwrap(), ("p".to_owned(), 3128));
        assert_eq!(proxy("p").unwrap(), ("p".to_owned(), 1080));
        proxy("socks5://p:1").unwrap_err();
    }
}
