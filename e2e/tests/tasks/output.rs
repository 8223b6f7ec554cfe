//! Whether a command printed what its page says: `...` stands for any lines, `…` for any text
//! within a line, and runs of blanks are equal.

/// The first difference between what was printed and what should have been, or nothing.
pub(crate) fn difference(expected: &[String], printed: &str) -> Option<String> {
    let expected: Vec<String> = expected.iter().map(|line| squeeze(line)).collect();
    let printed: Vec<String> = printed.lines().map(squeeze).collect();
    let (expected, printed) = (trim(&expected), trim(&printed));
    if expected.is_empty() || matches(expected, printed) {
        return None;
    }
    let (expected, printed) = (expected.join("\n"), printed.join("\n"));
    Some(format!("the page says\n{expected}\n--- and it printed\n{printed}\n---"))
}

/// Without blank lines at both ends.
fn trim(lines: &[String]) -> &[String] {
    let begin = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(begin, |last| last + 1);
    &lines[begin..end]
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines against lines, where `...` is as many as it takes.
fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(own, more)| same(line, own) && matches(rest, more))
        }
    }
}

/// A line against a line, where `…` is as much as it takes.
fn same(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(expected: &str, printed: &str) -> bool {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        difference(&expected, printed).is_some()
    }

    #[test]
    fn lines_are_compared_as_a_reader_would() {
        for (expected, printed) in [
            ("", "anything"),
            ("a  b", " a b \n"),
            ("a\n...\nd", "a\nb\nc\nd"),
            ("a\n...", "a"),
            ("...", ""),
            ("x … z", "x y z"),
            ("reviews-v3-…-…", "reviews-v3-abc-def"),
            ("… 200", "17 200"),
        ] {
            assert!(!differs(expected, printed), "{expected:?} {printed:?}");
        }
        for (expected, printed) in [
            ("a", "b"),
            ("a", "a\nb"),
            ("a\n...\nd", "a\nb"),
            ("x…z", "xy"),
            ("a…", "b"),
            ("a", ""),
        ] {
            assert!(differs(expected, printed), "{expected:?} {printed:?}");
        }
    }
}
