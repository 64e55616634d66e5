//! Whole numbers as JSON has them: `3`, and `3.0` and `3e0` as well, which many programs write for the same number.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// A whole number from 0, in any notation. Beyond 64 bits it is the largest: these numbers are bounds.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("u64")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and saturating")]
            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                match number.fract() == 0.0 && number >= 0.0 {
                    true => Ok(Whole(number as u64)),
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
        }
        deserializer.deserialize_u64(Number)
    }
}

/// For `deserialize_with`: a whole number that a `T` can hold, or null.
///
/// # Errors
/// What is there is no such number.
pub fn whole<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let number = Option::<Whole>::deserialize(deserializer)?;
    let fits = |Whole(number)| T::try_from(number).map_err(|_| D::Error::custom(format!("{number} is too large")));
    number.map(fits).transpose()
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        for (text, number) in [
            ("null", Some(None)),
            ("0", Some(Some(0))),
            ("7", Some(Some(7))),
            ("114.0", Some(Some(114))),
            ("1e2", Some(Some(100))),
            ("4294967295", Some(Some(u32::MAX))),
            ("4294967295.0", Some(Some(u32::MAX))),
            ("4294967296", None),
            ("1e300", None),
            ("1e400", None),
            ("0.5", None),
            ("-1", None),
            ("-1.0", None),
            ("\"7\"", None),
            ("[7]", None),
            ("true", None),
        ] {
            let read = whole::<u32, _>(&mut serde_json::Deserializer::from_str(text));
            assert_eq!(read.ok(), number, "{text}");
        }
        for text in ["18446744073709551615", "18446744073709551616", "1e300"] {
            let read = whole::<u64, _>(&mut serde_json::Deserializer::from_str(text));
            assert_eq!(read.ok(), Some(Some(u64::MAX)), "{text}");
        }
    }
}
