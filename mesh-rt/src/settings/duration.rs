//! Go's duration syntax, as Istio's settings use it.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: use numbers with units h, m, s, ms, us or ns, as in 1m30s")]
pub struct BadDuration {
    /// The text.
    pub text: String,
}

/// Parses numbers with units, added up: `10s`, `1m30s`, `1.5h`, `250ms`; `0` needs no unit.
/// Negative durations are refused: no setting has a use for one.
///
/// ```
/// use std::time::Duration;
/// use mesh_rt::settings::parse_duration;
/// assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
/// assert!(parse_duration("10").is_err());
/// ```
///
/// # Errors
/// [`BadDuration`], also when the sum is beyond what [`Duration`] holds.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration { text: text.to_owned() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = tail;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn table() {
        let good = [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("1h2m3s", Duration::from_secs(3723)),
            ("100ms", Duration::from_millis(100)),
            ("7us", Duration::from_micros(7)),
            (".5s", Duration::from_millis(500)),
        ];
        for (text, expected) in good {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "10", "-1s", "1d", "1..2s", "1s2", "9e9s", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_milliseconds_come_back(hours in 0_u64..1000, millis in any::<u16>()) {
            let text = format!("{hours}h{millis}ms");
            let expected = Duration::from_secs(hours * 3600) + Duration::from_millis(millis.into());
            assert_eq!(parse_duration(&text), Ok(expected));
        }

        #[test]
        fn never_panics(text in ".*") {
            let _result = parse_duration(&text);
        }
    }
}
