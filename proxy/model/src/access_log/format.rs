//! Log formats: text with operators, and JSON of such texts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::operator::{self, Operator};
use super::{LogContext, Value};

#[cfg(test)]
mod tests;

/// Istio's text format.
pub const ISTIO_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% \
%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Bytes of a format at most, and of nested objects.
const MAX_FORMAT: usize = 64 << 10;
/// Objects in one another at most.
const MAX_DEPTH: usize = 16;

/// Why a format cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is no such operator, or its argument is missing.
    #[error("operator {0:?} is not known, or lacks its argument")]
    Operator(String),
    /// A percent sign has no partner.
    #[error("the operator that begins at byte {0} has no end")]
    Unterminated(usize),
    /// The format is too long or too deep.
    #[error("the format has more than {MAX_FORMAT} bytes or {MAX_DEPTH} levels")]
    TooLarge,
}

/// A compiled format.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    body: Body,
    omit_empty: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Text(Vec<Piece>),
    Json(Tree),
}

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Object(Vec<(Arc<str>, Tree)>),
    Array(Vec<Tree>),
    Text(Vec<Piece>),
    Constant(Json),
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(Arc<str>),
    Operator(Operator, Option<usize>),
}

impl Format {
    /// Reads a text format.
    ///
    /// # Errors
    /// When an operator is unknown or has no end.
    ///
    /// ```
    /// use proxy_model::access_log::{NoContext, format::Format};
    ///
    /// let format = Format::parse("%REQ(:METHOD)% 100%%\n")?;
    /// let mut line = String::new();
    /// format.render(&NoContext, &mut line);
    /// assert_eq!(line, "- 100%\n");
    /// # Ok::<(), proxy_model::access_log::format::FormatError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self { body: Body::Text(pieces(text)?), omit_empty: false })
    }

    /// Reads a JSON format: an object whose strings are text formats.
    ///
    /// # Errors
    /// When an operator is unknown or has no end, or the object is too deep.
    pub fn json(object: &Json) -> Result<Self, FormatError> {
        Ok(Self { body: Body::Json(tree(object, 0)?), omit_empty: false })
    }

    /// Leaves out absent values: nothing instead of `-`, no key instead of `null`.
    #[must_use]
    pub fn omitting_empty(mut self) -> Self {
        self.omit_empty = true;
        self
    }

    /// Appends a line. A text format says itself where the line ends; JSON gets a newline.
    pub fn render(&self, context: &dyn LogContext, out: &mut String) {
        match &self.body {
            Body::Text(pieces) => {
                write_pieces(pieces, context, out, if self.omit_empty { "" } else { "-" });
            }
            Body::Json(tree) => {
                write_tree(tree, context, out, self.omit_empty);
                out.push('\n');
            }
        }
    }

    /// Appends a header's value: as a line, but absent values are empty.
    pub fn render_value(&self, context: &dyn LogContext, out: &mut String) {
        if let Body::Text(pieces) = &self.body {
            write_pieces(pieces, context, out, "");
        }
    }
}

/// Splits a text at its operators: `%NAME%`, `%NAME(argument)%`, `%NAME(argument):length%`.
fn pieces(text: &str) -> Result<Vec<Piece>, FormatError> {
    if text.len() > MAX_FORMAT {
        return Err(FormatError::TooLarge);
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        let begin = text.len() - rest.len() + at;
        let inner = &rest[at + 1..];
        if let Some(after) = inner.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        // An argument may hold percent signs, as time formats do.
        let end = match (inner.find('%'), inner.find('(')) {
            (Some(percent), Some(open)) if open < percent => {
                let close = inner.find(')').ok_or(FormatError::Unterminated(begin))?;
                close + inner[close..].find('%').ok_or(FormatError::Unterminated(begin))?
            }
            (Some(percent), _) => percent,
            (None, _) => return Err(FormatError::Unterminated(begin)),
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(piece(&inner[..end])?);
        rest = &inner[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(pieces)
}

fn piece(inner: &str) -> Result<Piece, FormatError> {
    let unknown = || FormatError::Operator(inner.to_owned());
    let (name, argument, tail) = match inner.split_once('(') {
        Some((name, rest)) => {
            let (argument, tail) = rest.rsplit_once(')').ok_or_else(unknown)?;
            (name, Some(argument), tail)
        }
        None => match inner.split_once(':') {
            Some((name, _)) => (name, None, &inner[name.len()..]),
            None => (inner, None, ""),
        },
    };
    let length = match tail.strip_prefix(':') {
        Some(digits) => Some(digits.parse().map_err(|_| unknown())?),
        None if tail.is_empty() => None,
        None => return Err(unknown()),
    };
    let operator = operator::parse(name, argument).ok_or_else(unknown)?;
    Ok(Piece::Operator(operator, length))
}

fn tree(json: &Json, depth: usize) -> Result<Tree, FormatError> {
    if depth > MAX_DEPTH {
        return Err(FormatError::TooLarge);
    }
    Ok(match json {
        Json::Object(object) => Tree::Object(
            object
                .iter()
                .map(|(key, value)| Ok((key.as_str().into(), tree(value, depth + 1)?)))
                .collect::<Result<_, FormatError>>()?,
        ),
        Json::Array(array) => {
            Tree::Array(array.iter().map(|value| tree(value, depth + 1)).collect::<Result<_, _>>()?)
        }
        Json::String(text) => Tree::Text(pieces(text)?),
        constant => Tree::Constant(constant.clone()),
    })
}

fn write_pieces(pieces: &[Piece], context: &dyn LogContext, out: &mut String, absent: &str) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Operator(operator, length) => {
                let begin = out.len();
                if !write_value(operator, context, out) {
                    out.push_str(absent);
                }
                if let Some(length) = length {
                    truncate(out, begin, *length);
                }
            }
        }
    }
}

/// Appends an operator's value, and says whether there is one.
fn write_value(operator: &Operator, context: &dyn LogContext, out: &mut String) -> bool {
    match context.value(operator) {
        Value::Absent => return false,
        Value::Text(text) => out.push_str(text),
        Value::Owned(text) => out.push_str(&text),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Flags(flags) => match operator {
            Operator::ResponseFlagsLong => flags.write_long(out),
            _ => flags.write_short(out),
        },
        Value::Time(time) => match operator {
            Operator::StartTime(Some(format)) => write_time(time, format, out),
            _ => write_time(time, "%Y-%m-%dT%H:%M:%S.%3fZ", out),
        },
    }
    true
}

fn write_tree(tree: &Tree, context: &dyn LogContext, out: &mut String, omit_empty: bool) {
    match tree {
        Tree::Object(entries) => {
            out.push('{');
            let mut first = true;
            for (key, value) in entries {
                let begin = out.len();
                if !first {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                let value_at = out.len();
                write_tree(value, context, out, omit_empty);
                if omit_empty && &out[value_at..] == "null" {
                    out.truncate(begin);
                } else {
                    first = false;
                }
            }
            out.push('}');
        }
        Tree::Array(values) => {
            out.push('[');
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                write_tree(value, context, out, omit_empty);
            }
            out.push(']');
        }
        Tree::Constant(json) => {
            let _ = write!(out, "{json}");
        }
        Tree::Text(pieces) => match pieces.as_slice() {
            // One operator alone keeps its type.
            [Piece::Operator(operator, None)] => match context.value(operator) {
                Value::Absent => out.push_str("null"),
                Value::Number(number) => {
                    let _ = write!(out, "{number}");
                }
                _ => {
                    let mut text = String::new();
                    write_value(operator, context, &mut text);
                    write_string(&text, out);
                }
            },
            pieces => {
                let mut text = String::new();
                write_pieces(pieces, context, &mut text, if omit_empty { "" } else { "-" });
                write_string(&text, out);
            }
        },
    }
}

fn write_string(text: &str, out: &mut String) {
    let _ = write!(out, "{}", Json::from(text));
}

/// Cuts what was written since `begin` to `length` bytes, at a character's end.
fn truncate(out: &mut String, begin: usize, length: usize) {
    let mut end = begin.saturating_add(length);
    if end < out.len() {
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
}

/// Writes a UTC time by the specifiers of `strftime` that Envoy's documentation names; others are
/// copied.
fn write_time(time: Duration, format: &str, out: &mut String) {
    let seconds = time.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = time.subsec_nanos();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(specifier) = letters.next() else {
            out.push('%');
            break;
        };
        let _ = match specifier {
            'Y' => write!(out, "{year:04}"),
            'm' => write!(out, "{month:02}"),
            'd' => write!(out, "{day:02}"),
            'H' => write!(out, "{hour:02}"),
            'M' => write!(out, "{minute:02}"),
            'S' => write!(out, "{second:02}"),
            'F' => write!(out, "{year:04}-{month:02}-{day:02}"),
            'T' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            's' => write!(out, "{seconds}"),
            'Z' => write!(out, "UTC"),
            'z' => write!(out, "+0000"),
            'f' => write!(out, "{nanos:09}"),
            '%' => write!(out, "%"),
            digit @ '1'..='9' if letters.peek() == Some(&'f') => {
                letters.next();
                let digits = digit.to_digit(10).unwrap_or(9);
                let width = usize::try_from(digits).unwrap_or(9);
                write!(out, "{:0width$}", nanos / 10_u32.pow(9 - digits))
            }
            other => write!(out, "%{other}"),
        };
    }
}

/// Year, month and day of a day since the Unix epoch, by the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0, so that a leap day is a year's last one.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}
