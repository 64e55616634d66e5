//! An object's members as raw JSON, each read on demand into the type it should have.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::job::RawJson;

/// The members of one JSON object, in order, unread. The last of two equal keys counts, as in most readers.
#[derive(Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Why a member could not be read: `` `timeout_sec` must be a whole number of seconds, found "abc" ``.
pub(super) type FieldError = String;

impl<'a> Fields<'a> {
    /// The member `key`, unless it is missing or null.
    pub(super) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rfind(|(name, _)| name == key)?;
        (value.get() != "null").then_some(*value)
    }

    /// The member `key` as a slice of the message.
    pub(super) fn shared(&self, key: &str, message: &Bytes) -> Option<RawJson> {
        self.raw(key).map(|raw| RawJson::slice_of(message, raw))
    }

    /// The member `key` as a `T`; `what` says in words what it must be.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &str, what: &str) -> Result<Option<T>, FieldError> {
        self.raw(key)
            .map(|raw| {
                serde_json::from_str(raw.get())
                    .map_err(|_| format!("`{key}` must be {what}, found {}", shorten(raw.get())))
            })
            .transpose()
    }

    /// The member `key` as text.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, FieldError> {
        self.read(key, "text")
    }

    /// The members of the object `key`.
    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, FieldError> {
        self.raw(key)
            .map(|raw| {
                serde_json::from_str(raw.get())
                    .map_err(|_| format!("`{key}` must be an object, found {}", shorten(raw.get())))
            })
            .transpose()
    }
}

/// At most 60 characters of what was found, for a message.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Fields)
    }
}

/// A key borrowed where it holds no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(text.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.to_owned().into())
            }
        }
        deserializer.deserialize_str(Text).map(Key)
    }
}
