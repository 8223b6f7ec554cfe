//! A page of links to other pages, for browsers.

use std::fmt::Write;

use http::StatusCode;

use super::AdminReply;
use crate::http_server::reply;

/// One page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Where it is: from the root of the server.
    pub path: &'a str,
    /// What it shows or does.
    pub help: &'a str,
    /// Whether it changes something, so that it is a button and no link.
    pub changes: bool,
}

/// A document of links under a title. Paths and words are escaped.
///
/// ```
/// use mesh_rt::admin::index::{Link, page};
///
/// let stats = Link { path: "/stats", help: "counters & gauges", changes: false };
/// let reply = page("a proxy", &[stats]);
/// assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
/// ```
#[must_use]
pub fn page(title: &str, links: &[Link<'_>]) -> AdminReply {
    let title = escaped(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         </head>\n<body>\n<h1>{title}</h1>\n<table>\n"
    );
    for Link { path, help, changes } in links {
        let (path, help) = (escaped(path), escaped(help));
        let command = if *changes {
            let form = format!("<form action=\"{path}\" method=\"post\">");
            format!("{form}<button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        // Writing to a string does not fail.
        let _written = writeln!(text, "<tr><td>{command}</td><td>{help}</td></tr>");
    }
    text.push_str("</table>\n</body>\n</html>\n");
    reply(StatusCode::OK, "text/html; charset=utf-8", text)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn pages_are_linked_and_words_are_escaped() {
        let links = [
            Link { path: "/debug/a", help: "?proxyID=<pod>.<namespace>", changes: false },
            Link { path: "/drain", help: "\"drains\" & ends", changes: true },
        ];
        let body = page("pilot & co", &links).into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        for part in [
            "<title>pilot &amp; co</title>",
            "<a href=\"/debug/a\">/debug/a</a></td><td>?proxyID=&lt;pod&gt;.&lt;namespace&gt;</td>",
            "<form action=\"/drain\" method=\"post\"><button>/drain</button></form>",
            "&quot;drains&quot; &amp; ends",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
