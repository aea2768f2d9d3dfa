//! Parsing decimal text exactly: the one door through which numbers written by people and
//! programs become `rust_decimal::Decimal`. Never rounds; refuses what does not fit.

use rust_decimal::Decimal;
use thiserror::Error;

/// Most significant digits a stored quantity or price may have.
pub const MAX_SIGNIFICANT_DIGITS: usize = 28;
/// Most digits after the decimal point (limit of `rust_decimal`).
pub const MAX_SCALE: usize = 28;
/// Longest text looked at; a longer one is refused before any work is done.
pub const MAX_TEXT_LEN: usize = 128;

/// Why a text is not an acceptable decimal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// The text is not a number at all.
    #[error("{0:?} is not a decimal number (write digits with at most one '.', for example 12.50)")]
    NotANumber(String),
    /// NaN or an infinity.
    #[error("{0:?} is not a finite number")]
    NotFinite(String),
    /// More digits than can be kept without rounding.
    #[error(
        "{text:?} does not fit (digits {digits}, decimals {scale}): numbers are kept exactly, at most 28 digits before and after the point together"
    )]
    TooManyDigits {
        /// The text as given (shortened).
        text: String,
        /// Significant digits found.
        digits: usize,
        /// Digits after the point found.
        scale: usize,
    },
}

fn shorten(text: &str) -> String {
    text.chars().take(48).collect()
}

/// Parses `text` (optional sign, digits, optional fraction, optional exponent) without loss.
///
/// The result is canonical: no trailing zeros after the point, no negative zero.
///
/// # Errors
/// When the text is no finite decimal number or needs more than 28 significant digits or decimals.
pub fn parse_decimal(text: &str) -> Result<Decimal, DecimalError> {
    if let Some(whole) = parse_whole(text) {
        return Ok(Decimal::from(whole));
    }
    let not_a_number = || DecimalError::NotANumber(shorten(text));
    if text.len() > MAX_TEXT_LEN {
        return Err(not_a_number());
    }
    let lower = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if matches!(lower.as_str(), "nan" | "inf" | "infinity") {
        return Err(DecimalError::NotFinite(shorten(text)));
    }
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or("")),
        Some(b'+') => (false, text.get(1..).unwrap_or("")),
        _ => (false, text),
    };
    let (number, exponent) = match rest.find(['e', 'E']) {
        Some(at) => {
            let digits = rest.get(at + 1..).unwrap_or("");
            let value: i32 = digits.parse().map_err(|_| not_a_number())?;
            (rest.get(..at).unwrap_or(""), value)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || !all_digits(whole)
        || !all_digits(fraction)
        || (number.contains('.') && fraction.is_empty())
    {
        return Err(not_a_number());
    }
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_start_matches('0');
    let stripped = kept.trim_end_matches('0');
    if stripped.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let zeros_dropped = i64::try_from(kept.len() - stripped.len()).map_err(|_| not_a_number())?;
    let fraction_len = i64::try_from(fraction.len()).map_err(|_| not_a_number())?;
    // value = stripped × 10^power
    let power = i64::from(exponent) - fraction_len + zeros_dropped;
    let too_many = |scale: i64| DecimalError::TooManyDigits {
        text: shorten(text),
        digits: stripped.len(),
        scale: usize::try_from(scale.max(0)).unwrap_or(usize::MAX),
    };
    let max_digits = i64::try_from(MAX_SIGNIFICANT_DIGITS).unwrap_or(28);
    let length = i64::try_from(stripped.len()).map_err(|_| not_a_number())?;
    if length > max_digits || power < -max_digits || length + power.max(0) > max_digits {
        return Err(too_many(-power));
    }
    let mut mantissa: i128 = stripped.parse().map_err(|_| not_a_number())?;
    let scale = if power >= 0 {
        for _ in 0..power {
            mantissa *= 10; // at most 28 digits by the check above: far below i128::MAX
        }
        0
    } else {
        u32::try_from(-power).map_err(|_| not_a_number())?
    };
    let signed = if negative { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(signed, scale).map_err(|_| too_many(i64::from(scale)))
}

/// Whole numbers of up to eighteen digits, which nearly all quantities are, without detours.
fn parse_whole(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Canonical plain text of a decimal: no exponent, no trailing zeros, no negative zero.
#[must_use]
pub fn canonical_text(value: &Decimal) -> String {
    let plain = value.normalize();
    if plain.is_zero() { "0".to_owned() } else { plain.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_exponent_and_sign_forms_are_exact() {
        for (text, want) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("1.10", "1.1"),
            ("+12.5", "12.5"),
            ("1e3", "1000"),
            ("1.25E-2", "0.0125"),
            ("120e-1", "12"),
            (".5", "0.5"),
            ("9999999999999999999999999999", "9999999999999999999999999999"),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
        ] {
            assert_eq!(canonical_text(&parse_decimal(text).unwrap()), want, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_not_rounded() {
        for text in [
            "12345678901234567890123456789",
            "1e28",
            "1e-29",
            "1e40",
            "0.00000000000000000000000000001",
        ] {
            assert!(
                matches!(parse_decimal(text), Err(DecimalError::TooManyDigits { .. })),
                "{text}"
            );
        }
        for text in
            ["", ".", "1.", "1,5", "0x10", "1e", "--1", "1_000", " 1", "abc", "1e99999999999"]
        {
            assert!(matches!(parse_decimal(text), Err(DecimalError::NotANumber(_))), "{text:?}");
        }
        for text in ["NaN", "inf", "-Infinity"] {
            assert!(matches!(parse_decimal(text), Err(DecimalError::NotFinite(_))), "{text:?}");
        }
    }
}
