//! Durations as Istio writes them in objects: `300s`, `1.5h`, `1h30m`, `100ms`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::schema::rules;

/// A length of time, not negative. It is read in Go's notation and written as seconds, as
/// protobuf's JSON mapping does.
///
/// ```
/// use mesh_api::crd::Duration;
/// let timeout: Duration = "1h30m0.5s".parse()?;
/// assert_eq!(timeout.get(), std::time::Duration::from_millis(5_400_500));
/// assert_eq!(timeout.to_string(), "5400.500s");
/// # Ok::<(), mesh_api::crd::duration::DurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no text.
    #[error("a duration is empty; write it like 10s")]
    Empty,
    /// A number lacks its unit.
    #[error("duration {0:?} lacks a unit; write it like 10s (units: ns, us, ms, s, m, h)")]
    NoUnit(String),
    /// A unit is not known.
    #[error("duration {0:?} has an unknown unit; the units are ns, us, ms, s, m, h")]
    BadUnit(String),
    /// A number is malformed.
    #[error("duration {0:?} is malformed; write it like 10s, 1.5h or 1h30m")]
    Malformed(String),
    /// It is less than zero.
    #[error("duration {0:?} is negative")]
    Negative(String),
    /// It is beyond 292 years.
    #[error("duration {0:?} is too long; the longest is 292 years")]
    TooLong(String),
}

impl Duration {
    /// The length as the standard library's type.
    pub fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether the length is zero.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<std::time::Duration> for Duration {
    fn from(length: std::time::Duration) -> Self {
        Self(length)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let whole = || text.to_owned();
        let (negative, mut rest) = match text.as_bytes().first() {
            None => return Err(DurationError::Empty),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(DurationError::Malformed(whole()));
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            if number.is_empty() || number == "." {
                return Err(DurationError::Malformed(whole()));
            }
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            if unit.is_empty() {
                return Err(DurationError::NoUnit(whole()));
            }
            let unit = unit_nanos(unit).ok_or_else(|| DurationError::BadUnit(whole()))?;
            let part = scaled(number, unit).ok_or_else(|| DurationError::Malformed(whole()))?;
            nanos = nanos.saturating_add(part);
            if nanos > i64::MAX as u128 {
                return Err(DurationError::TooLong(whole()));
            }
            rest = tail;
        }
        if negative && nanos > 0 {
            return Err(DurationError::Negative(whole()));
        }
        let nanos = u64::try_from(nanos).map_err(|_| DurationError::TooLong(whole()))?;
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` units in nanoseconds, cut towards zero; `None` if the number is malformed. Numbers
/// beyond any duration come back as `u128::MAX`.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return None;
    }
    let whole = match whole {
        "" => 0,
        digits if digits.len() > 30 => return Some(u128::MAX),
        digits => digits.parse::<u128>().ok()?,
    };
    let mut nanos = whole.saturating_mul(unit);
    let mut place = unit;
    for digit in fraction.bytes() {
        // Digits beyond the ninth decimal of an hour are below a nanosecond; the place is exact
        // until then because every unit is a multiple of the powers of ten that matter.
        nanos = nanos.saturating_add(u128::from(digit - b'0') * place / 10);
        place /= 10;
    }
    Some(nanos)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match nanos {
            0 => write!(f, "{seconds}s"),
            _ if nanos.is_multiple_of(1_000_000) => {
                write!(f, "{seconds}.{:03}s", nanos / 1_000_000)
            }
            _ if nanos.is_multiple_of(1_000) => write!(f, "{seconds}.{:06}s", nanos / 1_000),
            _ => write!(f, "{seconds}.{nanos:09}s"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The schema refuses what is shorter than a millisecond; fields that may be 0 say so.
impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let rules = rules(&[(
            "duration(self) >= duration('1ms')",
            "must be a valid duration greater than 1ms",
        )]);
        json_schema!({ "type": "string", "x-kubernetes-validations": rules })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Duration, DurationError};

    fn nanos(text: &str) -> Result<u128, DurationError> {
        text.parse::<Duration>().map(|duration| duration.get().as_nanos())
    }

    #[test]
    fn reads_go_notation() {
        for (text, want) in [
            ("0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("10us", 10_000),
            ("10\u{b5}s", 10_000),
            ("1.000000001s", 1_000_000_001),
            ("1s1s", 2_000_000_000),
        ] {
            assert_eq!(nanos(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let owned = |text: &str| text.to_owned();
        assert_eq!(nanos(""), Err(DurationError::Empty));
        assert_eq!(nanos("5"), Err(DurationError::NoUnit(owned("5"))));
        assert_eq!(nanos("5d"), Err(DurationError::BadUnit(owned("5d"))));
        assert_eq!(nanos("s"), Err(DurationError::Malformed(owned("s"))));
        assert_eq!(nanos("-"), Err(DurationError::Malformed(owned("-"))));
        assert_eq!(nanos("1.2.3s"), Err(DurationError::Malformed(owned("1.2.3s"))));
        assert_eq!(nanos("-5s"), Err(DurationError::Negative(owned("-5s"))));
        assert_eq!(nanos("9999999h"), Err(DurationError::TooLong(owned("9999999h"))));
        let long = format!("{}h", "9".repeat(60));
        assert_eq!(nanos(&long), Err(DurationError::TooLong(long.clone())));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from(std::time::Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<Duration>();
        }
    }
}
