//! Where a field stands in the text of a YAML document.

/// The line of a field, counted from 0, in a document in block style; the line of the nearest
/// field above it where the text is written otherwise.
///
/// ```
/// use mesh_ctl::analyze::lines::line_of;
/// let text = "kind: A\nspec:\n  hosts:\n  - a\n  - b\n  http:\n  - route:\n    - host: c\n";
/// assert_eq!(line_of(text, "spec.hosts[1]"), 4);
/// assert_eq!(line_of(text, "spec.http[0].route[0].host"), 7);
/// assert_eq!(line_of(text, "spec.absent"), 1);
/// ```
pub fn line_of(text: &str, path: &str) -> usize {
    let lines: Vec<Line> = text.lines().enumerate().filter_map(Line::read).collect();
    let mut scope = lines.as_slice();
    let mut found = scope.first().map_or(0, |line| line.number);
    let mut from = 0;
    for step in steps(path) {
        let place = match &step {
            Step::Field(name) => field(scope, from, name),
            Step::Element(index) => element(scope, *index),
        };
        let Some((at, end, column)) = place else { break };
        found = scope[at].number;
        scope = &scope[at..end];
        from = column;
    }
    found
}

enum Step {
    Field(String),
    Element(usize),
}

/// The steps of a path such as `spec.http[0].headers["a.b"]`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.trim_start_matches('.');
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let end = quoted.find("\"]").unwrap_or(quoted.len());
            steps.push(Step::Field(quoted[..end].to_owned()));
            rest = quoted.get(end + 2..).unwrap_or_default();
        } else if let Some(number) = rest.strip_prefix('[') {
            let end = number.find(']').unwrap_or(number.len());
            steps.push(Step::Element(number[..end].parse().unwrap_or_default()));
            rest = number.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                steps.push(Step::Field(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
    }
    steps
}

/// A line that says something.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn read((number, text): (usize, &'a str)) -> Option<Self> {
        let said = text.trim_start();
        (!said.is_empty() && !said.starts_with('#')).then_some(Self { number, text })
    }

    /// Where the content begins, and it; `from` is where the content of the first line of a list
    /// element begins, after its dashes.
    fn content(&self, from: usize) -> (usize, &'a str) {
        let text = self.text.get(from..).unwrap_or_default();
        let trimmed = text.trim_start();
        (from + text.len() - trimmed.len(), trimmed)
    }
}

type Place = Option<(usize, usize, usize)>;

/// What `from` is for the lines of a field: its value begins on the next line.
const NEXT_LINE: usize = usize::MAX;

/// The lines of a field. The fields of a block stand in one column: that of its first line.
fn field(scope: &[Line<'_>], from: usize, name: &str) -> Place {
    let first = usize::from(from == NEXT_LINE);
    let content = |index: usize| scope[index].content(if index == 0 { from } else { 0 });
    let (column, _) = (first < scope.len()).then(|| content(first))?;
    let says = |text: &str| {
        let rest = text.trim_start_matches(['"', '\'']).strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'))
    };
    let at = (first..scope.len()).find(|index| {
        let (here, text) = content(*index);
        here == column && says(text)
    })?;
    let end = (at + 1..scope.len())
        .find(|index| {
            let (here, text) = scope[*index].content(0);
            here < column || (here == column && !text.starts_with('-'))
        })
        .unwrap_or(scope.len());
    Some((at, end, NEXT_LINE))
}

/// The lines of an element of a list whose field is the first line.
fn element(scope: &[Line<'_>], index: usize) -> Place {
    let column = scope.get(1).map(|line| line.content(0).0)?;
    let is_start = |line: &Line<'_>| {
        let (here, text) = line.content(0);
        here == column && text.starts_with('-')
    };
    let mut starts = (1..scope.len()).filter(|at| is_start(&scope[*at]));
    let at = starts.nth(index)?;
    let end = starts.next().unwrap_or(scope.len());
    Some((at, end, column + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# comment
apiVersion: v1
metadata:
  name: a
  annotations:
    a.b/c: x

spec:
  http:
    - match:
        - uri:
            prefix: /
      route:
        - destination:
            host: b
    - route:
        - destination: {host: c}
          weight: 1
  hosts: [a]
";

    #[test]
    fn fields_are_found_in_block_style() {
        for (path, line) in [
            ("", 1),
            ("metadata.name", 3),
            ("metadata.annotations[\"a.b/c\"]", 5),
            ("spec", 7),
            ("spec.http", 8),
            ("spec.http[0].match[0].uri.prefix", 11),
            ("spec.http[0].route[0].destination.host", 14),
            ("spec.http[1]", 15),
            ("spec.http[1].route[0].destination.host", 16),
            ("spec.http[1].route[0].weight", 17),
            ("spec.hosts[0]", 18),
            ("spec.absent.field", 7),
        ] {
            assert_eq!(line_of(TEXT, path), line, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-c:\\- \n\\[\\]]{0,60}", path in "[a-c.\\[\\]0-9\"]{0,20}") {
            let line = line_of(&text, &path);
            proptest::prop_assert!(line <= text.lines().count());
        }
    }
}
