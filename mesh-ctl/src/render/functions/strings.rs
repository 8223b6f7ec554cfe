//! Functions on texts.

use gotmpl::Value;

use super::{Table, count_of, exactly, list_of, printed, refuse, text_of};
use crate::render::convert::{list, map, text};

/// No text grows beyond this.
const MAX_TEXT: usize = 16 << 20;

pub(super) const TABLE: Table = &[
    ("quote", |args| Ok(quoted(args, |text| format!("{text:?}")))),
    ("squote", |args| Ok(quoted(args, |text| format!("'{text}'")))),
    ("upper", |args| one(args, |text| text.to_uppercase())),
    ("lower", |args| one(args, |text| text.to_lowercase())),
    ("trim", |args| one(args, |text| text.trim().to_owned())),
    ("nospace", |args| one(args, |text| text.split_whitespace().collect())),
    ("toString", |args| exactly::<1>(args).map(|[value]| text(printed(value)))),
    ("toStrings", |args| {
        let [items] = exactly(args)?;
        Ok(list(list_of(items)?.iter().map(|item| text(printed(item)))))
    }),
    ("trimAll", |args| two(args, |set, from| from.trim_matches(|c| set.contains(c)).to_owned())),
    ("trimSuffix", |args| two(args, |end, from| from.strip_suffix(end).unwrap_or(from).to_owned())),
    ("trimPrefix", |args| {
        two(args, |start, from| from.strip_prefix(start).unwrap_or(from).to_owned())
    }),
    ("contains", |args| test(args, |part, whole| whole.contains(part))),
    ("hasPrefix", |args| test(args, |start, whole| whole.starts_with(start))),
    ("hasSuffix", |args| test(args, |end, whole| whole.ends_with(end))),
    ("replace", |args| {
        let [old, new, from] = exactly(args)?;
        Ok(text(text_of(from)?.replace(text_of(old)?, text_of(new)?)))
    }),
    ("trunc", trunc),
    ("substr", substr),
    ("repeat", |args| {
        let [count, what] = exactly(args)?;
        let (count, what) = (count_of(count)?, text_of(what)?);
        if count.saturating_mul(what.len()) > MAX_TEXT {
            return refuse("the text would be too long");
        }
        Ok(text(what.repeat(count)))
    }),
    ("indent", |args| indent(args, "")),
    ("nindent", |args| indent(args, "\n")),
    ("splitList", |args| {
        let [separator, from] = exactly(args)?;
        Ok(list(text_of(from)?.split(text_of(separator)?).map(text)))
    }),
    ("split", |args| {
        let [separator, from] = exactly(args)?;
        let parts = text_of(from)?.split(text_of(separator)?);
        Ok(map(parts.enumerate().map(|(index, part)| (format!("_{index}"), text(part)))))
    }),
    ("join", |args| {
        let [separator, items] = exactly(args)?;
        let items: Vec<_> = match items {
            Value::List(items) => {
                items.iter().filter(|item| **item != Value::Nil).map(printed).collect()
            }
            other => vec![printed(other)],
        };
        Ok(text(items.join(text_of(separator)?)))
    }),
    ("cat", |args| {
        let parts: Vec<_> = args.iter().filter(|arg| **arg != Value::Nil).map(printed).collect();
        Ok(text(parts.join(" ")))
    }),
];

fn quoted(args: &[Value], quote: fn(&str) -> String) -> Value {
    let parts: Vec<_> =
        args.iter().filter(|arg| **arg != Value::Nil).map(|arg| quote(&printed(arg))).collect();
    text(parts.join(" "))
}

fn one(args: &[Value], change: fn(&str) -> String) -> gotmpl::Result<Value> {
    let [from] = exactly(args)?;
    Ok(text(change(text_of(from)?)))
}

fn two(args: &[Value], change: fn(&str, &str) -> String) -> gotmpl::Result<Value> {
    let [how, from] = exactly(args)?;
    Ok(text(change(text_of(how)?, text_of(from)?)))
}

fn test(args: &[Value], test: fn(&str, &str) -> bool) -> gotmpl::Result<Value> {
    let [what, whole] = exactly(args)?;
    Ok(Value::Bool(test(text_of(what)?, text_of(whole)?)))
}

/// The first so many bytes, or from the end with a negative number; never half a character.
fn trunc(args: &[Value]) -> gotmpl::Result<Value> {
    let [count, from] = exactly(args)?;
    let (count, from) = (super::numbers::integer(count), text_of(from)?);
    let length = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if length >= from.len() {
        return Ok(text(from));
    }
    Ok(text(if count < 0 {
        &from[from.ceil_char_boundary(from.len() - length)..]
    } else {
        &from[..from.floor_char_boundary(length)]
    }))
}

fn substr(args: &[Value]) -> gotmpl::Result<Value> {
    let [start, end, from] = exactly(args)?;
    let from = text_of(from)?;
    let at = |value| usize::try_from(super::numbers::integer(value)).ok();
    let start = from.ceil_char_boundary(at(start).unwrap_or(0).min(from.len()));
    let end = from.floor_char_boundary(at(end).unwrap_or(from.len()).min(from.len()));
    Ok(text(from.get(start..end).unwrap_or_default()))
}

fn indent(args: &[Value], before: &str) -> gotmpl::Result<Value> {
    let [count, from] = exactly(args)?;
    let (count, from) = (count_of(count)?, text_of(from)?);
    if count > 256 {
        return refuse("more than 256 columns");
    }
    let pad = " ".repeat(count);
    let lines: Vec<_> = from.split('\n').map(|line| format!("{pad}{line}")).collect();
    Ok(text(format!("{before}{}", lines.join("\n"))))
}
