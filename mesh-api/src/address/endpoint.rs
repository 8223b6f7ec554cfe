//! `Address`: what a connection can be opened to or accepted on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::text::{NameError, text_serde};

/// An IP address with its port, or a Unix socket.
///
/// ```
/// use mesh_api::address::Address;
///
/// assert!(matches!("10.0.0.1:80".parse()?, Address::Ip(_)));
/// assert!(matches!("[fd00::1]:80".parse()?, Address::Ip(_)));
/// let socket: Address = "unix:///run/app.sock".parse()?;
/// assert_eq!(socket.to_string(), "unix:///run/app.sock");
/// assert!("reviews:9080".parse::<Address>().is_err());
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `<ip>:<port>`, IPv6 in brackets.
    Ip(SocketAddr),
    /// `unix://…`.
    Unix(UnixPath),
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// When the text is neither an IP address with a port nor a Unix socket.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with("unix:") || text.starts_with('@') {
            return UnixPath::parse(text).map(Self::Unix);
        }
        text.parse().map(Self::Ip).map_err(|_| {
            NameError::new("address", text, "is neither <ip>:<port> nor unix://<path>")
        })
    }

    /// The IP address, unless it is a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The port, unless it is a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<UnixPath> for Address {
    fn from(path: UnixPath) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

text_serde!(Address);

/// A Unix socket: a path in the file system, or a name in Linux's abstract namespace.
///
/// ```
/// use mesh_api::address::UnixPath;
///
/// let path: UnixPath = "unix://@control".parse()?;
/// assert!(path.is_abstract());
/// assert_eq!(path.pipe(), "@control");
/// assert_eq!("@control".parse::<UnixPath>()?, path);
/// assert_eq!("unix:./run/app.sock".parse::<UnixPath>()?.pipe(), "./run/app.sock");
/// # Ok::<(), mesh_api::name::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixPath(Arc<str>);

/// `sun_path` holds 108 bytes, one of which ends a path or begins an abstract name.
const MAX_PATH: usize = 107;

impl UnixPath {
    /// Parses `unix://<absolute path>`, `unix:<path>`, `unix://@<name>`, `unix:@<name>` or
    /// `@<name>`.
    ///
    /// # Errors
    /// When the text is none of these, holds a NUL, or is longer than a socket address can be.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let misfit = |reason| NameError::new("Unix socket", text, reason);
        let pipe = match text.strip_prefix("unix:") {
            Some(rest) => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') || path.starts_with('@') => path,
                Some(_) => return Err(misfit("has a path after unix:// that is not absolute")),
                None => rest,
            },
            None if text.starts_with('@') => text,
            None => return Err(misfit("does not begin with unix: or @")),
        };
        Self::from_pipe(pipe)
    }

    /// From the form Envoy's `Pipe.path` has: a path, or `@` and a name.
    ///
    /// # Errors
    /// When it is empty, holds a NUL, or is longer than a socket address can be.
    pub fn from_pipe(pipe: &str) -> Result<Self, NameError> {
        let misfit = |reason| NameError::new("Unix socket", pipe, reason);
        let name = pipe.strip_prefix('@').unwrap_or(pipe);
        if name.is_empty() {
            return Err(misfit("is empty"));
        }
        if name.contains('\0') {
            return Err(misfit("holds a NUL"));
        }
        if name.len() > MAX_PATH {
            return Err(misfit("is longer than 107 bytes"));
        }
        Ok(Self(pipe.into()))
    }

    /// The form Envoy's `Pipe.path` has: a path, or `@` and a name.
    pub fn pipe(&self) -> &str {
        &self.0
    }

    /// Whether this is a name in the abstract namespace.
    pub fn is_abstract(&self) -> bool {
        self.0.starts_with('@')
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rooted = self.0.starts_with('/') || self.is_abstract();
        write!(f, "unix:{}{}", if rooted { "//" } else { "" }, self.0)
    }
}

text_serde!(UnixPath);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn what_is_not_an_address() {
        let long = format!("unix:///{}", "a".repeat(MAX_PATH));
        for text in
            ["", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "fd00::1:80", "[fd00::1]", "a:80"]
                .into_iter()
                .chain(["unix:", "unix://", "unix://a/b", "@", "unix://@", "unix:///a\0b", &long])
        {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(ip in any::<IpAddr>(), port in any::<u16>()) {
            let address = Address::Ip(SocketAddr::new(ip, port));
            prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }

        #[test]
        fn pipes_print_and_parse(pipe in "[@/.]?[a-z/@.: ]{1,40}") {
            if let Ok(path) = UnixPath::from_pipe(&pipe) {
                prop_assert_eq!(path.pipe(), pipe);
                prop_assert_eq!(UnixPath::parse(&path.to_string()).unwrap(), path);
            }
        }

        #[test]
        fn parse_never_panics(text in "(unix:|@)?.{0,40}") {
            let _ = Address::parse(&text);
        }
    }
}
