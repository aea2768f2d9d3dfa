//! From metered units to billed units: conversion with its own rounding, the sign rule, and the
//! included units.

use counterfoil_types::{Exact, ExactError, Quantity, Rounding};

use crate::spec::{ChargeSpec, NegativeUsage, SpecError};

/// Conversion of metered units to billed units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Exact factor.
    pub factor: Exact,
    /// Decimals and mode to round to; exact when absent.
    pub rounding: Option<(i32, Rounding)>,
}

/// What happens to units before the model sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// Conversion, if any.
    pub conversion: Option<Conversion>,
    /// What usage below zero does.
    pub negative_usage: NegativeUsage,
    /// Units that cost nothing.
    pub included: Quantity,
}

/// Units ready for a model: never negative, with the sign kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Billed units, ≥ 0.
    pub units: Exact,
    /// Whether the resulting amounts are credits.
    pub credit: bool,
    /// Whether usage below zero was counted as zero.
    pub clamped: bool,
}

impl Preparation {
    /// Applies conversion and the sign rule to metered units.
    #[must_use]
    pub fn prepare(&self, metered: &Exact) -> Prepared {
        let converted = self.convert(metered);
        if !converted.is_negative() {
            return Prepared { units: converted, credit: false, clamped: false };
        }
        match self.negative_usage {
            NegativeUsage::Credit => {
                Prepared { units: converted.neg(), credit: true, clamped: false }
            }
            NegativeUsage::ClampToZero => {
                Prepared { units: Exact::ZERO, credit: false, clamped: true }
            }
        }
    }

    /// Applies the conversion alone.
    #[must_use]
    pub fn convert(&self, metered: &Exact) -> Exact {
        match &self.conversion {
            None => metered.clone(),
            Some(conversion) => {
                let exact = metered.mul(&conversion.factor);
                match conversion.rounding {
                    Some((decimals, mode)) => exact.round(decimals, mode),
                    None => exact,
                }
            }
        }
    }
}

impl TryFrom<&ChargeSpec> for Preparation {
    type Error = SpecError;

    fn try_from(spec: &ChargeSpec) -> Result<Self, SpecError> {
        let included = spec.included.unwrap_or(Quantity::ZERO);
        crate::charge::not_negative("included", included)?;
        let conversion = spec
            .conversion
            .as_ref()
            .map(|conversion| {
                let factor = conversion_factor(conversion.multiply, conversion.divide)
                    .map_err(|error| error.under("conversion"))?;
                let rounding = match (conversion.decimals, conversion.rounding) {
                    (None, None) => None,
                    (Some(decimals), Some(mode)) if (-28..=28).contains(&decimals) => {
                        Some((decimals, mode))
                    }
                    (Some(_), Some(_)) => {
                        return Err(SpecError::new(
                            "conversion.decimals",
                            "must lie between -28 and 28",
                        ));
                    }
                    _ => {
                        return Err(SpecError::new(
                            "conversion.rounding",
                            "`decimals` and `rounding` go together",
                        ));
                    }
                };
                Ok(Conversion { factor, rounding })
            })
            .transpose()?;
        Ok(Self {
            conversion,
            negative_usage: spec.negative_usage.unwrap_or(NegativeUsage::Credit),
            included,
        })
    }
}

/// The exact factor of a conversion stated as `multiply` or `divide` (or both).
///
/// # Errors
/// When a factor is missing, zero or negative.
pub fn conversion_factor(
    multiply: Option<Quantity>,
    divide: Option<Quantity>,
) -> Result<Exact, SpecError> {
    for (key, value) in [("multiply", multiply), ("divide", divide)] {
        if value.is_some_and(|value| value.is_zero() || value.is_negative()) {
            return Err(SpecError::new(key, "must be above zero"));
        }
    }
    if multiply.is_none() && divide.is_none() {
        return Err(SpecError::new("multiply", "say `multiply` or `divide`"));
    }
    let numerator = multiply.unwrap_or(Quantity::ONE).exact();
    numerator
        .div(&divide.unwrap_or(Quantity::ONE).exact())
        .map_err(|error: ExactError| SpecError::new("divide", error.to_string()))
}
