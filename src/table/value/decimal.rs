//! Exact sums of decimal numbers.

use super::number::{Number, json_number};

/// `mantissa × 10^-scale`, in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exact {
    mantissa: i128,
    scale: u32,
}

/// Most decimal places kept: 10^38 is the last power of ten in 128 bits.
const MAX_SCALE: u32 = 38;

impl Exact {
    pub(crate) const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// Reads a number; none when 128 bits do not hold it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if let Some((mantissa, scale)) = short(unsigned) {
            let mantissa = i128::from(if negative { -mantissa } else { mantissa });
            return Some(if mantissa == 0 { Self::ZERO } else { Self { mantissa, scale } });
        }
        let (digits, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i64>().ok()),
            None => (unsigned, Some(0)),
        };
        let mantissa = all_digits(digits)?;
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        let places = digits.find('.').map_or(0, |point| digits.len() - point - 1);
        let scale = i64::try_from(places).ok()?.checked_sub(exponent?)?;
        Self::scaled(if negative { -mantissa } else { mantissa }, scale)
    }

    fn scaled(mut mantissa: i128, mut scale: i64) -> Option<Self> {
        if scale < 0 {
            let power = power(u32::try_from(-scale).ok()?)?;
            return Some(Self { mantissa: mantissa.checked_mul(power)?, scale: 0 });
        }
        while scale > i64::from(MAX_SCALE) && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        let scale = u32::try_from(scale).ok().filter(|scale| *scale <= MAX_SCALE)?;
        Some(Self { mantissa, scale })
    }

    /// The number, where it is a whole one.
    pub(crate) fn whole(self) -> Option<i128> {
        let power = power(self.scale)?;
        (self.mantissa % power == 0).then_some(self.mantissa / power)
    }

    /// The sum; none when 128 bits do not hold it.
    #[inline]
    pub(crate) fn add(self, other: Self) -> Option<Self> {
        if self.scale == other.scale {
            return Some(Self { mantissa: self.mantissa.checked_add(other.mantissa)?, scale: self.scale });
        }
        let scale = self.scale.max(other.scale);
        let raise = |number: Self| number.mantissa.checked_mul(power(scale - number.scale)?);
        Some(Self { mantissa: raise(self)?.checked_add(raise(other)?)?, scale })
    }

    /// The same with the other sign; none when 128 bits do not hold it.
    pub(crate) fn negated(self) -> Option<Self> {
        Some(Self { mantissa: self.mantissa.checked_neg()?, ..self })
    }

    /// The product; none when 128 bits do not hold it.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        let scale = i64::from(self.scale) + i64::from(other.scale);
        Self::scaled(self.mantissa.checked_mul(other.mantissa)?, scale)
    }

    /// This divided by `count`: exact where few more places suffice, else the nearest double's shortest form.
    pub(crate) fn divided(self, count: u64) -> String {
        /// Places a quotient may add and still be written out.
        const MORE_PLACES: u32 = 8;
        let divisor = i128::from(count.max(1));
        for more in 0..=MORE_PLACES {
            let raised = power(more).and_then(|power| self.mantissa.checked_mul(power));
            match raised {
                Some(raised) if raised % divisor == 0 => {
                    return Self { mantissa: raised / divisor, scale: self.scale + more }.text();
                }
                Some(_) => {}
                None => break,
            }
        }
        float_text(self.quotient_digits(divisor).parse().unwrap_or(f64::NAN)).unwrap_or_else(|| "null".into())
    }

    /// The quotient to some twenty digits, enough for the nearest double.
    fn quotient_digits(self, divisor: i128) -> String {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let (magnitude, divisor) = (self.mantissa.unsigned_abs(), divisor.unsigned_abs());
        let mut digits = (magnitude / divisor).to_string();
        let mut rest = magnitude % divisor;
        let whole = digits.len();
        while digits.len() < whole + 25 && rest != 0 {
            // A count has at most 64 bits, so ten times the rest stays far below 128.
            digits.push(char::from(b'0' + u8::try_from(rest * 10 / divisor).unwrap_or(0)));
            rest = rest * 10 % divisor;
        }
        let places = digits.len() - whole;
        format!("{sign}{digits}e-{}", places + self.scale as usize)
    }

    /// The nearest double.
    pub(crate) fn approx(self) -> f64 {
        self.text().parse().unwrap_or(f64::NAN)
    }

    /// As a JSON number without an exponent or needless zeros.
    pub(crate) fn text(self) -> String {
        let digits = self.mantissa.unsigned_abs().to_string();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let scale = self.scale as usize;
        if scale == 0 {
            return format!("{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

/// The powers of ten in 128 bits.
const POWERS: [i128; MAX_SCALE as usize + 1] = {
    let mut powers = [1; MAX_SCALE as usize + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

fn power(exponent: u32) -> Option<i128> {
    POWERS.get(exponent as usize).copied()
}

/// A short number without an exponent as digits and decimal places: nearly all numbers are such.
#[inline]
fn short(unsigned: &str) -> Option<(i64, u32)> {
    /// So many digits fit 64 bits.
    const MAX_DIGITS: usize = 18;
    if unsigned.len() > MAX_DIGITS {
        return None;
    }
    let (mut mantissa, mut places, mut step) = (0_i64, 0, 0);
    for byte in unsigned.bytes() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + i64::from(byte - b'0');
                places += step;
            }
            b'.' if step == 0 => step = 1,
            _ => return None,
        }
    }
    Some((mantissa, places))
}

/// Any number of digits around a point, as one integer where 128 bits hold it.
fn all_digits(digits: &str) -> Option<i128> {
    let mut digits = digits.bytes().filter(u8::is_ascii_digit);
    digits.try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')))
}

/// A double as a JSON number in its shortest form; none for infinities and NaN.
pub(crate) fn float_text(value: f64) -> Option<String> {
    value.is_finite().then(|| {
        let text = format!("{value:?}");
        text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
    })
}

/// A running sum: exact while 128 bits hold it, in doubles once a fraction has too many digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sum {
    Exact(Exact),
    Rounded(f64),
}

/// A sum whose whole part needs more than 128 bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Sum {
    /// 2^127: the first magnitude that 128 bits with a sign do not hold.
    const BOUND: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

    /// Adds a JSON number.
    #[inline]
    pub(crate) fn add(&mut self, number: &str) -> Result<(), TooLarge> {
        if let (Self::Exact(sum), Some(value)) = (*self, Exact::read(number))
            && let Some(sum) = sum.add(value)
        {
            *self = Self::Exact(sum);
            return Ok(());
        }
        self.round(self.approx() + Number::new(number).approx())
    }

    pub(crate) fn merge(&mut self, other: Self) -> Result<(), TooLarge> {
        if let (Self::Exact(a), Self::Exact(b)) = (*self, other)
            && let Some(sum) = a.add(b)
        {
            *self = Self::Exact(sum);
            return Ok(());
        }
        self.round(self.approx() + other.approx())
    }

    fn round(&mut self, approx: f64) -> Result<(), TooLarge> {
        if approx.abs() >= Self::BOUND || approx.is_nan() {
            return Err(TooLarge);
        }
        *self = Self::Rounded(approx);
        Ok(())
    }

    fn approx(self) -> f64 {
        match self {
            Self::Exact(sum) => sum.approx(),
            Self::Rounded(sum) => sum,
        }
    }

    /// As a JSON number.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Exact(sum) => sum.text(),
            Self::Rounded(sum) => float_text(sum).unwrap_or_else(|| "null".into()),
        }
    }

    /// The mean of `count` numbers with this sum, as a JSON number.
    pub(crate) fn mean(self, count: u64) -> String {
        match self {
            Self::Exact(sum) => sum.divided(count),
            #[expect(clippy::cast_precision_loss, reason = "the sum is already rounded")]
            Self::Rounded(sum) => float_text(sum / count.max(1) as f64).unwrap_or_else(|| "null".into()),
        }
    }
}

/// The median as a JSON number; none of nothing. Of two middle numbers it is the mean.
pub(crate) fn middle(mut numbers: Vec<Number<'_>>) -> Option<String> {
    numbers.sort_by(|a, b| a.compare(*b));
    let upper = *numbers.get(numbers.len() / 2)?;
    if numbers.len() % 2 == 1 {
        return Some(json_number(upper.text()));
    }
    let lower = numbers[numbers.len() / 2 - 1];
    let mut sum = Sum::Exact(Exact::ZERO);
    let added = sum.add(lower.text()).and_then(|()| sum.add(upper.text()));
    Some(added.map_or_else(|TooLarge| json_number(upper.text()), |()| sum.mean(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(texts: &[&str]) -> Result<String, TooLarge> {
        let mut sum = Sum::Exact(Exact::ZERO);
        texts.iter().try_for_each(|text| sum.add(text))?;
        Ok(sum.text())
    }

    #[test]
    fn sums_are_exact() {
        for (texts, expected) in [
            (&["9007199254740993", "1"][..], "9007199254740994"),
            (&["0.1", "0.2"], "0.3"),
            (&["1.10", "2.20"], "3.3"),
            (&["1.5", "0.5"], "2"),
            (&["-0", "0"], "0"),
            (&["1e3", "1"], "1001"),
            (&["1e-3", "-0.001"], "0"),
            (&["170141183460469231731687303715884105727"], "170141183460469231731687303715884105727"),
            (&["1", "1e-50"], "1"),
        ] {
            assert_eq!(sum(texts).as_deref(), Ok(expected), "{texts:?}");
        }
    }

    #[test]
    fn a_sum_past_128_bits_never_wraps() {
        for texts in [&["170141183460469231731687303715884105727", "1"][..], &["1e400"], &["-1e400", "1e400"]] {
            assert_eq!(sum(texts), Err(TooLarge), "{texts:?}");
        }
    }

    #[test]
    fn means_are_exact_where_they_end_and_nearest_where_not() {
        for (text, count, expected) in [
            ("10", 4, "2.5"),
            ("10", 3, "3.3333333333333335"),
            ("18014398509481986", 2, "9007199254740993"),
            ("-1", 3, "-0.3333333333333333"),
            ("0", 7, "0"),
            ("3.30", 3, "1.1"),
            ("1e-30", 3, "3.3333333333333333e-31"),
        ] {
            assert_eq!(Exact::read(text).unwrap().divided(count), expected, "{text} / {count}");
        }
    }
}
