//! Resource quantities such as `100m`, `1.5Gi`, `2e3`, exact to a nano-unit.

use std::fmt;

const NANO: i128 = 1_000_000_000;
const MAX_DIGITS: usize = 27;

/// A quantity that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct QuantityError;

/// An amount of a resource, in units of 10⁻⁹.
///
/// ```
/// use local_model::quantity::Quantity;
/// assert_eq!(Quantity::parse("250m").unwrap().milli(), 250);
/// assert_eq!(Quantity::parse("1.5Gi").unwrap().units(), 1_610_612_736);
/// assert!(Quantity::parse("1").unwrap() > Quantity::parse("999m").unwrap());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

impl Quantity {
    /// Reads a quantity. Fractions finer than a nano-unit round away from zero.
    ///
    /// # Errors
    /// [`QuantityError`] for malformed or absurdly large text.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > MAX_DIGITS || digits.contains('.') {
            return Err(QuantityError);
        }
        let mantissa: i128 = digits.parse().map_err(|_| QuantityError)?;
        let scale = scale(suffix)?;
        // value = mantissa × scale / 10^fraction, in nano-units, rounded up.
        let numerator = match scale {
            Scale::Decimal(power) => {
                let power = power + 9 - i32::try_from(fraction.len()).map_err(|_| QuantityError)?;
                shift(mantissa, power)?
            }
            Scale::Binary(power) => {
                let nano = mantissa.checked_mul(1 << power).and_then(|n| n.checked_mul(NANO));
                let power = -i32::try_from(fraction.len()).map_err(|_| QuantityError)?;
                shift(nano.ok_or(QuantityError)?, power)?
            }
        };
        Ok(Self(if negative { -numerator } else { numerator }))
    }

    /// The amount in whole units (cores, bytes), rounded up.
    pub fn units(self) -> i64 {
        clamp(ceil_div(self.0, NANO))
    }

    /// The amount in thousandths, rounded up.
    pub fn milli(self) -> i64 {
        clamp(ceil_div(self.0, NANO / 1000))
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Quantity {
    /// Plain decimal: whole units, else thousandths, else billionths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n % NANO == 0 => write!(f, "{}", n / NANO),
            n if n % (NANO / 1000) == 0 => write!(f, "{}m", n / (NANO / 1000)),
            n => write!(f, "{n}n"),
        }
    }
}

enum Scale {
    /// A power of ten.
    Decimal(i32),
    /// A power of two.
    Binary(u32),
}

fn scale(suffix: &str) -> Result<Scale, QuantityError> {
    Ok(match suffix {
        "n" => Scale::Decimal(-9),
        "u" => Scale::Decimal(-6),
        "m" => Scale::Decimal(-3),
        "" => Scale::Decimal(0),
        "k" => Scale::Decimal(3),
        "M" => Scale::Decimal(6),
        "G" => Scale::Decimal(9),
        "T" => Scale::Decimal(12),
        "P" => Scale::Decimal(15),
        "E" => Scale::Decimal(18),
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            let power: i32 = exponent.parse().map_err(|_| QuantityError)?;
            if !(-30..=30).contains(&power) {
                return Err(QuantityError);
            }
            Scale::Decimal(power)
        }
    })
}

fn shift(value: i128, power: i32) -> Result<i128, QuantityError> {
    let ten = |n: u32| 10i128.checked_pow(n).ok_or(QuantityError);
    if power >= 0 {
        value.checked_mul(ten(power.unsigned_abs())?).ok_or(QuantityError)
    } else if power < -36 {
        Ok(i128::from(value != 0))
    } else {
        Ok(ceil_div(value, ten(power.unsigned_abs())?))
    }
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, units, milli) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("1.", 1, 1000),
            ("128Mi", 134_217_728, 134_217_728_000),
            ("1k", 1000, 1_000_000),
            ("2e3", 2000, 2_000_000),
            ("1E2", 100, 100_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("-1", -1, -1000),
            ("+2", 2, 2000),
            ("1n", 1, 1),
        ] {
            let quantity = Quantity::parse(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!((quantity.units(), quantity.milli()), (units, milli), "{text}");
        }
        for text in ["", "m", "1x", "1.2.3", "--1", "1 Gi", "1e", "1e99", "ä", "1Kib"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(nano in any::<i64>()) {
            let quantity = Quantity(nano.into());
            assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
        }

        #[test]
        fn foreign_text_never_panics(text in "[+-]?[0-9.]{0,40}[a-zA-Zä]{0,3}[+-]?[0-9]{0,12}") {
            let _ = Quantity::parse(&text);
        }
    }
}
