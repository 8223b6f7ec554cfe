//! Access logs: where lines go, what is in them, and which requests get one.

use std::path::PathBuf;
use std::time::Duration;

use crate::flags::ResponseFlags;

pub mod format;
pub mod operator;

use format::Format;
use operator::Operator;

/// A log of requests or connections.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where its lines go.
    pub sink: Sink,
    /// What is in a line.
    pub format: Format,
    /// Which requests get a line.
    pub filter: LogFilter,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to.
    File(PathBuf),
}

/// Which requests get a line.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LogFilter {
    /// All.
    #[default]
    All,
    /// Those with one of these flags; with the empty set those with any flag.
    Flags(ResponseFlags),
    /// Those whose status compares so.
    Status(Comparison),
    /// Those whose duration in milliseconds compares so.
    Duration(Comparison),
    /// All of them hold.
    And(Vec<LogFilter>),
    /// One of them holds.
    Or(Vec<LogFilter>),
}

/// A comparison of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal(u64),
    /// Not equal.
    NotEqual(u64),
    /// At least.
    AtLeast(u64),
    /// At most.
    AtMost(u64),
}

impl Comparison {
    fn holds(self, value: u64) -> bool {
        match self {
            Self::Equal(other) => value == other,
            Self::NotEqual(other) => value != other,
            Self::AtLeast(other) => value >= other,
            Self::AtMost(other) => value <= other,
        }
    }
}

impl LogFilter {
    /// Whether a request, or connection, gets a line.
    pub fn wants(&self, context: &dyn LogContext) -> bool {
        let number = |operator| match context.value(&operator) {
            Value::Number(number) => number,
            _ => 0,
        };
        match self {
            Self::All => true,
            Self::Flags(wanted) => match context.value(&Operator::ResponseFlags) {
                Value::Flags(flags) if wanted.is_empty() => !flags.is_empty(),
                Value::Flags(flags) => flags.intersects(*wanted),
                _ => false,
            },
            Self::Status(comparison) => comparison.holds(number(Operator::ResponseCode)),
            Self::Duration(comparison) => comparison.holds(number(Operator::Duration)),
            Self::And(filters) => filters.iter().all(|filter| filter.wants(context)),
            Self::Or(filters) => filters.iter().any(|filter| filter.wants(context)),
        }
    }
}

/// The value of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// There is none: `-` in text, `null` in JSON.
    Absent,
    /// Text.
    Text(&'a str),
    /// Text made for the occasion.
    Owned(String),
    /// A number.
    Number(u64),
    /// Response flags.
    Flags(ResponseFlags),
    /// A point in time, since the Unix epoch.
    Time(Duration),
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

/// Gives the values of operators: one request or connection, at its end or at any time before.
pub trait LogContext {
    /// The value of an operator. Lengths and time formats are applied by the caller.
    fn value(&self, operator: &Operator) -> Value<'_>;
}

/// A context that knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContext;

impl LogContext for NoContext {
    fn value(&self, _: &Operator) -> Value<'_> {
        Value::Absent
    }
}
