//! The files of a downward API volume: `key="value"`, one a line, the value quoted as Go does.

/// The pairs of such a file. Lines of another form are left out.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let (key, quoted) = line.split_once('=')?;
        // Go's quoting of text is JSON's but for escapes that labels and annotations hardly have.
        let value = serde_json::from_str::<String>(quoted.trim()).ok()?;
        (!key.is_empty()).then(|| (key.to_owned(), value))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_pairs() {
        let text =
            "app=\"reviews\"\nversion=\"v1\"\nnote=\"a\\nb \\\"c\\\" = d\"\nbroken\n=\"x\"\n";
        let pairs: Vec<_> = super::parse(text).collect();
        let expected = [("app", "reviews"), ("version", "v1"), ("note", "a\nb \"c\" = d")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
