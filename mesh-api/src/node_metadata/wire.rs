//! How metadata that begins as environment variables looks on the wire, as serde modules.

/// A flag as the text `true` or `false`. Also reads booleans and `1`/`0`.
pub(super) mod flag {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::Value;

    pub(crate) fn serialize<S: Serializer>(flag: &Option<bool>, s: S) -> Result<S::Ok, S::Error> {
        match flag {
            Some(flag) => s.serialize_str(if *flag { "true" } else { "false" }),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
        match Value::deserialize(d)? {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(flag)),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => Ok(Some(true)),
                "false" | "f" | "0" => Ok(Some(false)),
                "" => Ok(None),
                _ => Err(D::Error::custom(format_args!("{text:?} is neither true nor false"))),
            },
            other => Err(D::Error::custom(format_args!("{other} is neither true nor false"))),
        }
    }
}

/// A list as one text with commas. Also reads lists.
pub(super) mod list {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::Value;

    pub(crate) fn serialize<S: Serializer>(items: &[String], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&items.join(","))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
        match Value::deserialize(d)? {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(str::to_owned).collect())
            }
            list => serde_json::from_value(list).map_err(D::Error::custom),
        }
    }
}

/// Addresses as one text with commas. Also reads lists.
pub(super) mod addresses {
    use serde::{Deserializer, Serializer, de::Error};

    use crate::address::AddressSet;

    pub(crate) fn serialize<S: Serializer>(set: &AddressSet, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(set)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<AddressSet, D::Error> {
        let items = super::list::deserialize(d)?;
        let parse = |item: &String| {
            let error = || D::Error::custom(format_args!("{item:?} is not an IP address"));
            item.parse().map_err(|_| error())
        };
        items.iter().map(parse).collect()
    }
}

/// A port as a number. Also reads its text.
pub(super) mod port {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_json::Value;

    pub(crate) fn serialize<S: Serializer>(port: &Option<u16>, s: S) -> Result<S::Ok, S::Error> {
        port.serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u16>, D::Error> {
        match Value::deserialize(d)? {
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => text
                .parse()
                .map(Some)
                .map_err(|_| D::Error::custom(format_args!("{text:?} is not a port"))),
            other => serde_json::from_value(other).map_err(D::Error::custom),
        }
    }
}

/// A list as JSON in a text. Also reads lists.
pub(super) mod json_text {
    use serde::{
        Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error,
    };
    use serde_json::Value;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        items: &[T],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_str(&serde_json::to_string(items).map_err(serde::ser::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Vec<T>, D::Error> {
        match Value::deserialize(d)? {
            Value::Null => Ok(Vec::new()),
            // Istio's templates leave a comma or line break at the ends.
            Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::String(text) => serde_json::from_str(&text).map_err(D::Error::custom),
            list => serde_json::from_value(list).map_err(D::Error::custom),
        }
    }
}
