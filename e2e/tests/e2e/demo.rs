//! `meshctl demo`: one command, no kubectl, a page at the URL that it prints.

use std::process::Command;

use mesh_test::{http, kubectl::finish, settings};

#[test]
fn the_demo_prints_a_url_that_answers() {
    let home = tempfile::tempdir().unwrap();
    let meshctl = settings::bin_dir().join("meshctl");
    let demo = |more: &[&str]| {
        let mut command = Command::new(&meshctl);
        command.arg("demo").args(more).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        finish(command.env("HOME", home.path()).env("XDG_DATA_HOME", home.path().join("data")))
    };
    let started = demo(&[]);
    assert_eq!(started.code, 0, "{started:#?}");
    let url = started.stdout.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:"));
    let url = url.unwrap_or_else(|| panic!("no URL in {started:#?}"));
    let rest = url.trim_start_matches("http://127.0.0.1:");
    let (port, path) = rest.split_once('/').unwrap();
    let page = http::get(port.parse().unwrap(), &format!("/{path}")).unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("The Comedy of Errors"), "{}", page.body);
    let again = demo(&[]);
    assert_eq!(again.code, 0, "a second demo finds the first: {again:#?}");
    let stopped = demo(&["--down"]);
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    http::get(port.parse().unwrap(), "/productpage").expect_err("the demo has ended");
}
