//! Kubernetes names: DNS labels and subdomains, qualified names, label values, generated names.
//!
//! Each check returns the problems in Kubernetes' own words; an empty list means the name is
//! good.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const GENERATED_MAX: usize = 63;
const SUFFIX_LENGTH: usize = 5;
/// Letters and digits that spell no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
'-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
'example.com', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must \
start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
'MyValue',  or 'my_value',  or '12345', regex used for validation is \
'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Problems of a DNS-1123 label: a namespace, a container.
///
/// ```
/// use local_model::name;
/// assert!(name::label_1123("productpage-v1").is_empty());
/// assert!(name::label_1123("Product.Page")[0].starts_with("a lowercase RFC 1123 label"));
/// ```
pub fn label_1123(value: &str) -> Vec<String> {
    let ok = value.bytes().all(|b| is_lower(b) || b == b'-') && alnum_ends(value);
    problems(value, LABEL_MAX, ok, LABEL_1123)
}

/// Problems of a DNS-1035 label: a Service.
pub fn label_1035(value: &str) -> Vec<String> {
    let ok = value.bytes().all(|b| is_lower(b) || b == b'-')
        && alnum_ends(value)
        && value.starts_with(|c: char| c.is_ascii_lowercase());
    problems(value, LABEL_MAX, ok, LABEL_1035)
}

/// Problems of a DNS-1123 subdomain: most object names.
pub fn subdomain_1123(value: &str) -> Vec<String> {
    let ok = value
        .split('.')
        .all(|part| part.bytes().all(|b| is_lower(b) || b == b'-') && alnum_ends(part));
    problems(value, SUBDOMAIN_MAX, ok, SUBDOMAIN)
}

/// Problems of an RBAC name, which may be any path segment: no `/`, no `%`, not `.` or `..`.
pub fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ['/', '%']
        .into_iter()
        .filter(|c| value.contains(*c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

/// Problems of a qualified name, such as a label key: `name` or `prefix.example/name`.
pub fn qualified(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            found.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            found.extend(subdomain_1123(prefix).into_iter().map(|p| format!("prefix part {p}")));
            name
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    }
    if name.len() > LABEL_MAX {
        found.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        found.push(format!("name part {QUALIFIED}"));
    }
    found
}

/// Problems of a label's value.
pub fn label_value(value: &str) -> Vec<String> {
    problems(value, LABEL_MAX, value.is_empty() || is_qualified_part(value), LABEL_VALUE)
}

/// Problems of an environment variable's name.
pub fn env_var(value: &str) -> Vec<String> {
    // Any printable ASCII but '=', as relaxed since Kubernetes 1.30.
    let ok = !value.is_empty() && value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    if ok {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .to_owned(),
    ]
}

/// Problems of a key in a ConfigMap or Secret.
pub fn config_key(value: &str) -> Vec<String> {
    let ok = !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let mut found = problems(
        value,
        SUBDOMAIN_MAX,
        ok,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
         'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
         '[-._a-zA-Z0-9]+')",
    );
    match value {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

/// Problems of a port's name (`IANA_SVC_NAME`).
pub fn port_name(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    if value.len() > 15 {
        found.push(too_long(15));
    }
    if !value.bytes().all(|b| is_lower(b) || b == b'-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}

/// The name that `metadata.generateName` asks for: the prefix, cut to leave room, and five
/// letters. `random` yields any number; all of its bits count.
///
/// ```
/// let mut seed = 0;
/// let name = local_model::name::generate("reviews-v1-", || { seed += 1; seed });
/// assert_eq!(name, "reviews-v1-cdfgh");
/// ```
pub fn generate(prefix: &str, mut random: impl FnMut() -> u32) -> String {
    let mut end = prefix.len().min(GENERATED_MAX - SUFFIX_LENGTH);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(ALPHABET[random() as usize % ALPHABET.len()]));
    }
    name
}

/// Spells a hash with the letters of generated names, as `pod-template-hash` is spelled.
pub fn spell(hash: u32) -> String {
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

fn problems(value: &str, max: usize, ok: bool, message: &str) -> Vec<String> {
    let mut found = Vec::new();
    if value.len() > max {
        found.push(too_long(max));
    }
    if !ok {
        found.push(message.to_owned());
    }
    found
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn is_lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn alnum_ends(value: &str) -> bool {
    let ends = (value.bytes().next(), value.bytes().next_back());
    matches!(ends, (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
}

fn is_qualified_part(value: &str) -> bool {
    alnum_ends(value) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Vec<String>;

    #[test]
    fn names_are_judged() {
        let long = "a".repeat(64);
        let cases: [(Check, &[&str], &[&str]); 7] = [
            (label_1123, &["a", "1a", "a-b"], &["", "-a", "a-", "A", "a.b", "a_b", &long]),
            (label_1035, &["a", "a1"], &["1a", "", "a."]),
            (subdomain_1123, &["a.b", "1.2", "a-b.c"], &["", "a..b", ".a", "a.", "a_b"]),
            (
                qualified,
                &["a", "A_b.c", "x.io/Name"],
                &["", "/a", "a/", "a/b/c", "X/a", "-a", "a b"],
            ),
            (label_value, &["", "a", "A.b_c-1"], &["-", "a b", "ä", &long]),
            (config_key, &["a.b", "A_B", ".x"], &["", ".", "..", "..a", "a/b"]),
            (
                port_name,
                &["http", "grpc-web", "8a"],
                &["80", "-a", "a--b", "HTTP", "a-very-long-port"],
            ),
        ];
        for (index, (check, good, bad)) in cases.iter().enumerate() {
            for name in *good {
                assert_eq!(check(name), Vec::<String>::new(), "case {index}: {name:?}");
            }
            for name in *bad {
                assert!(!check(name).is_empty(), "case {index}: {name:?}");
            }
        }
        assert_eq!(path_segment("system:node"), Vec::<String>::new());
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
        assert!(env_var("A.B-c").is_empty() && !env_var("A=B").is_empty());
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate(&"x".repeat(80), || 7);
        assert_eq!(name.len(), 63);
        assert!(label_1123(&name).is_empty());
        assert_eq!(generate("ä", || 0), "äbbbbb");
    }

    #[test]
    fn hashes_are_spelled_without_vowels() {
        assert_eq!(spell(2_094_857_610), "64f8d9cb54");
    }
}
