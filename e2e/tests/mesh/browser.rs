//! Bookinfo as a person sees it: a browser signs in as jason, and the stars change.

use std::path::Path;

use mesh_test::mesh::PATIENCE;
use mesh_test::{Browser, Mesh, eventually};

/// The colour in which the stars are drawn, as the page's palette names it, if there are any.
const STARS: &str = "(() => { const stars = document.querySelector('.stars'); \
    if (!stars) return 'none'; \
    const probe = stars.cloneNode(); document.body.append(probe); \
    const named = (name) => { probe.style.color = name; return getComputedStyle(probe).color; }; \
    const color = getComputedStyle(stars).color; \
    return {[named('var(--ink)')]: 'black', [named('var(--red)')]: 'red'}[color] ?? color; })()";

#[test]
fn jason_sees_black_stars_and_then_red_ones() {
    let mesh = Mesh::with_bookinfo();
    let rule = |name: &str| mesh.rule(name);
    let page = format!("http://127.0.0.1:{}/productpage", mesh.ingress_port().unwrap());
    let mut browser = Browser::start();
    rule("destination-rule-all");
    rule("virtual-service-all-v1");
    rule("virtual-service-reviews-test-v2");
    sees(&mut browser, &page, "none", "anybody has no stars");
    keep(&mut browser, "anybody-v1");

    browser.evaluate("document.querySelector('#sign-in-button').click()");
    browser.evaluate("document.querySelector('#username').focus()");
    browser.type_text("jason");
    browser.follow("document.querySelector('#sign-in button[type=submit]').click()");
    assert_eq!(browser.evaluate("document.querySelector('#user').innerText"), "jason");
    sees(&mut browser, &page, "black", "jason has black stars");
    keep(&mut browser, "jason-v2-black");

    rule("virtual-service-ratings-test-abort");
    eventually("jason is told that there are no ratings", PATIENCE, || {
        browser.open(&page);
        let text = browser.evaluate("document.querySelector('#reviews').innerText");
        let text = text.as_str().unwrap_or_default().to_owned();
        if text.contains("Ratings service is currently unavailable") { Ok(()) } else { Err(text) }
    });
    keep(&mut browser, "jason-ratings-abort");
    rule("virtual-service-all-v1");

    rule("virtual-service-reviews-v3");
    sees(&mut browser, &page, "red", "jason has red stars");
    keep(&mut browser, "jason-v3-red");
    browser.follow("document.querySelector('#sign-out').click()");
    sees(&mut browser, &page, "red", "everybody has red stars");
}

/// Loads the page until its stars are as they should be, and then five times more.
#[track_caller]
fn sees(browser: &mut Browser, page: &str, color: &str, what: &str) {
    eventually(what, PATIENCE, || {
        browser.open(page);
        let seen = browser.evaluate(STARS);
        if seen == color { Ok(()) } else { Err(format!("{seen}")) }
    });
    for _ in 0..5 {
        browser.open(page);
        assert_eq!(browser.evaluate(STARS), color, "{what}");
    }
}

/// Keeps a picture beside the test's programs, for a person to look at.
fn keep(browser: &mut Browser, name: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    browser.screenshot(&file.join(format!("bookinfo-{name}.png")));
}
