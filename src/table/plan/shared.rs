//! Parameters that several steps share.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::value::RawValue;

use super::parse::plain;
use crate::table::value::{Exact, Kind};

/// A direction; any case is borne, nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Asc,
    Desc,
}

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<'_, str>::deserialize(deserializer)?;
        match word.to_ascii_lowercase().as_str() {
            "asc" => Ok(Self::Asc),
            "desc" => Ok(Self::Desc),
            _ => Err(D::Error::custom(format!("must be asc or desc, found '{word}'"))),
        }
    }
}

impl JsonSchema for Direction {
    fn schema_name() -> Cow<'static, str> {
        "Direction".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["asc", "desc"]})
    }
}

/// Where null and missing go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Nulls {
    First,
    Last,
}

/// What text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Cast {
    Number,
}

/// A whole number that is not negative: `2`, and `2.0` or `2e0` too, which say the same.
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(deserializer: D) -> Result<T, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    whole_number(raw.get()).map_err(D::Error::custom)
}

/// The same where it may be left out or null.
pub(crate) fn maybe_whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    if raw.get() == "null" { Ok(None) } else { whole_number(raw.get()).map(Some).map_err(D::Error::custom) }
}

fn whole_number<T: TryFrom<i128>>(text: &str) -> Result<T, String> {
    let number = if Kind::of(text) == Kind::Number { Exact::read(text).and_then(Exact::whole) } else { None };
    number.filter(|number| *number >= 0).and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("must be a whole number, found {shown}")
    })
}

/// A list whose elements may be names or objects, or one such element by itself.
pub(crate) fn one_or_many<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + From<String>,
{
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let text = raw.get();
    let items = match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'[') => {
            serde_json::from_str::<Vec<Item<T>>>(text).map(|items| items.into_iter().map(|item| item.0).collect())
        }
        _ => serde_json::from_str::<Item<T>>(text).map(|item| vec![item.0]),
    };
    items.map(Some).map_err(|error| D::Error::custom(plain(&error.to_string())))
}

struct Item<T>(T, PhantomData<T>);

impl<'de, T: DeserializeOwned + From<String>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let value = if raw.get().starts_with('"') {
            serde_json::from_str::<String>(raw.get()).map(T::from)
        } else {
            serde_json::from_str(raw.get())
        };
        value.map(|value| Self(value, PhantomData)).map_err(|error| D::Error::custom(plain(&error.to_string())))
    }
}
