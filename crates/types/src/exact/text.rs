//! Exact numbers as text: decimal where the expansion ends, `a/b` otherwise, and back.

use std::fmt;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use rust_decimal::Decimal;

use super::{Exact, ExactError, MAX_POW, Repr, big_pow10};
use crate::decimal::canonical_text;

impl fmt::Display for Exact {
    /// Plain decimal text when the expansion ends, `numerator/denominator` otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(decimal) = self.to_decimal_quick() {
            return f.write_str(&canonical_text(&decimal));
        }
        match self.terminating() {
            Some((mantissa, 0)) => write!(f, "{mantissa}"),
            Some((mantissa, scale)) => {
                let digits = mantissa.abs().to_string();
                let width = scale as usize;
                let padded = format!("{digits:0>pad$}", pad = width + 1);
                let (whole, fraction) = padded.split_at(padded.len() - width);
                let sign = if mantissa.is_negative() { "-" } else { "" };
                write!(f, "{sign}{whole}.{fraction}")
            }
            None => write!(f, "{}", self.rational()),
        }
    }
}

impl Exact {
    pub(super) fn to_decimal_quick(&self) -> Result<Decimal, ()> {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                Decimal::try_from_i128_with_scale(*mantissa, *scale).map_err(|_| ())
            }
            Repr::Big(_) => Err(()),
        }
    }

    /// Parses what [`fmt::Display`] writes: decimal text of any length or `a/b`.
    ///
    /// # Errors
    /// [`ExactError::DoesNotFit`] naming the text when it is neither.
    pub fn parse(text: &str) -> Result<Self, ExactError> {
        let refuse = || ExactError::DoesNotFit(text.chars().take(80).collect());
        let integer = |part: &str| part.parse::<BigInt>().map_err(|_| refuse());
        if let Some((numerator, denominator)) = text.split_once('/') {
            let denominator = integer(denominator)?;
            if denominator.is_zero() {
                return Err(ExactError::DivisionByZero);
            }
            return Ok(Self::big(BigRational::new(integer(numerator)?, denominator)));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let scale = u32::try_from(fraction.len()).map_err(|_| refuse())?;
        if text.ends_with('.') || scale > 10_000 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        let digits = format!("{whole}{fraction}");
        if scale <= MAX_POW
            && let Ok(mantissa) = digits.parse::<i128>()
        {
            return Ok(Self::small(mantissa, scale));
        }
        Ok(Self::big(BigRational::new(integer(&digits)?, big_pow10(scale))))
    }
}

impl serde::Serialize for Exact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Exact {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
