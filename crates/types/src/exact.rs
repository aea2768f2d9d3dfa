//! `Exact`: the number type of every calculation between a stored quantity and a rounded amount.
//!
//! Addition, subtraction and multiplication never round and never overflow: small values live in
//! an `i128` mantissa with a decimal scale, anything larger (or a fraction such as 408/743) moves
//! to an arbitrary-precision rational. Leaving `Exact` is where digits can be lost, so each exit
//! either names its rounding or refuses ([`Exact::to_decimal`]).

mod text;

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};
use rust_decimal::Decimal;
use thiserror::Error;

use crate::rounding::Rounding;

/// Why an exact value could not leave as a decimal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExactError {
    /// The value has no finite decimal form within 28 digits.
    #[error(
        "{0} does not fit 28 significant digits exactly; nothing was rounded. Use smaller quantities or fewer decimals"
    )]
    DoesNotFit(String),
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
}

const MAX_POW: u32 = 38;

/// The powers of ten that fit an `i128`; a table, because every sum of unlike scales needs one.
const POWERS: [i128; MAX_POW as usize + 1] = {
    let mut powers = [1i128; MAX_POW as usize + 1];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// 10^n for n ≤ 38, the largest power in an `i128`.
#[inline]
fn pow10(n: u32) -> Option<i128> {
    POWERS.get(n as usize).copied()
}

fn big_pow10(n: u32) -> BigInt {
    num_traits::pow(BigInt::from(10), n as usize)
}

#[derive(Clone, Debug)]
enum Repr {
    /// `mantissa × 10^-scale`
    Small {
        mantissa: i128,
        scale: u32,
    },
    Big(Box<BigRational>),
}

/// An exact rational number. See the module header.
#[derive(Clone, Debug)]
pub struct Exact(Repr);

impl Default for Exact {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Exact {
    /// Zero.
    pub const ZERO: Self = Self(Repr::Small { mantissa: 0, scale: 0 });
    /// One.
    pub const ONE: Self = Self(Repr::Small { mantissa: 1, scale: 0 });

    fn small(mantissa: i128, scale: u32) -> Self {
        Self(Repr::Small { mantissa, scale })
    }

    fn big(value: BigRational) -> Self {
        if value.is_integer()
            && let Some(mantissa) = value.numer().to_i128()
        {
            return Self::small(mantissa, 0);
        }
        Self(Repr::Big(Box::new(value)))
    }

    /// The integer `value`.
    #[must_use]
    pub fn from_i128(value: i128) -> Self {
        Self::small(value, 0)
    }

    /// The value in whole steps of 10^-scale, when it fits without loss.
    pub(crate) fn steps(&self, scale: u32) -> Option<i128> {
        match &self.0 {
            Repr::Small { mantissa, scale: own } if *own <= scale => {
                mantissa.checked_mul(pow10(scale - own)?)
            }
            _ => None,
        }
    }

    /// How many decimals the value is kept with; `None` for big and fractional ones.
    pub(crate) fn scale(&self) -> Option<u32> {
        match &self.0 {
            Repr::Small { scale, .. } => Some(*scale),
            Repr::Big(_) => None,
        }
    }

    /// `steps` × 10^-scale, for scales up to 38.
    pub(crate) fn from_steps(steps: i128, scale: u32) -> Self {
        Self::small(steps, scale)
    }

    /// 10^-dp: the smallest amount with `dp` decimals (dp = −3: one thousand).
    #[must_use]
    pub fn unit(dp: i32) -> Self {
        let digits = dp.unsigned_abs();
        match (dp >= 0, pow10(digits)) {
            (true, Some(_)) => Self::small(1, digits),
            (false, Some(power)) => Self::small(power, 0),
            (true, None) => Self::big(BigRational::new(BigInt::from(1), big_pow10(digits))),
            (false, None) => Self::big(BigRational::from_integer(big_pow10(digits))),
        }
    }

    /// The fraction `numerator / denominator`.
    ///
    /// # Errors
    /// When the denominator is zero.
    pub fn ratio(numerator: i128, denominator: i128) -> Result<Self, ExactError> {
        Self::from_i128(numerator).div(&Self::from_i128(denominator))
    }

    fn rational(&self) -> BigRational {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                BigRational::new(BigInt::from(*mantissa), big_pow10(*scale))
            }
            Repr::Big(value) => value.as_ref().clone(),
        }
    }

    /// Sum; never rounds, never overflows.
    #[must_use]
    #[inline]
    pub fn add(&self, other: &Self) -> Self {
        if let (Repr::Small { mantissa: a, scale: sa }, Repr::Small { mantissa: b, scale: sb }) =
            (&self.0, &other.0)
            && let Some(sum) = add_small(*a, *sa, *b, *sb)
        {
            return sum;
        }
        self.add_big(other)
    }

    /// Kept apart, so that the usual path stays small enough to inline.
    #[cold]
    #[inline(never)]
    fn add_big(&self, other: &Self) -> Self {
        Self::big(self.rational() + other.rational())
    }

    /// Difference; never rounds, never overflows.
    #[must_use]
    #[inline]
    pub fn sub(&self, other: &Self) -> Self {
        if let (Repr::Small { mantissa: a, scale: sa }, Repr::Small { mantissa: b, scale: sb }) =
            (&self.0, &other.0)
            && let Some(negated) = b.checked_neg()
            && let Some(difference) = add_small(*a, *sa, negated, *sb)
        {
            return difference;
        }
        self.add_big(&other.neg())
    }

    /// Negation.
    #[must_use]
    pub fn neg(&self) -> Self {
        match &self.0 {
            Repr::Small { mantissa, scale } => match mantissa.checked_neg() {
                Some(negated) => Self::small(negated, *scale),
                None => Self::big(-self.rational()),
            },
            Repr::Big(value) => Self::big(-value.as_ref().clone()),
        }
    }

    /// Product; never rounds, never overflows.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        if let (Repr::Small { mantissa: a, scale: sa }, Repr::Small { mantissa: b, scale: sb }) =
            (&self.0, &other.0)
        {
            if *a == 0 || *b == 0 {
                return Self::ZERO;
            }
            if sa + sb <= MAX_POW
                && let Some(product) = a.checked_mul(*b)
            {
                return Self::small(product, sa + sb);
            }
        }
        Self::big(self.rational() * other.rational())
    }

    /// Quotient as an exact fraction.
    ///
    /// # Errors
    /// [`ExactError::DivisionByZero`].
    pub fn div(&self, other: &Self) -> Result<Self, ExactError> {
        if other.is_zero() {
            return Err(ExactError::DivisionByZero);
        }
        Ok(Self::big(self.rational() / other.rational()))
    }

    #[cold]
    #[inline(never)]
    fn cmp_big(&self, other: &Self) -> Ordering {
        self.rational().cmp(&other.rational())
    }

    /// Whether the value is zero.
    #[must_use]
    #[inline]
    pub fn is_zero(&self) -> bool {
        match &self.0 {
            Repr::Small { mantissa, .. } => *mantissa == 0,
            Repr::Big(value) => value.is_zero(),
        }
    }

    /// Whether the value is below zero.
    #[must_use]
    #[inline]
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small { mantissa, .. } => *mantissa < 0,
            Repr::Big(value) => value.is_negative(),
        }
    }

    /// Whether the value is above zero.
    #[must_use]
    #[inline]
    pub fn is_positive(&self) -> bool {
        !self.is_zero() && !self.is_negative()
    }

    /// Magnitude.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// This value, but not above `bound`.
    #[must_use]
    #[inline]
    pub fn at_most(&self, bound: &Self) -> Self {
        if bound < self { bound.clone() } else { self.clone() }
    }

    /// This value, but not below `bound`.
    #[must_use]
    #[inline]
    pub fn at_least(&self, bound: &Self) -> Self {
        if bound > self { bound.clone() } else { self.clone() }
    }

    /// Rounds to `dp` decimals (negative: to tens, hundreds …) in the named mode.
    #[must_use]
    pub fn round(&self, dp: i32, mode: Rounding) -> Self {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                let drop = i64::from(*scale) - i64::from(dp);
                if drop <= 0 || *mantissa == 0 {
                    return self.clone();
                }
                let divisor = u32::try_from(drop).ok().and_then(pow10);
                if let Some(divisor) = divisor {
                    let quotient = div_rounded(*mantissa, divisor, mode);
                    if dp >= 0 {
                        return Self::small(quotient, dp.unsigned_abs());
                    }
                    if let Some(back) = pow10(dp.unsigned_abs())
                        && let Some(whole) = quotient.checked_mul(back)
                    {
                        return Self::small(whole, 0);
                    }
                }
                self.round_big(dp, mode)
            }
            Repr::Big(_) => self.round_big(dp, mode),
        }
    }

    fn round_big(&self, dp: i32, mode: Rounding) -> Self {
        let value = self.rational();
        let factor = big_pow10(dp.unsigned_abs());
        let scaled = if dp >= 0 { value * &factor } else { value / &factor };
        let negative = scaled.is_negative();
        let magnitude = scaled.abs();
        let (quotient, remainder) = magnitude.numer().div_rem(magnitude.denom());
        let doubled: BigInt = &remainder * 2;
        let versus_half = doubled.cmp(magnitude.denom());
        let grows = mode.grows(negative, quotient.is_odd(), versus_half, !remainder.is_zero());
        let grown = if grows { quotient + 1 } else { quotient };
        let signed = if negative { -grown } else { grown };
        if dp >= 0 {
            if let Some(mantissa) = signed.to_i128()
                && dp.unsigned_abs() <= MAX_POW
            {
                return Self::small(mantissa, dp.unsigned_abs());
            }
            Self::big(BigRational::new(signed, factor))
        } else {
            Self::big(BigRational::from_integer(signed * factor))
        }
    }

    /// Largest whole number not above the value.
    #[must_use]
    pub fn floor(&self) -> Self {
        self.round(0, Rounding::Floor)
    }

    /// Smallest whole number not below the value.
    #[must_use]
    pub fn ceil(&self) -> Self {
        self.round(0, Rounding::Ceiling)
    }

    /// The value as `Decimal`, only if that loses nothing.
    ///
    /// # Errors
    /// [`ExactError::DoesNotFit`] for more than 28 digits or a non-terminating fraction.
    pub fn to_decimal(&self) -> Result<Decimal, ExactError> {
        if let Ok(value) = self.to_decimal_quick() {
            return Ok(if value.is_zero() { Decimal::ZERO } else { value.normalize() });
        }
        let refuse = || ExactError::DoesNotFit(self.to_string());
        let (mantissa, scale) = self.terminating().ok_or_else(refuse)?;
        let mantissa = mantissa.to_i128().ok_or_else(refuse)?;
        Decimal::try_from_i128_with_scale(mantissa, scale)
            .map(|value| if value.is_zero() { Decimal::ZERO } else { value.normalize() })
            .map_err(|_| refuse())
    }

    /// The whole number, if the value is one and fits.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        if let Repr::Small { mantissa, scale } = &self.0 {
            let power = pow10(*scale)?;
            return (mantissa % power == 0).then_some(mantissa / power);
        }
        match self.terminating()? {
            (mantissa, 0) => mantissa.to_i128(),
            _ => None,
        }
    }

    /// `(mantissa, scale)` with the smallest scale, when the decimal expansion ends.
    fn terminating(&self) -> Option<(BigInt, u32)> {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                let (mut mantissa, mut scale) = (*mantissa, *scale);
                while scale > 0 && mantissa % 10 == 0 {
                    mantissa /= 10;
                    scale -= 1;
                }
                Some((BigInt::from(mantissa), scale))
            }
            Repr::Big(value) => {
                let mut rest = value.denom().clone();
                let (two, five) = (BigInt::from(2), BigInt::from(5));
                let (mut twos, mut fives) = (0u32, 0u32);
                while (&rest % &two).is_zero() {
                    rest /= &two;
                    twos += 1;
                }
                while (&rest % &five).is_zero() {
                    rest /= &five;
                    fives += 1;
                }
                if rest != BigInt::from(1) {
                    return None;
                }
                let scale = twos.max(fives);
                let mantissa = value.numer() * big_pow10(scale) / value.denom();
                Some((mantissa, scale))
            }
        }
    }
}

#[inline]
fn add_small(a: i128, sa: u32, b: i128, sb: u32) -> Option<Exact> {
    match sa.cmp(&sb) {
        Ordering::Equal => Some(Exact::small(a.checked_add(b)?, sa)),
        Ordering::Less => Some(Exact::small(a.checked_mul(pow10(sb - sa)?)?.checked_add(b)?, sb)),
        Ordering::Greater => {
            Some(Exact::small(b.checked_mul(pow10(sa - sb)?)?.checked_add(a)?, sa))
        }
    }
}

/// `value / divisor` (divisor > 0) rounded to a whole number.
fn div_rounded(value: i128, divisor: i128, mode: Rounding) -> i128 {
    let (quotient, remainder) = (value / divisor, value % divisor);
    let left = remainder.unsigned_abs();
    // Compare left with divisor − left instead of doubling: that cannot overflow.
    let versus_half = left.cmp(&(divisor.unsigned_abs() - left));
    if mode.grows(value < 0, quotient % 2 != 0, versus_half, remainder != 0) {
        // |quotient| ≤ i128::MAX / 10 here, as divisor ≥ 10.
        quotient + value.signum()
    } else {
        quotient
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Exact {}
impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Exact {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Repr::Small { mantissa: a, scale: sa }, Repr::Small { mantissa: b, scale: sb }) =
            (&self.0, &other.0)
        {
            if sa == sb {
                return a.cmp(b);
            }
            let common = (*sa).max(*sb);
            let scaled = |m: i128, s: u32| pow10(common - s).and_then(|p| m.checked_mul(p));
            if let (Some(a), Some(b)) = (scaled(*a, *sa), scaled(*b, *sb)) {
                return a.cmp(&b);
            }
        }
        self.cmp_big(other)
    }
}

impl From<Decimal> for Exact {
    fn from(value: Decimal) -> Self {
        Self::small(value.mantissa(), value.scale())
    }
}
impl From<&Decimal> for Exact {
    fn from(value: &Decimal) -> Self {
        Self::small(value.mantissa(), value.scale())
    }
}
impl From<i64> for Exact {
    fn from(value: i64) -> Self {
        Self::from_i128(i128::from(value))
    }
}
impl From<u64> for Exact {
    fn from(value: u64) -> Self {
        Self::from_i128(i128::from(value))
    }
}

impl<'a> std::iter::Sum<&'a Exact> for Exact {
    fn sum<I: Iterator<Item = &'a Exact>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |total, item| total.add(item))
    }
}

#[cfg(test)]
mod tests;
