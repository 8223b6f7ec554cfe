//! Numbers as C's `%g` prints them.

/// `value` with at most `digits` significant digits, without zeros at the end.
pub(crate) fn general(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent);
    trimmed(&format!("{value:.*}", decimals.unwrap_or(0))).to_owned()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_c_prints() {
        for (value, digits, text) in [
            (0.0, 6, "0"),
            (0.010_215_375, 6, "0.0102154"),
            (0.006, 6, "0.006"),
            (1.0, 6, "1"),
            (123_456_789.0, 6, "1.23457e+08"),
            (0.000_012_345, 4, "1.234e-05"),
            (729.9, 8, "729.9"),
            (13049.0, 9, "13049"),
            (999_999.5, 6, "1e+06"),
        ] {
            assert_eq!(general(value, digits), text, "{value}");
        }
    }
}
