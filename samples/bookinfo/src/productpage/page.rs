//! The pages: plain HTML, the style inlined, no script, nothing from elsewhere.

use serde_json::Value;

use super::backends::{Backends, Fetched};
use super::html::{Text, plain};
use super::{PRODUCTS, Product};

/// The style of every page.
const STYLE: &str = include_str!("style.css");

/// A sail, and a book under it.
const LOGO: &str = r##"<svg class="logo" viewBox="0 0 32 32" aria-hidden="true"><path d="M15 3v17H5z" fill="#f6c26b"/><path d="M17 8l9 12h-9z" fill="#fff"/><path d="M3 23c5-1.6 9-1.2 13 1 4-2.2 8-2.6 13-1v4c-5-1.4-9-1-13 1.4C12 26 8 25.6 3 27z" fill="#8fb3d9"/></svg>"##;

/// One star; its colour is that of the text around it.
const STAR: &str = r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 1.8l3.15 6.6 7.25.95-5.3 5.05 1.32 7.2L12 18.1l-6.42 3.5 1.32-7.2L1.6 9.35l7.25-.95z"/></svg>"#;

/// What the product page shows.
pub(super) struct View<'a> {
    pub(super) product: &'a Product,
    pub(super) details: &'a Fetched,
    pub(super) reviews: &'a Fetched,
    pub(super) user: Option<&'a str>,
}

/// The product page.
pub(super) fn product(view: &View<'_>) -> String {
    let Product { title, description_html, .. } = view.product;
    let main = format!(
        r#"<section class="hero">
<p class="kicker">Book of the day</p>
<h1>{}</h1>
<p class="summary">{description_html}</p>
</section>
<div class="columns">
<section class="card" id="details">
{}</section>
<section class="card" id="reviews">
{}</section>
</div>"#,
        Text(title),
        details(view.details),
        reviews(view.reviews),
    );
    document(&account(view.user), &main)
}

/// The start page: what there is, and where to go.
pub(super) fn index(backends: &Backends) -> String {
    let settings = backends.settings();
    let row = |name: &str, calls: &str, authority: &str| {
        let url = if authority.is_empty() { String::new() } else { format!("http://{authority}") };
        format!("<tr><th>{name}</th><td>{calls}</td><td><code>{}</code></td></tr>\n", Text(&url))
    };
    let rows = [
        row("productpage", "details, reviews", ""),
        row("details", "", &settings.details.authority),
        row("reviews", "ratings (v2, v3)", &settings.reviews.authority),
        row("ratings", "", &settings.ratings.authority),
    ]
    .concat();
    let main = format!(
        r#"<section class="hero">
<p class="kicker">Welcome</p>
<h1>A small bookshop, in four services</h1>
<p class="summary">The page you are about to open is put together from other services. Watch what
becomes of it as the mesh routes, delays or refuses the calls between them.</p>
<p class="go"><a class="button" href="/productpage?u=normal">Normal user</a>
<a class="button quiet" href="/productpage?u=test">Test user</a></p>
</section>
<section class="card">
<h2>Services</h2>
<table><thead><tr><th>service</th><th>calls</th><th>at</th></tr></thead>
<tbody>
{rows}</tbody></table>
</section>"#
    );
    document("", &main)
}

fn document(account: &str, main: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simple Bookstore App</title>
<style>
{STYLE}</style>
</head>
<body>
<header><div class="bar">
<a class="brand" href="/">{LOGO}<span>Bookinfo Sample</span></a>
{account}</div></header>
<main>
{main}
</main>
<footer>{} book in stock, and plenty of errors to enjoy.</footer>
</body>
</html>
"#,
        PRODUCTS.len()
    )
}

/// The right end of the bar: who is signed in, or the form to do so.
fn account(user: Option<&str>) -> String {
    match user {
        Some(user) => {
            let initial = user.chars().next().unwrap_or('?').to_uppercase().to_string();
            format!(
                r#"<div class="account"><span class="avatar" aria-hidden="true">{}</span><span id="user">{}</span> <a id="sign-out" href="/logout">Sign out</a></div>
"#,
                Text(&initial),
                Text(user)
            )
        }
        None => r#"<button class="button" id="sign-in-button" type="button" popovertarget="sign-in">Sign in</button>
<div id="sign-in" popover>
<form method="post" action="/login" name="login_form">
<h2>Sign in</h2>
<label for="username">User name</label>
<input id="username" name="username" required maxlength="64" autocomplete="username">
<label for="password">Password</label>
<input id="password" name="passwd" type="password" autocomplete="current-password">
<button class="button" type="submit">Sign in</button>
<p class="note">Any password will do.</p>
</form>
</div>
"#
        .to_owned(),
    }
}

fn details(fetched: &Fetched) -> String {
    if !fetched.is_ok() {
        return failure("Error fetching product details!", &fetched.json);
    }
    let fields = [
        ("Author", "author"),
        ("Year", "year"),
        ("Type", "type"),
        ("Pages", "pages"),
        ("Publisher", "publisher"),
        ("Language", "language"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ];
    let row = |(label, key): (&str, &str)| {
        let value = plain(&fetched.json[key]);
        format!("<div><dt>{label}</dt><dd>{}</dd></div>\n", Text(&value))
    };
    let rows: String = fields.into_iter().map(row).collect();
    format!("<h2>Book Details</h2>\n<dl>\n{rows}</dl>\n")
}

fn reviews(fetched: &Fetched) -> String {
    if !fetched.is_ok() {
        return failure("Error fetching product reviews!", &fetched.json);
    }
    let answer = &fetched.json;
    let given = answer["reviews"].as_array().map(Vec::as_slice).unwrap_or_default();
    let given: String = given.iter().map(review).collect();
    let pod = plain(&answer["podname"]);
    let cluster = plain(&answer["clustername"]);
    let on_cluster = match cluster.as_str() {
        "" | "null" => String::new(),
        cluster => format!(" on cluster <code id=\"cluster\">{}</code>", Text(cluster)),
    };
    format!(
        "<h2>Book Reviews</h2>\n{given}<p class=\"served\">Reviews served by: \
         <code id=\"pod\">{}</code>{on_cluster}</p>\n",
        Text(&pod)
    )
}

fn review(review: &Value) -> String {
    format!(
        "<article class=\"review\">\n{}<blockquote>{}</blockquote>\n<p class=\"by\">{}</p>\n\
         </article>\n",
        rating(&review["rating"]),
        Text(&plain(&review["text"])),
        Text(&plain(&review["reviewer"])),
    )
}

/// Stars in their colour, the error that took their place, or nothing.
fn rating(rating: &Value) -> String {
    if let Some(error) = rating["error"].as_str() {
        return format!("<p class=\"error\">{}</p>\n", Text(error));
    }
    let Some(stars) = rating["stars"].as_i64() else { return String::new() };
    let full = usize::try_from(stars.clamp(0, 5)).unwrap_or_default();
    let given = format!("<span class=\"full\">{STAR}</span>").repeat(full);
    let open = format!("<span class=\"open\">{STAR}</span>").repeat(5 - full);
    let color = color(rating["color"].as_str().unwrap_or_default());
    format!(
        "<div class=\"stars\" data-color=\"{color}\" style=\"color:{}\" role=\"img\" \
         aria-label=\"{full} of 5 stars\">{given}{open}</div>\n",
        // Black and red as the page's palette has them.
        match color {
            "black" => "var(--ink)",
            "red" => "var(--red)",
            other => other,
        }
    )
}

/// A colour by name; what is not letters only could end the style and begin something else.
fn color(name: &str) -> &str {
    let is_name = !name.is_empty() && name.len() <= 32;
    if is_name && name.bytes().all(|b| b.is_ascii_lowercase()) { name } else { "black" }
}

fn failure(title: &str, answer: &Value) -> String {
    let error = plain(&answer["error"]);
    format!("<h2 class=\"error\">{title}</h2>\n<p>{}</p>\n", Text(&error))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn ok(json: Value) -> Fetched {
        Fetched { status: StatusCode::OK, json }
    }

    fn with_rating(rating: Value) -> Fetched {
        ok(json!({"podname": "reviews-x", "clustername": "null", "reviews": [
            {"reviewer": "Reviewer1", "text": "Good.", "rating": rating},
        ]}))
    }

    fn render(details: &Fetched, reviews: &Fetched, user: Option<&str>) -> String {
        product(&View { product: &PRODUCTS[0], details, reviews, user })
    }

    #[test]
    fn everything_from_outside_is_escaped() {
        let evil = "<script>alert('x')</script>";
        let details = ok(json!({"author": evil, "pages": [evil]}));
        let reviews = ok(json!({"podname": evil, "clustername": evil, "reviews": [
            {"reviewer": evil, "text": evil, "rating": {"stars": 3, "color": "\"><script>"}},
            {"reviewer": evil, "text": evil, "rating": {"error": evil}},
        ]}));
        let page = render(&details, &reviews, Some(evil));
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 10, "{page}");
        let error = Fetched { status: StatusCode::BAD_GATEWAY, json: json!({"error": evil}) };
        assert!(!render(&error, &error, None).contains("<script"));
    }

    #[test]
    fn stars() {
        let page = |rating: Value| render(&ok(json!({})), &with_rating(rating), None);
        let count = |page: &str| {
            (page.matches("class=\"full\"").count(), page.matches("class=\"open\"").count())
        };
        let black = page(json!({"stars": 4, "color": "black"}));
        assert_eq!(count(&black), (4, 1));
        assert!(black.contains("data-color=\"black\"") && black.contains("4 of 5 stars"));
        assert!(page(json!({"stars": 5, "color": "red"})).contains("data-color=\"red\""));
        assert_eq!(count(&page(json!({"stars": 99, "color": "teal"}))), (5, 0));
        assert_eq!(count(&page(json!({"stars": -1, "color": "red"}))), (0, 5));
        assert!(!page(Value::Null).contains("class=\"stars\""));
        let error = page(json!({"error": "Ratings service is currently unavailable"}));
        assert!(error.contains("<p class=\"error\">Ratings service is currently unavailable</p>"));
    }

    #[test]
    fn the_cluster_is_shown_where_there_is_one() {
        let mut reviews = with_rating(Value::Null);
        assert!(!render(&ok(json!({})), &reviews, None).contains("on cluster"));
        reviews.json["clustername"] = json!("east");
        let page = render(&ok(json!({})), &reviews, None);
        assert!(page.contains("on cluster <code id=\"cluster\">east</code>"));
    }
}
