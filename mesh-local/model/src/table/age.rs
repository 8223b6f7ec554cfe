//! Durations as kubectl prints them: two units at most, coarser the longer ago.

use jiff::Timestamp;
use serde_json::Value;

/// A number of seconds as kubectl prints an age.
///
/// ```
/// use local_model::table::human_duration;
/// assert_eq!(human_duration(119), "119s");
/// assert_eq!(human_duration(125), "2m5s");
/// assert_eq!(human_duration(3 * 86_400), "3d");
/// ```
pub fn human_duration(seconds: i64) -> String {
    const DAY: i64 = 24;
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 8 * DAY => two(hours / DAY, "d", hours % DAY, "h"),
        () if hours < 2 * 365 * DAY => format!("{}d", hours / DAY),
        () if hours < 8 * 365 * DAY => two(hours / DAY / 365, "y", hours / DAY % 365, "d"),
        () => format!("{}y", hours / DAY / 365),
    }
}

/// The age of an RFC 3339 timestamp; `<unknown>` without one.
pub(super) fn since(timestamp: &Value, now: Timestamp) -> String {
    match timestamp.as_str() {
        None | Some("") => "<unknown>".to_owned(),
        Some(text) => match text.parse::<Timestamp>() {
            Ok(then) => human_duration(whole_seconds(then, now)),
            Err(_) => "<invalid>".to_owned(),
        },
    }
}

/// Seconds from one time to another, rounded toward zero.
pub(super) fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_coarsen() {
        const H: i64 = 3600;
        const D: i64 = 24 * H;
        for (seconds, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * H, "3h"),
            (3 * H + 60, "3h1m"),
            (8 * H + 60, "8h"),
            (47 * H, "47h"),
            (2 * D, "2d"),
            (2 * D + H, "2d1h"),
            (8 * D + H, "8d"),
            (729 * D, "729d"),
            (730 * D, "2y"),
            (731 * D, "2y1d"),
            (9 * 365 * D, "9y"),
        ] {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
    }
}
