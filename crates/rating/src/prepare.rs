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

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    fn preparation(keys: &str) -> Result<Preparation, String> {
        let json = format!(r#"{{"key":"u","model":"per_unit","unit_price":1{keys}}}"#);
        let spec: ChargeSpec = serde_json::from_str(&json).unwrap();
        Preparation::try_from(&spec).map_err(|error| error.to_string())
    }

    fn prepared(keys: &str, metered: &str) -> (String, bool, bool) {
        let done = preparation(keys).unwrap().prepare(&exact(metered));
        (done.units.to_string(), done.credit, done.clamped)
    }

    #[test]
    fn units_are_converted_rounded_and_keep_their_sign_aside() {
        let plain = |units: &str| (units.to_owned(), false, false);
        assert_eq!(prepared("", "7"), plain("7"));
        assert_eq!(prepared("", "0"), plain("0"));
        assert_eq!(prepared("", "-7"), ("7".to_owned(), true, false));
        let clamp = r#","negative_usage":"clamp_to_zero""#;
        assert_eq!(prepared(clamp, "-7"), ("0".to_owned(), false, true));
        assert_eq!(prepared(clamp, "7"), plain("7"));
        let kilo = r#","conversion":{"multiply":3,"divide":1000}"#;
        assert_eq!(prepared(kilo, "500"), plain("1.5"));
        let up = r#","conversion":{"divide":1000,"decimals":0,"rounding":"ceiling"}"#;
        assert_eq!(prepared(up, "1001"), plain("2"));
    }

    #[test]
    fn a_conversion_that_cannot_be_is_refused() {
        let conversion = |keys: &str| preparation(&format!(r#","conversion":{{{keys}}}"#));
        for decimals in ["28", "-28"] {
            let keys = format!(r#""multiply":1,"decimals":{decimals},"rounding":"floor""#);
            assert!(conversion(&keys).is_ok(), "{decimals}");
        }
        for (keys, says) in [
            (r#""multiply":1,"decimals":29,"rounding":"floor""#, "between -28 and 28"),
            (r#""multiply":1,"decimals":-29,"rounding":"floor""#, "between -28 and 28"),
            (r#""multiply":1,"decimals":2"#, "go together"),
            (r#""multiply":1,"rounding":"floor""#, "go together"),
            (r#""multiply":0"#, "multiply: must be above zero"),
            (r#""multiply":-1"#, "multiply: must be above zero"),
            (r#""divide":0"#, "divide: must be above zero"),
            ("", "say `multiply` or `divide`"),
        ] {
            let said = conversion(keys).unwrap_err();
            assert!(said.contains(says), "{keys} said: {said}");
        }
        assert!(preparation(r#","included":-1"#).unwrap_err().starts_with("included"));
    }
}
