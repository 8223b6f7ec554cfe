//! Formats as operators write them, and the lines they make.

use proptest::prelude::{any, proptest};
use serde_json::json;

use super::*;
use crate::access_log::NoContext;
use crate::access_log::operator::{AddressPart, Side};
use crate::flags::ResponseFlags;

struct One;

impl LogContext for One {
    fn value(&self, operator: &Operator) -> Value<'_> {
        match operator {
            Operator::RequestHeader(name, other) => match (&**name, other.as_deref()) {
                (":method", _) => Value::Text("GET"),
                (_, Some(":path")) => Value::Text("/a"),
                (":authority", _) => Value::Text("reviews:9080"),
                _ => Value::Absent,
            },
            Operator::StartTime(_) => Value::Time(Duration::from_millis(1_709_208_000_007)),
            Operator::Protocol => Value::Text("HTTP/1.1"),
            Operator::ResponseCode => Value::Number(503),
            Operator::ResponseFlags => Value::Flags(ResponseFlags::UF | ResponseFlags::URX),
            Operator::BytesReceived | Operator::BytesSent | Operator::Duration => Value::Number(5),
            Operator::Address(Side::DownstreamLocal, AddressPart::Whole) => {
                Value::Owned("10.0.0.1:80".to_owned())
            }
            _ => Value::Absent,
        }
    }
}

fn render(format: &Format) -> String {
    let mut line = String::new();
    format.render(&One, &mut line);
    line
}

#[test]
fn istios_text_format() {
    let format = Format::parse(ISTIO_TEXT).unwrap();
    assert_eq!(
        render(&format),
        "[2024-02-29T12:00:00.007Z] \"GET /a HTTP/1.1\" 503 UF,URX - - \"-\" 5 5 5 - \"-\" \"-\" \
         \"-\" \"reviews:9080\" \"-\" - - 10.0.0.1:80 - - -\n"
    );
}

#[test]
fn json_keeps_types() {
    let format = Format::json(&json!({
        "a": "%RESPONSE_CODE%", "b": "%PROTOCOL%", "c": "%ROUTE_NAME%", "d": "x%DURATION%y",
        "e": {"f": ["%BYTES_SENT%", 1, true]},
    }))
    .unwrap();
    assert_eq!(
        render(&format),
        "{\"a\":503,\"b\":\"HTTP/1.1\",\"c\":null,\"d\":\"x5y\",\"e\":{\"f\":[5,1,true]}}\n"
    );
    assert!(!render(&format.omitting_empty()).contains("null"));
}

#[test]
fn lengths_and_time_formats() {
    for (text, expected) in [
        ("%REQ(:AUTHORITY):3%", "rev"),
        ("%START_TIME(%Y/%m/%d %s %3f)%", "2024/02/29 1709208000 007"),
        ("%START_TIME(%F %T)%|%%", "2024-02-29 12:00:00|%"),
        ("%PROTOCOL:4%", "HTTP"),
    ] {
        assert_eq!(render(&Format::parse(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn what_is_no_operator_is_refused() {
    for text in ["%NOPE%", "%REQ%", "%REQ()%", "%PROTOCOL", "%REQ(a%", "%PROTOCOL:x%"] {
        assert!(Format::parse(text).is_err(), "{text}");
    }
    let mut deep = json!("x");
    for _ in 0..20 {
        deep = json!({ "a": deep });
    }
    assert_eq!(Format::json(&deep), Err(FormatError::TooLarge));
}

#[test]
fn dates() {
    for (days, date) in [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (19_722, (2023, 12, 31))] {
        assert_eq!(civil(days), date);
    }
}

proptest! {
    #[test]
    fn no_format_panics(text in any::<String>(), inner in "[A-Z_]{0,12}(\\(.{0,9}\\))?(:[0-9]{0,3})?") {
        for text in [text, format!("a%{inner}%b")] {
            if let Ok(format) = Format::parse(&text) {
                let mut line = String::new();
                format.render(&NoContext, &mut line);
                format.render(&One, &mut line);
            }
        }
    }
}
