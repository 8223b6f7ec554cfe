//! `meshctl proxy-config ecds`: filters that came apart from their listeners.

use serde_json::Value;

use super::dump::text;
use super::table::Table;

/// The table of filters.
pub fn table(filters: &[&Value]) -> Table {
    let mut table = Table::new(["ECDS NAME", "TYPE"]);
    for filter in filters {
        let packed = text(filter, &["typed_config", "@type"]);
        let kind = packed.rsplit('/').next().unwrap_or_default();
        table.row([text(filter, &["name"]).to_owned(), kind.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_told_by_its_message() {
        let filter = json!({"name": "a", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"}});
        let text = table(&[&filter]).text();
        let line: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["a", "envoy.extensions.filters.http.wasm.v3.Wasm"]);
    }
}
