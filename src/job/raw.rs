//! JSON kept as the bytes that arrived.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, ser::SerializeStruct};
use serde_json::{Value, value::RawValue};

/// The name by which `serde_json` knows a text that is JSON already.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Well-formed JSON text that has not been turned into values: every digit stays as it was written.
///
/// Cloning shares the bytes. A value cut out of a larger document keeps that document alive.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Takes `bytes` as JSON after a check in full.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<&RawValue>(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes bytes that a serializer of ours or a checked scan has just produced.
    #[must_use]
    pub fn from_trusted(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// Shares `part`, a value found inside `whole`, without a copy.
    ///
    /// # Panics
    /// When `part` does not point into `whole`.
    #[must_use]
    pub fn slice_of(whole: &Bytes, part: &RawValue) -> Self {
        Self(whole.slice_ref(part.get().as_bytes()))
    }

    /// Writes `value` as JSON. Only types whose serializer cannot fail may come here.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let bytes = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        Self(bytes.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every constructor takes JSON, and JSON is UTF-8.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The bytes, shared.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: the shortest JSON text has one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the text as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Reads the text as a tree of values (nesting is limited to 128 levels).
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        self.read()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Data may be private and large; its size is what a log can use.
        write!(f, "RawJson({} bytes)", self.0.len())
    }
}

impl From<&Value> for RawJson {
    fn from(value: &Value) -> Self {
        Self::of(value)
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As a `RawValue` writes itself; making one would read the whole text again.
        let mut raw = serializer.serialize_struct(RAW_VALUE, 1)?;
        raw.serialize_field(RAW_VALUE, self.as_str())?;
        raw.end()
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(String::from(Box::<str>::from(raw)).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_as_it_came() {
        for text in ["1.10", "{\"a\": [1e400, -0]}", "\"\\u0041\""] {
            let raw = RawJson::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
            assert_eq!(serde_json::to_string(&[&raw]).unwrap(), format!("[{text}]"));
            assert_eq!(RawJson::of(&raw), raw);
        }
    }
}
