//! A page as a list of commands and what each prints.
//!
//! The first line says what the page needs: `<!-- needs: bookinfo set: a.b=c set: d=e -->`. Blocks
//! fenced as `console` are run. `$ ` begins a command, which goes on while a line ends in a
//! backslash or a here-document is open; the lines after it are what it prints. A word after
//! `console` changes how the block is judged: `retry` repeats it until it prints what it should,
//! `fails` expects its last command to fail.

/// What must be there before the first command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Bookinfo and its gateway, ready; otherwise the mesh alone.
    pub(crate) bookinfo: bool,
    /// Hosts outside the cluster, under names that its DNS knows.
    pub(crate) outside: bool,
    /// Values of the installation.
    pub(crate) sets: Vec<String>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its line on the page, from 1.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) command: String,
    /// What is printed, as `output` compares it; empty if that does not matter.
    pub(crate) expected: Vec<String>,
}

/// A block of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// Repeated until it prints what it should.
    pub(crate) retry: bool,
    /// The last command fails.
    pub(crate) fails: bool,
    /// The commands.
    pub(crate) steps: Vec<Step>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// What it needs.
    pub(crate) needs: Needs,
    /// Its blocks.
    pub(crate) blocks: Vec<Block>,
}

/// Reads a page.
///
/// # Errors
/// The line, and what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Page, String> {
    let mut lines = text.lines().zip(1..).peekable();
    let needs = needs(lines.next().map(|(line, _)| line).unwrap_or_default())?;
    let mut blocks = Vec::new();
    while let Some((line, number)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let mut body = Vec::new();
        loop {
            match lines.next() {
                Some((line, _)) if line.trim() == "```" => break,
                Some(line) => body.push(line),
                None => return Err(format!("line {number}: the block has no end")),
            }
        }
        let mut words = info.split_whitespace();
        if words.next() == Some("console") {
            blocks.push(block(words, &body).map_err(|error| format!("line {number}: {error}"))?);
        }
    }
    Ok(Page { needs, blocks })
}

fn needs(line: &str) -> Result<Needs, String> {
    let inner = line.strip_prefix("<!-- needs:").and_then(|rest| rest.strip_suffix("-->"));
    let inner = inner.ok_or("line 1: is not `<!-- needs: … -->`")?;
    let mut needs = Needs::default();
    let mut words = inner.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "mesh" => {}
            "bookinfo" => needs.bookinfo = true,
            "outside" => needs.outside = true,
            "set:" => needs.sets.push(words.next().ok_or("line 1: set: without a value")?.into()),
            other => return Err(format!("line 1: {other:?} is nothing a page can need")),
        }
    }
    Ok(needs)
}

fn block<'a>(
    words: impl Iterator<Item = &'a str>,
    body: &[(&str, usize)],
) -> Result<Block, String> {
    let mut block = Block::default();
    for word in words {
        match word {
            "retry" => block.retry = true,
            "fails" => block.fails = true,
            other => return Err(format!("{other:?} is no word for a block")),
        }
    }
    let mut lines = body.iter();
    while let Some((line, number)) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            let step = block.steps.last_mut().ok_or("output before the first command")?;
            step.expected.push((*line).to_owned());
            continue;
        };
        let mut command = command.to_owned();
        while is_open(&command) {
            let (more, _) = lines.next().ok_or("the last command has no end")?;
            command.push('\n');
            command.push_str(more);
        }
        block.steps.push(Step { line: *number, command, expected: Vec::new() });
    }
    Ok(block)
}

/// Whether more lines belong to the command.
fn is_open(command: &str) -> bool {
    if command.ends_with('\\') {
        return true;
    }
    let Some((_, after)) = command.split_once("<<") else { return false };
    let word = after.lines().next().and_then(|line| line.split_whitespace().next());
    let word = word.unwrap_or_default().trim_start_matches('-').trim_matches(['\'', '"']);
    !command.lines().skip(1).any(|line| line.trim() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "<!-- needs: bookinfo set: a=b -->\n# Title\n```yaml\n$ not run\n```\n\
            ```console\n$ one\nout\n$ two <<EOF\nx\nEOF\n```\n```console retry\n$ a \\\n  b\n```\n";
        let page = parse(text).unwrap();
        assert_eq!(
            page.needs,
            Needs { bookinfo: true, outside: false, sets: vec!["a=b".to_owned()] }
        );
        let step = |line, command: &str, expected: &[&str]| Step {
            line,
            command: command.to_owned(),
            expected: expected.iter().map(|&line| line.to_owned()).collect(),
        };
        let first = vec![step(7, "one", &["out"]), step(9, "two <<EOF\nx\nEOF", &[])];
        assert_eq!(page.blocks[0], Block { retry: false, fails: false, steps: first });
        let second = vec![step(14, "a \\\n  b", &[])];
        assert_eq!(page.blocks[1], Block { retry: true, fails: false, steps: second });
    }

    #[test]
    fn mistakes_are_named() {
        for (text, error) in [
            ("# Title", "line 1: is not"),
            ("<!-- needs: luck -->", "\"luck\" is nothing"),
            ("<!-- needs: mesh -->\n```console\n$ a", "line 2: the block has no end"),
            ("<!-- needs: mesh -->\n```console\nout\n```", "output before"),
            ("<!-- needs: mesh -->\n```console twice\n$ a\n```", "no word for a block"),
            ("<!-- needs: mesh -->\n```console\n$ a \\\n```", "has no end"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(error), "{text:?}: {found}");
        }
    }
}
