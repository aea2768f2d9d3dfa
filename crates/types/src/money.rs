//! `Money`: an amount in a currency, always on that currency's minor unit.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    currency::Currency,
    exact::{Exact, ExactError},
    rounding::Rounding,
};

/// A rounded amount. There is no `Add`: sums go through [`Money::checked_add`], which refuses
/// mixed currencies and values that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "MoneyText", into = "MoneyText")]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

/// What can go wrong with amounts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Two currencies met in one sum.
    #[error("cannot combine {0} with {1}: an invoice has one currency")]
    MixedCurrencies(Currency, Currency),
    /// The amount does not fit.
    #[error(transparent)]
    Exact(#[from] ExactError),
    /// The amount has more decimals than the currency.
    #[error("{amount} has more decimals than {currency} has minor units")]
    NotOnMinorUnit {
        /// The amount as given.
        amount: String,
        /// Its currency.
        currency: Currency,
    },
}

impl Money {
    /// No money.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self { amount: Decimal::ZERO, currency }
    }

    /// Rounds an exact amount once, to the currency's minor unit.
    ///
    /// # Errors
    /// When the rounded amount needs more than 28 digits.
    pub fn round_from(
        amount: &Exact,
        currency: Currency,
        mode: Rounding,
    ) -> Result<Self, MoneyError> {
        let amount = amount.round(currency.decimals(), mode).to_decimal()?;
        Ok(Self { amount, currency })
    }

    /// An amount that must already lie on the minor unit.
    ///
    /// # Errors
    /// When it does not, or does not fit.
    pub fn from_exact(amount: &Exact, currency: Currency) -> Result<Self, MoneyError> {
        let rounded = Self::round_from(amount, currency, Rounding::TowardsZero)?;
        if &rounded.exact() == amount {
            Ok(rounded)
        } else {
            Err(MoneyError::NotOnMinorUnit { amount: amount.to_string(), currency })
        }
    }

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in major units.
    #[must_use]
    pub fn amount(self) -> Decimal {
        self.amount
    }

    /// The amount as an exact number.
    #[must_use]
    pub fn exact(self) -> Exact {
        Exact::from(self.amount)
    }

    /// The amount in minor units (cents).
    #[must_use]
    pub fn minor_units(self) -> i128 {
        let factor = Exact::from_i128(10i128.pow(self.currency.decimals().unsigned_abs()));
        // Money lies on the minor unit by construction, so the product is whole.
        self.exact().mul(&factor).to_i128().unwrap_or_default()
    }

    /// Sum in one currency.
    ///
    /// # Errors
    /// Mixed currencies, or a sum beyond 28 digits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies(self.currency, other.currency));
        }
        let amount = self.exact().add(&other.exact()).to_decimal()?;
        Ok(Self { amount, currency: self.currency })
    }

    /// Difference in one currency.
    ///
    /// # Errors
    /// As [`Money::checked_add`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(other.negated())
    }

    /// The same amount with the opposite sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { amount: if self.amount.is_zero() { self.amount } else { -self.amount }, ..self }
    }

    /// Sum of many.
    ///
    /// # Errors
    /// As [`Money::checked_add`].
    pub fn sum(
        currency: Currency,
        items: impl IntoIterator<Item = Self>,
    ) -> Result<Self, MoneyError> {
        items.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    /// Whether the amount is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    /// The amount with exactly the currency's decimals, for example `12.50`.
    #[must_use]
    pub fn to_plain(self) -> String {
        let decimals = usize::try_from(self.currency.decimals()).unwrap_or(0);
        let text = crate::decimal::canonical_text(&self.amount);
        if decimals == 0 {
            return text;
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        format!("{whole}.{fraction:0<decimals$}")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_plain(), self.currency)
    }
}

#[derive(Serialize, Deserialize)]
struct MoneyText {
    amount: String,
    currency: Currency,
}
impl From<Money> for MoneyText {
    fn from(money: Money) -> Self {
        Self { amount: money.to_plain(), currency: money.currency }
    }
}
impl TryFrom<MoneyText> for Money {
    type Error = MoneyError;
    fn try_from(text: MoneyText) -> Result<Self, MoneyError> {
        Self::from_exact(&Exact::parse(&text.amount)?, text.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_once_to_the_minor_unit() {
        let exact = Exact::parse("10.275").unwrap();
        let money = Money::round_from(&exact, Currency::USD, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(money.to_string(), "10.28 USD");
        let yen = "JPY".parse().unwrap();
        let money = Money::round_from(&exact, yen, Rounding::HalfAwayFromZero).unwrap();
        assert_eq!(money.to_plain(), "10");
        assert_eq!(money.minor_units(), 10);
    }

    #[test]
    fn currencies_do_not_mix_and_overflow_is_refused() {
        let dollars = Money::zero(Currency::USD);
        assert!(matches!(
            dollars.checked_add(Money::zero(Currency::EUR)),
            Err(MoneyError::MixedCurrencies(..))
        ));
        let huge = Exact::parse("99999999999999999999999999.99").unwrap();
        let huge = Money::from_exact(&huge, Currency::USD).unwrap();
        let sum = (0..1000).try_fold(huge, |total, _| total.checked_add(huge));
        assert!(matches!(sum, Err(MoneyError::Exact(_))));
    }

    #[test]
    fn json_keeps_trailing_zeros_and_refuses_fractions_of_a_cent() {
        let money = Money::from_exact(&Exact::parse("12.5").unwrap(), Currency::USD).unwrap();
        let json = serde_json::to_string(&money).unwrap();
        assert_eq!(json, r#"{"amount":"12.50","currency":"USD"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        assert!(serde_json::from_str::<Money>(r#"{"amount":"0.001","currency":"USD"}"#).is_err());
    }
}
