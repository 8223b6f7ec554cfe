//! A line of a log file: `timestamp stream F|P text`, as the container runtime interface writes
//! it. `P` marks a part that the next line of the stream goes on. Pure.

use jiff::Timestamp;

/// Longer lines are cut into parts.
pub const MAX_TEXT: usize = 16 * 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time, as it stands there.
    pub time: &'a str,
    /// It ends with a line feed; otherwise the next part follows.
    pub is_whole: bool,
    /// The text, without line feed.
    pub text: &'a [u8],
}

/// Cuts a stream into lines and writes them with their times.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    rest: Vec<u8>,
}

impl Splitter {
    /// Nothing read yet.
    pub fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Appends the lines that `chunk` completes to `out`.
    pub fn push(&mut self, chunk: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let mut chunk = chunk;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(&chunk[..end]);
            self.cut(now, out);
            write(self.stream, now, b'F', &self.rest, out);
            self.rest.clear();
            chunk = &chunk[end + 1..];
        }
        self.rest.extend_from_slice(chunk);
        self.cut(now, out);
    }

    /// Appends what is left when the stream has ended.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            write(self.stream, now, b'P', &self.rest, out);
            self.rest.clear();
        }
    }

    /// Writes what is longer than a line may be.
    fn cut(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        while self.rest.len() > MAX_TEXT {
            write(self.stream, now, b'P', &self.rest[..MAX_TEXT], out);
            self.rest.drain(..MAX_TEXT);
        }
    }
}

fn write(stream: Stream, now: Timestamp, tag: u8, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{now:.9} {} ", stream.name()).as_bytes());
    out.extend_from_slice(&[tag, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Reads one line of a log file, without its line feed.
///
/// ```
/// use mesh_local::kubelet::log::line::parse;
/// let line = parse(b"2026-11-21T10:00:00.000000001Z stdout F hello").unwrap();
/// assert_eq!((line.is_whole, line.text), (true, &b"hello"[..]));
/// assert!(parse(b"garbage").is_none());
/// ```
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let _stream = fields.next()?;
    let is_whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { time, is_whole, text: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of the log sees.
    fn seen(log: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = parse(line).expect("a line of ours");
            out.extend_from_slice(line.text);
            if line.is_whole {
                out.push(b'\n');
            }
        }
        out
    }

    #[test]
    fn lines_have_time_and_stream() {
        let mut splitter = Splitter::new(Stream::Stderr);
        let mut out = Vec::new();
        let now = Timestamp::new(1, 5).expect("a time");
        splitter.push(b"a\nb", now, &mut out);
        splitter.finish(now, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "1970-01-01T00:00:01.000000005Z stderr F a\n1970-01-01T00:00:01.000000005Z stderr P b\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(
            chunks in proptest::collection::vec(
                proptest::collection::vec(proptest::sample::select(vec![b'a', b' ', b'\n', 0xff]), 0..40),
                0..8,
            ),
            long in 0_usize..40_000,
        ) {
            let mut splitter = Splitter::new(Stream::Stdout);
            let (mut log, mut all) = (Vec::new(), Vec::new());
            for chunk in chunks.into_iter().chain([vec![b'x'; long]]) {
                all.extend_from_slice(&chunk);
                splitter.push(&chunk, Timestamp::UNIX_EPOCH, &mut log);
            }
            splitter.finish(Timestamp::UNIX_EPOCH, &mut log);
            proptest::prop_assert_eq!(seen(&log), all);
        }

        #[test]
        fn parsing_never_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            parse(&line);
        }
    }
}
