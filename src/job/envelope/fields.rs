//! An object's members as raw JSON, each read on demand into the type it should have.

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::job::{RawJson, whole};

/// Most members of one object that are kept: fifty are known, and each takes several times its bytes in memory.
const MAX_MEMBERS: usize = 10_000;
/// Members by which somebody can be told that there are too many.
const ANSWERED_TO: [&str; 5] = ["job_id", "id", "run_id", "node_id", "to_node"];

/// The members of one JSON object, in order, unread. The last of two equal keys counts, as in most readers.
#[derive(Default)]
pub(super) struct Fields<'a> {
    known: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// How many there are, also past the bound up to which they are kept.
    all: usize,
}

/// Why a member could not be read: `` `timeout_sec` must be a whole number of seconds, found "abc" ``.
pub(super) type FieldError = String;

impl<'a> Fields<'a> {
    /// The member `key`, unless it is missing or null.
    pub(super) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        let (_, value) = self.known.iter().rfind(|(name, _)| name == key)?;
        (value.get() != "null").then_some(*value)
    }

    /// The member `key` as a slice of the message.
    pub(super) fn shared(&self, key: &str, message: &Bytes) -> Option<RawJson> {
        self.raw(key).map(|raw| RawJson::slice_of(message, raw))
    }

    /// The member `key` as a `T`; `what` says in words what it must be.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &str, what: &str) -> Result<Option<T>, FieldError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| unfit(key, what, raw))
    }

    /// The member `key` as a whole number, in any notation.
    pub(super) fn whole<T: TryFrom<u64>>(&self, key: &str, what: &str) -> Result<Option<T>, FieldError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        whole(&mut serde_json::Deserializer::from_str(raw.get())).map_err(|_| unfit(key, what, raw))
    }

    /// The member `key` as text.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, FieldError> {
        self.read(key, "text")
    }

    /// The members of the object `key`.
    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, FieldError> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let members: Fields<'a> = serde_json::from_str(raw.get())
            .map_err(|_| format!("`{key}` must be an object, found {}", shorten(raw.get())))?;
        members.bounded(&format!("`{key}`")).map(|()| Some(members))
    }

    /// Refuses an object with more members than are kept.
    pub(super) fn bounded(&self, what: &str) -> Result<(), FieldError> {
        match self.all {
            all if all > MAX_MEMBERS => Err(format!("{what} has {all} members, at most {MAX_MEMBERS} are taken")),
            _ => Ok(()),
        }
    }
}

fn unfit(key: &str, what: &str, raw: &RawValue) -> FieldError {
    format!("`{key}` must be {what}, found {}", shorten(raw.get()))
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
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields { known: Vec::with_capacity(16), all: 0 };
                while let Some(Key(key)) = map.next_key()? {
                    let value = map.next_value()?;
                    fields.all += 1;
                    let most = if ANSWERED_TO.contains(&&*key) { 2 * MAX_MEMBERS } else { MAX_MEMBERS };
                    if fields.known.len() < most {
                        fields.known.push((key, value));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A list that is read no further than its bound.
pub(super) struct AtMost<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == MOST {
                        return Err(A::Error::invalid_length(MOST + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Items::<T, MOST>(PhantomData)).map(Self)
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
