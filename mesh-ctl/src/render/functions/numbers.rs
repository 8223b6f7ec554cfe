//! Functions on numbers and versions.

use gotmpl::Value;
use semver::{Version, VersionReq};

use super::{Table, exactly, refuse, text_of};
use crate::render::convert::list;

/// A range of numbers is at most this long.
const MAX_RANGE: i64 = 100_000;

pub(super) const TABLE: Table = &[
    ("int", |args| exactly::<1>(args).map(|[value]| Value::Int(integer(value)))),
    ("int64", |args| exactly::<1>(args).map(|[value]| Value::Int(integer(value)))),
    ("atoi", |args| exactly::<1>(args).map(|[value]| Value::Int(integer(value)))),
    ("float64", |args| exactly::<1>(args).map(|[value]| Value::Float(real(value)))),
    ("floor", |args| exactly::<1>(args).map(|[value]| Value::Float(real(value).floor()))),
    ("ceil", |args| exactly::<1>(args).map(|[value]| Value::Float(real(value).ceil()))),
    ("add1", |args| exactly::<1>(args).map(|[value]| Value::Int(integer(value).wrapping_add(1)))),
    ("add", |args| Ok(fold(args, i64::wrapping_add))),
    ("mul", |args| Ok(fold(args, i64::wrapping_mul))),
    ("max", |args| Ok(fold(args, i64::max))),
    ("min", |args| Ok(fold(args, i64::min))),
    ("sub", |args| {
        let [left, right] = exactly(args)?;
        Ok(Value::Int(integer(left).wrapping_sub(integer(right))))
    }),
    ("div", |args| divide(args, i64::checked_div)),
    ("mod", |args| divide(args, i64::checked_rem)),
    ("until", |args| {
        let [end] = exactly(args)?;
        let end = integer(end);
        if !(0..=MAX_RANGE).contains(&end) {
            return refuse(format!("{end} is not between 0 and {MAX_RANGE}"));
        }
        Ok(list((0..end).map(Value::Int)))
    }),
    ("semverCompare", |args| {
        let [wanted, version] = exactly(args)?;
        let version = text_of(version)?;
        let parsed = Version::parse(version.trim_start_matches('v'));
        let parsed = parsed.or_else(|error| refuse(format!("version {version:?}: {error}")))?;
        Ok(Value::Bool(satisfies(text_of(wanted)?, &parsed)?))
    }),
];

/// As Sprig's `int64`: what is no number counts as 0.
pub(super) fn integer(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).unwrap_or(i64::MAX),
        #[allow(clippy::cast_possible_truncation, reason = "as Go converts")]
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "as Go converts")]
fn real(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::String(text) => text.parse().unwrap_or(0.0),
        other => integer(other) as f64,
    }
}

fn fold(args: &[Value], with: fn(i64, i64) -> i64) -> Value {
    Value::Int(args.iter().map(integer).reduce(with).unwrap_or(0))
}

fn divide(args: &[Value], with: fn(i64, i64) -> Option<i64>) -> gotmpl::Result<Value> {
    let [left, right] = exactly(args)?;
    with(integer(left), integer(right))
        .map_or_else(|| refuse("division by zero"), |n| Ok(Value::Int(n)))
}

/// Whether a version satisfies one of the alternatives of `a, b || c`. `-0` after a version lets
/// pre-releases in, which are otherwise never matched.
fn satisfies(wanted: &str, version: &Version) -> gotmpl::Result<bool> {
    for alternative in wanted.split("||").map(str::trim) {
        let released = alternative.replace("-0", "");
        let lenient = released != alternative;
        let required = VersionReq::parse(&released)
            .or_else(|error| refuse(format!("constraint {wanted:?}: {error}")))?;
        let mut version = version.clone();
        if lenient {
            version.pre = semver::Prerelease::EMPTY;
        }
        if required.matches(&version) {
            return Ok(true);
        }
    }
    Ok(false)
}
