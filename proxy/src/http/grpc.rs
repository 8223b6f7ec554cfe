//! What the proxy reads of gRPC: statuses, time-outs, and how many messages a body has.

use std::time::Duration;

use http::HeaderMap;

/// gRPC's status in headers or trailers.
pub fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `grpc-timeout`: at most eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Counts length-prefixed messages of a body that comes in pieces.
#[derive(Debug, Default)]
pub struct MessageCounter {
    prefix: [u8; 5],
    have: usize,
    left: u64,
}

impl MessageCounter {
    /// How many messages begin in `data`.
    pub fn feed(&mut self, mut data: &[u8]) -> u64 {
        let mut messages = 0;
        while !data.is_empty() {
            if self.left > 0 {
                let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
                self.left -= skip as u64;
                data = &data[skip..];
                continue;
            }
            self.prefix[self.have] = data[0];
            self.have += 1;
            data = &data[1..];
            if self.have == self.prefix.len() {
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]).into();
                self.have = 0;
                messages += 1;
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use proptest::prelude::*;

    use super::{MessageCounter, timeout};

    #[test]
    fn timeouts_have_a_unit() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("2H", Some(Duration::from_secs(7200))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("999999999u", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..40, 0..8),
            cut in 1_usize..16,
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend((u32::try_from(*length).unwrap()).to_be_bytes());
                bytes.extend(std::iter::repeat_n(7, *length));
            }
            let mut counter = MessageCounter::default();
            let counted: u64 = bytes.chunks(cut).map(|piece| counter.feed(piece)).sum();
            prop_assert_eq!(counted, lengths.len() as u64);
        }
    }
}
