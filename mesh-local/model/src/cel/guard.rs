//! Bounds on rule text, before the parser (which recurses) sees it, and around its panics.

use serde_json::Value;

use crate::field::{FieldError, FieldErrorKind, FieldPath};

/// Longest rule, in bytes.
const MAX_LENGTH: usize = 10_240;
/// Deepest nesting of brackets. The parser gives up at about 90 by itself, but not always
/// gracefully.
const MAX_NESTING: usize = 48;
/// Most ternaries: each costs the parser about 20 KiB of stack.
const MAX_TERNARIES: usize = 48;
/// Most operators, selections and indexings: a chain of them is a tree as deep as it is long.
const MAX_OPERATORS: usize = 1000;

/// What is wrong with a rule before it is parsed: missing, too long, nested too deeply.
pub(super) fn problem(rule: &Value, place: &FieldPath) -> Option<FieldError> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("rule").trim().is_empty() {
        return Some(FieldError::required(&place.child("rule"), "rule is not specified"));
    }
    for key in ["rule", "messageExpression"] {
        let place = place.child(key);
        if text(key).len() > MAX_LENGTH {
            let detail = format!("may not be more than {MAX_LENGTH} bytes");
            return Some(FieldError::new(FieldErrorKind::TooLong, &place, None, detail));
        }
        if let Some(problem) = excess(text(key)) {
            return Some(FieldError::invalid(&place, text(key), problem));
        }
    }
    None
}

/// What the text has too much of. Quoted text counts too, which errs on the safe side.
fn excess(text: &str) -> Option<String> {
    let (mut open, mut deepest, mut ternaries, mut operators) = (0_usize, 0_usize, 0, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => {
                open += 1;
                operators += 1;
                deepest = deepest.max(open);
            }
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '?' => ternaries += 1,
            '.' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' => operators += 1,
            _ => {}
        }
    }
    let limits = [
        (deepest, MAX_NESTING, "levels of nesting"),
        (ternaries, MAX_TERNARIES, "conditional operators"),
        (operators, MAX_OPERATORS, "operators"),
    ];
    let (_, most, what) = limits.into_iter().find(|(count, most, _)| count > most)?;
    Some(format!("may not have more than {most} {what}"))
}

/// Runs the CEL crate's code; a panic inside it becomes `None`.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::problem;
    use crate::field::FieldPath;

    #[test]
    fn refusals() {
        let place = FieldPath::new("x");
        let message = |rule| problem(&rule, &place).unwrap().to_string();
        assert_eq!(message(json!({})), "x.rule: Required value: rule is not specified");
        let long = "a".repeat(20_000);
        assert_eq!(
            message(json!({"rule": long})),
            "x.rule: Too long: may not be more than 10240 bytes"
        );
        let cases = [
            ("(".repeat(200), "may not have more than 48 levels of nesting"),
            ("a ? b : ".repeat(200), "may not have more than 48 conditional operators"),
            ("1 + ".repeat(2000), "may not have more than 1000 operators"),
        ];
        for (text, expected) in cases {
            assert!(message(json!({"rule": text})).ends_with(expected));
        }
        assert_eq!(problem(&json!({"rule": "self.x > 0"}), &place), None);
    }
}
