//! Regular expressions that no proxy could read. A rule with one is left out and told of, so that
//! the rules beside it stay in force.

use mesh_api::crd::common::StringMatch;
use mesh_api::crd::virtual_service::{HttpMatchRequest, HttpRoute};
use regex::Regex;

/// The first expression of a rule that cannot be read: its field, and what is wrong with it.
pub(crate) fn expression(
    http: &HttpRoute,
    matching: Option<&HttpMatchRequest>,
) -> Option<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    if let Some(matching) = matching {
        let place = http.match_.iter().position(|one| std::ptr::eq(one, matching));
        let path = format!("match[{}]", place.unwrap_or_default());
        let mut add = |field: String, value: &StringMatch| {
            if let (None, None, Some(regex)) = (&value.exact, &value.prefix, &value.regex) {
                all.push((format!("{path}.{field}.regex"), regex.clone()));
            }
        };
        let fields = [
            ("uri", &matching.uri),
            ("method", &matching.method),
            ("authority", &matching.authority),
            ("scheme", &matching.scheme),
        ];
        for (field, value) in fields {
            value.iter().for_each(|value| add(field.to_owned(), value));
        }
        let maps = [
            ("headers", &matching.headers),
            ("withoutHeaders", &matching.without_headers),
            ("queryParams", &matching.query_params),
        ];
        for (field, map) in maps {
            map.iter().for_each(|(name, value)| add(format!("{field}[{name}]"), value));
        }
    }
    let rewrite = http.rewrite.as_ref().and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
    if let Some(pattern) = rewrite.and_then(|regex| regex.match_.as_ref()) {
        all.push(("rewrite.uriRegexRewrite.match".to_owned(), pattern.clone()));
    }
    let origins = http.cors_policy.iter().flat_map(|policy| &policy.allow_origins);
    for (index, origin) in origins.enumerate() {
        if let Some(regex) = &origin.regex {
            all.push((format!("corsPolicy.allowOrigins[{index}].regex"), regex.clone()));
        }
    }
    all.into_iter().find_map(|(field, regex)| {
        let error = Regex::new(&regex).err()?.to_string();
        // The last line says what is wrong; those before it draw the expression.
        let reason = error.lines().last().unwrap_or_default();
        Some((field, reason.trim_start_matches("error: ").to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_named() {
        let http: HttpRoute = serde_json::from_value(serde_json::json!({
            "match": [{ "uri": { "prefix": "/" } }, { "headers": { "x": { "regex": "([" } } }],
        }))
        .unwrap();
        let told = |index: usize| expression(&http, Some(&http.match_[index]));
        assert_eq!(told(0), None);
        let (field, reason) = told(1).unwrap();
        assert_eq!(field, "match[1].headers[x].regex");
        assert_eq!(reason, "unclosed character class");
        let http: HttpRoute = serde_json::from_value(serde_json::json!({
            "rewrite": { "uriRegexRewrite": { "match": "a{2,1}", "rewrite": "b" } },
        }))
        .unwrap();
        assert_eq!(expression(&http, None).unwrap().0, "rewrite.uriRegexRewrite.match");
    }
}
