//! Numbers as they are written: compared exactly, whatever their size.

use std::cmp::Ordering;

/// A number in a text, with the nearest double beside it to decide most comparisons at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    approx: f64,
    text: &'a str,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Digits that a double tells apart whatever they are.
const EXACT_DIGITS: usize = 15;

impl<'a> Number<'a> {
    /// Takes text that is a JSON number (leading zeros and a plus sign are borne).
    #[inline]
    pub(crate) fn new(text: &'a str) -> Self {
        Self { approx: approximate(text), text }
    }

    /// As it is written.
    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    /// The nearest double; infinite where there is none.
    pub(crate) fn approx(self) -> f64 {
        self.approx
    }

    #[inline]
    pub(crate) fn compare(self, other: Number<'_>) -> Ordering {
        match self.approx.partial_cmp(&other.approx) {
            Some(order @ (Ordering::Less | Ordering::Greater)) => order,
            _ if self.text == other.text || self.is_short() && other.is_short() => Ordering::Equal,
            _ => Decimal::of(self.text).compare(&Decimal::of(other.text)),
        }
    }

    /// Whether equal doubles mean equal numbers among such: rounding is monotone, so different doubles always
    /// order their numbers, and up to fifteen digits within the normal range no two numbers share one.
    fn is_short(self) -> bool {
        self.text.len() <= EXACT_DIGITS && (1e-290..1e290).contains(&self.approx.abs())
    }
}

/// The nearest double, by one exact division where the digits allow it.
fn approximate(text: &str) -> f64 {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.len() > EXACT_DIGITS + 1 {
        return text.parse().unwrap_or(0.0);
    }
    let mut mantissa = 0_u64;
    let mut scale = None;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if scale.is_none() => {}
            _ => return text.parse().unwrap_or(0.0),
        }
        scale = match scale {
            None if byte == b'.' => Some(0),
            None => None,
            Some(places) => Some(places + 1),
        };
    }
    if mantissa >= 1 << 53 {
        return text.parse().unwrap_or(0.0);
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 a double is exact")]
    let magnitude = mantissa as f64 / POWERS[scale.unwrap_or(0)];
    if negative { -magnitude } else { magnitude }
}

/// A number taken apart: `0.d1d2d3… × 10^exponent`, without zeros at either end; zero has no digits.
pub(crate) struct Decimal<'a> {
    negative: bool,
    exponent: i64,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let negative = text.starts_with('-');
        let unsigned = text.trim_start_matches(['-', '+']);
        let (digits, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], exponent_of(&unsigned[at + 1..])),
            None => (unsigned, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Self::normal(negative, whole, fraction, exponent)
    }

    fn normal(negative: bool, whole: &'a str, fraction: &'a str, exponent: i64) -> Self {
        let fraction = fraction.trim_end_matches('0');
        let whole = whole.trim_start_matches('0');
        if !whole.is_empty() {
            let exponent = exponent.saturating_add(length(whole));
            let whole = if fraction.is_empty() { whole.trim_end_matches('0') } else { whole };
            return Self { negative, exponent, whole, fraction };
        }
        let significant = fraction.trim_start_matches('0');
        if significant.is_empty() {
            return Self { negative: false, exponent: 0, whole: "", fraction: "" };
        }
        let exponent = exponent.saturating_sub(length(fraction) - length(significant));
        Self { negative, exponent, whole: "", fraction: significant }
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    pub(crate) fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits().cmp(other.digits()));
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }

    /// Appends a form that equal numbers share, however they are written.
    pub(crate) fn push_canonical(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        out.extend(self.digits());
        out.push(b'e');
        out.extend_from_slice(&self.exponent.to_le_bytes());
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

/// An exponent past 64 bits is as good as its bound: no text is long enough to bring it back.
fn exponent_of(text: &str) -> i64 {
    let bound = if text.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    text.parse::<i64>().map_or(bound, |exponent| exponent.clamp(i64::MIN / 2, i64::MAX / 2))
}

/// Reads text as a number for `"cast": "number"`: spaces around, a plus sign and leading zeros are borne.
pub(crate) fn numeric(text: &str) -> Option<&str> {
    let trimmed = text.trim_ascii();
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let good = digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|part| digits(part.strip_prefix(['-', '+']).unwrap_or(part)));
    good.then(|| trimmed.strip_prefix('+').unwrap_or(trimmed))
}

/// Numeric text as a JSON number: without the leading zeros that JSON forbids.
pub(crate) fn json_number(text: &str) -> String {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let bare = unsigned.trim_start_matches('0');
    let zero = if bare.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "0" };
    format!("{sign}{zero}{bare}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly_at_every_size() {
        let ascending = [
            "-1e400",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1e-400",
            "0",
            "1e-400",
            "2e-400",
            "1e-320",
            "1.00001e-320",
            "0.1",
            "0.10000000000000000001",
            "1",
            "1.1",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.5",
            "123456789012345678901234567890",
            "123456789012345678901234567891",
            "1e400",
            "2e400",
            "1e401",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(Number::new(a).compare(Number::new(b)), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn spelling_does_not_matter() {
        for row in [["1", "1.0"], ["-0", "0.000"], ["1.10", "11e-1"], ["100", "1E2"], ["1e400", "10e399"], ["0e5", "0"]]
        {
            assert_eq!(Number::new(row[0]).compare(Number::new(row[1])), Ordering::Equal, "{row:?}");
            let canonical = |text| {
                let mut out = Vec::new();
                Decimal::of(text).push_canonical(&mut out);
                out
            };
            assert_eq!(canonical(row[0]), canonical(row[1]), "{row:?}");
        }
    }

    #[test]
    fn cast_text_becomes_a_json_number() {
        for (text, number) in [("007", "7"), ("-00.5", "-0.5"), ("0", "0"), ("000", "0"), ("0e3", "0e3"), ("12", "12")]
        {
            assert_eq!(json_number(text), number);
        }
    }

    #[test]
    fn numeric_text() {
        for (text, read) in [
            (" 12 ", Some("12")),
            ("+3", Some("3")),
            ("00501", Some("00501")),
            ("1.5e3", Some("1.5e3")),
            ("", None),
            ("1,000", None),
            (".5", None),
            ("5.", None),
            ("NaN", None),
            ("1e", None),
            ("--1", None),
        ] {
            assert_eq!(numeric(text), read, "{text:?}");
        }
    }
}
