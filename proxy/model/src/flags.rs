//! Response flags: why the mesh answered, or did not, in Envoy's words.

use std::fmt;

/// A set of response flags, which remembers the order they were set in, as Envoy's does.
///
/// ```
/// use proxy_model::flags::ResponseFlags;
///
/// let flags = ResponseFlags::URX | ResponseFlags::UF | ResponseFlags::URX;
/// assert_eq!(flags.to_string(), "URX,UF");
/// assert_eq!(ResponseFlags::default().to_string(), "-");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(
    /// Codes of the flags, five bits each, the first flag lowest; 0 is none.
    u64,
);

/// Bits of a flag's code.
const CODE: u32 = 5;
/// Flags that find room; no exchange has more than half as many.
const ROOM: u32 = u64::BITS / CODE;

/// Declares the flags in the order of Envoy's list.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $long:literal;)*) => {
        #[allow(missing_docs, reason = "each flag has its meaning below")]
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self($bit + 1);)*
        }

        /// Code, short name, long name.
        const TABLE: &[(u64, &str, &str)] = &[$(($bit + 1, stringify!($name), $long)),*];
    };
}

flags! {
    /// The local service failed its health check.
    LH = 0, "FailedLocalHealthCheck";
    /// No healthy upstream.
    UH = 1, "NoHealthyUpstream";
    /// The upstream request timed out.
    UT = 2, "UpstreamRequestTimeout";
    /// The mesh reset the connection.
    LR = 3, "LocalReset";
    /// The upstream reset the stream.
    UR = 4, "UpstreamRemoteReset";
    /// Connecting to the upstream failed.
    UF = 5, "UpstreamConnectionFailure";
    /// The upstream closed the connection.
    UC = 6, "UpstreamConnectionTermination";
    /// A circuit breaker is open.
    UO = 7, "UpstreamOverflow";
    /// No route, or no filter chain.
    NR = 8, "NoRouteFound";
    /// A fault's delay was injected.
    DI = 9, "DelayInjected";
    /// A fault's abort was injected.
    FI = 10, "FaultInjected";
    /// The rate limit was exceeded.
    RL = 11, "RateLimited";
    /// The authorization service refused.
    UAEX = 12, "UnauthorizedExternalService";
    /// The rate-limit service failed.
    RLSE = 13, "RateLimitServiceError";
    /// The downstream closed the connection.
    DC = 14, "DownstreamConnectionTermination";
    /// All retries, or connection attempts, are used up.
    URX = 15, "UpstreamRetryLimitExceeded";
    /// The stream was idle for too long.
    SI = 16, "StreamIdleTimeout";
    /// A header that is checked strictly is invalid.
    IH = 17, "InvalidEnvoyRequestHeaders";
    /// The downstream broke its protocol.
    DPE = 18, "DownstreamProtocolError";
    /// The stream lasted longer than allowed.
    UMSDR = 19, "UpstreamMaxStreamDurationReached";
    /// The response came from a cache.
    RFCF = 20, "ResponseFromCacheFilter";
    /// A filter's configuration is missing.
    NFCF = 21, "NoFilterConfigFound";
    /// A request or connection exceeded its duration.
    DT = 22, "DurationTimeout";
    /// The upstream broke its protocol.
    UPE = 23, "UpstreamProtocolError";
    /// No such cluster.
    NC = 24, "NoClusterFound";
    /// The overload manager shed it.
    OM = 25, "OverloadManagerTerminated";
    /// The name of the upstream could not be resolved.
    DF = 26, "DnsResolutionFailed";
    /// Dropped by the endpoint assignment's policy.
    DO = 27, "DropOverload";
    /// The downstream reset the stream.
    DR = 28, "DownstreamRemoteReset";
    /// Dropped without condition by the endpoint assignment's policy.
    UDO = 29, "UnconditionalDropOverload";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether one of `other`'s flags is set.
    pub fn intersects(self, other: Self) -> bool {
        other.codes().any(|code| self.has(code))
    }

    /// Sets the flags of `other`, after those that are set.
    pub fn insert(&mut self, other: Self) {
        for code in other.codes() {
            let used = self.codes().count();
            if !self.has(code)
                && let Some(place) = u32::try_from(used).ok().filter(|used| *used < ROOM)
            {
                self.0 |= code << (place * CODE);
            }
        }
    }

    fn codes(self) -> impl Iterator<Item = u64> {
        let code = move |place| (self.0 >> (place * CODE)) & ((1 << CODE) - 1);
        (0..ROOM).map(code).take_while(|code| *code != 0)
    }

    fn has(self, code: u64) -> bool {
        self.codes().any(|own| own == code)
    }

    /// The flag of a short name (`NR`).
    pub fn from_short(name: &str) -> Option<Self> {
        TABLE.iter().find(|(_, short, _)| *short == name).map(|(code, ..)| Self(*code))
    }

    /// The set with its order as a number, for interning.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Appends the long names, joined by commas; `-` for the empty set.
    pub fn write_long(self, out: &mut String) {
        self.write_names(out, |(_, _, long)| long);
    }

    /// Appends the short names, joined by commas; `-` for the empty set.
    pub fn write_short(self, out: &mut String) {
        self.write_names(out, |(_, short, _)| short);
    }

    fn write_names(
        self,
        out: &mut String,
        name: impl Fn(&(u64, &'static str, &'static str)) -> &'static str,
    ) {
        if self.is_empty() {
            out.push('-');
        }
        let mut first = true;
        let row = |code| TABLE.iter().find(|(own, ..)| *own == code);
        for row in self.codes().filter_map(row) {
            if !first {
                out.push(',');
            }
            first = false;
            out.push_str(name(row));
        }
    }
}

impl std::ops::BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(mut self, other: Self) -> Self {
        self.insert(other);
        self
    }
}

impl std::ops::BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

/// The short names, joined by commas; `-` for the empty set.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_short(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseFlags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_name_is_one_flag() {
        for (code, short, _) in TABLE {
            assert_eq!(ResponseFlags::from_short(short), Some(ResponseFlags(*code)));
        }
        assert_eq!(ResponseFlags::from_short("XX"), None);
        let mut long = String::new();
        (ResponseFlags::DC | ResponseFlags::UT).write_long(&mut long);
        assert_eq!(long, "DownstreamConnectionTermination,UpstreamRequestTimeout");
    }

    #[test]
    fn a_set_keeps_the_order_and_its_bounds() {
        let mut all = ResponseFlags::NONE;
        for (code, ..) in TABLE {
            all.insert(ResponseFlags(*code));
        }
        assert_eq!(all.to_string().split(',').count(), 12, "there is room for twelve");
        let some = ResponseFlags::DI | ResponseFlags::UT;
        assert!(some.intersects(ResponseFlags::UF | ResponseFlags::UT));
        assert!(!some.intersects(ResponseFlags::UF | ResponseFlags::NONE));
        assert!(!some.intersects(ResponseFlags::NONE));
        assert_eq!(some.to_string(), "DI,UT");
        assert_ne!(some.bits(), (ResponseFlags::UT | ResponseFlags::DI).bits());
    }
}
