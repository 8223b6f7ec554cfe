//! Tests of the typed getters.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Colour {
    Black,
    Red,
}

const COLOURS: &[(&str, Colour)] = &[("black", Colour::Black), ("red", Colour::Red)];

#[test]
fn good_values_are_typed() {
    let source = [
        ("FLAG", "Yes"),
        ("COUNT", " 7 "),
        ("WAIT", "1m30s"),
        ("ADMIN", "[::1]:15000"),
        ("OFF", "off"),
        ("HOSTS", "a, b,,c ,"),
        ("COLOUR", "RED"),
        ("EMPTY", "  "),
    ];
    let settings = Settings::new(&source);
    assert!(settings.bool("FLAG", false));
    assert_eq!(settings.int("COUNT", 1_u8, 0..=9), 7);
    assert_eq!(settings.duration("WAIT", Duration::ZERO), Duration::from_secs(90));
    assert_eq!(settings.address("ADMIN", None), "[::1]:15000".parse().ok());
    assert_eq!(settings.address("OFF", "1.2.3.4:5".parse().ok()), None);
    assert_eq!(settings.list("HOSTS"), ["a", "b", "c"]);
    assert_eq!(settings.choice("COLOUR", Colour::Black, COLOURS), Colour::Red);
    assert_eq!(settings.string("EMPTY", "default"), "default");
    assert_eq!(settings.path("NOWHERE", "/var/lib"), PathBuf::from("/var/lib"));
    assert_eq!(settings.finish(), Ok(()));
}

#[test]
fn three_bad_values_are_reported_at_once() {
    let source = [("COUNT", "12"), ("WAIT", "soon"), ("COLOUR", "green")];
    let settings = Settings::new(&source);
    assert_eq!(settings.int("COUNT", 1, 0..=9), 1);
    assert_eq!(settings.duration("WAIT", Duration::from_secs(3)), Duration::from_secs(3));
    assert_eq!(settings.choice("COLOUR", Colour::Black, COLOURS), Colour::Black);
    let report = settings.finish().unwrap_err().to_string();
    assert_eq!(
        report,
        "3 bad settings in the environment:\n  \
         COUNT=\"12\": expected a whole number from 0 to 9\n  \
         WAIT=\"soon\": expected a duration such as 10s, 1m30s or 250ms\n  \
         COLOUR=\"green\": expected one of black, red"
    );
}

#[test]
fn a_required_setting_must_be_set() {
    let settings = Settings::new(&[("ID", "")]);
    assert_eq!(settings.required("ID", "the pod's name"), "");
    let report = settings.finish().unwrap_err().to_string();
    assert!(report.ends_with("ID is not set: expected the pod's name"), "{report}");
}

#[test]
fn layers_win_by_name_and_prefixes_gather() {
    let base = [("META_A", "1"), ("META_B", "2"), ("OTHER", "3")];
    let over = BTreeMap::from([("META_B".to_owned(), "two".to_owned())]);
    let layered = Layered { base: &base, over };
    let settings = Settings::new(&layered);
    assert_eq!(settings.optional("META_B").as_deref(), Some("two"));
    assert_eq!(settings.optional("OTHER").as_deref(), Some("3"));
    let gathered: Vec<_> = settings.with_prefix("META_").into_iter().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(gathered, [pair("META_A", "1"), pair("META_B", "two")]);
}
