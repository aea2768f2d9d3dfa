//! The checked form of a charge. A [`Charge`] that exists can be rated: every key its model needs
//! is there, none is there that it would ignore.

use counterfoil_types::{Exact, Interval, MeterKey, Quantity};

use crate::{
    bounds::Bounds,
    model::{Model, blocks, matrix, percentage, tiered, time_of_day},
    prepare::Preparation,
    proration::ProrationBasis,
    resolve::Rates,
    rhythm,
    spec::{ChargeSpec, ModelKind, Recurrence, SpecError, Timing},
    tier::check_tiers,
};

/// A charge ready to be rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Name within the plan.
    pub key: String,
    /// Shown on the invoice.
    pub name: String,
    /// The meter priced; `None` for fees (flat and licensed charges).
    pub meter: Option<MeterKey>,
    /// Whether units are the subscription's quantity for this charge.
    pub licensed: bool,
    /// What happens to units before the model.
    pub preparation: Preparation,
    /// The price model.
    pub model: Model,
    /// Minimum, maximum, discounts.
    pub bounds: Bounds,
    /// When it falls due.
    pub timing: Timing,
    /// How often it falls due.
    pub recurrence: Recurrence,
    /// How part of a period is priced.
    pub proration: ProrationBasis,
    /// Whether included units, tier bounds and capacity shrink with the part of a period.
    pub prorate_units: bool,
    /// Rhythm of a fee, a whole multiple of the plan's; `None`: the plan's.
    pub interval: Option<Interval>,
    /// Whether it is not taxed.
    pub tax_exempt: bool,
    /// What the charge's amounts are multiplied with, after all else and before the one rounding:
    /// price of its unit × rate of the currency.
    pub factor: Exact,
}

impl Charge {
    /// Whether the charge has a meter, and so depends on usage. The others are fees.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.meter.is_some()
    }
}

impl TryFrom<&ChargeSpec> for Charge {
    type Error = SpecError;

    fn try_from(spec: &ChargeSpec) -> Result<Self, SpecError> {
        Self::checked(spec, &Rates::default())
    }
}

impl Charge {
    /// Checks a charge whose prices may be in a unit of `rates`.
    pub(crate) fn checked(spec: &ChargeSpec, rates: &Rates) -> Result<Self, SpecError> {
        if spec.key.trim().is_empty() {
            return Err(SpecError::new("key", "must not be empty"));
        }
        refuse_unused(spec)?;
        let flat = spec.model == ModelKind::Flat;
        let fee = flat || spec.licensed;
        match (fee, &spec.meter) {
            (false, None) => {
                return Err(SpecError::new(
                    "meter",
                    format!("is missing; model `{}` prices usage", spec.model.as_str()),
                ));
            }
            (true, Some(_)) => {
                let what = if flat { "flat" } else { "licensed" };
                let message = format!("a {what} charge does not depend on usage");
                return Err(SpecError::new("meter", message));
            }
            _ => {}
        }
        let unit = spec.priced_in.as_ref().map(|unit| {
            rates.units.get(unit).map(|price| price.exact()).ok_or_else(|| {
                SpecError::new("priced_in", format!("there is no [[unit]] {unit:?} in this book"))
            })
        });
        let interval = spec.interval.map(|unit| rhythm::interval(unit, spec.interval_count));
        Ok(Self {
            key: spec.key.clone(),
            name: spec.name.clone().unwrap_or_else(|| spec.key.clone()),
            meter: spec.meter.clone(),
            licensed: spec.licensed,
            preparation: Preparation::try_from(spec)?,
            model: model(spec)?,
            bounds: Bounds::try_from(spec)?,
            timing: spec.billing.unwrap_or(if fee { Timing::Advance } else { Timing::Arrears }),
            recurrence: spec.recurrence.unwrap_or(Recurrence::Recurring),
            proration: spec.proration.unwrap_or(ProrationBasis::Second),
            prorate_units: spec.prorate_units,
            interval: interval.transpose()?,
            tax_exempt: spec.tax_exempt,
            factor: unit.transpose()?.unwrap_or(Exact::ONE),
        })
    }
}

/// A required key, not negative.
fn need(spec: &ChargeSpec, key: &str, value: Option<Quantity>) -> Result<Quantity, SpecError> {
    let value = value.ok_or_else(|| {
        SpecError::new(key, format!("is missing; model `{}` needs it", spec.model.as_str()))
    })?;
    not_negative(key, value)
}

pub(crate) fn not_negative(key: &str, value: Quantity) -> Result<Quantity, SpecError> {
    if value.is_negative() {
        return Err(SpecError::new(key, "must not be negative"));
    }
    Ok(value)
}

fn optional(key: &str, value: Option<Quantity>) -> Result<Option<Quantity>, SpecError> {
    value.map(|value| not_negative(key, value)).transpose()
}

fn above_zero(key: &str, value: Quantity) -> Result<Quantity, SpecError> {
    if value.is_zero() || value.is_negative() {
        return Err(SpecError::new(key, "must be above zero"));
    }
    Ok(value)
}

fn model(spec: &ChargeSpec) -> Result<Model, SpecError> {
    Ok(match spec.model {
        ModelKind::PerUnit => {
            Model::PerUnit { unit_price: need(spec, "unit_price", spec.unit_price)? }
        }
        ModelKind::Dynamic => Model::Dynamic {
            multiplier: optional("unit_price", spec.unit_price)?.unwrap_or(Quantity::ONE),
        },
        ModelKind::Flat => Model::Flat { amount: need(spec, "amount", spec.amount)? },
        ModelKind::Graduated | ModelKind::Volume => {
            let tiers = check_tiers(&spec.tiers, "unit_price", |tier| tier.unit_price, true)?;
            let options = tiered::Options::from(spec);
            if spec.model == ModelKind::Graduated {
                Model::Graduated { tiers, options }
            } else {
                Model::Volume { tiers, options }
            }
        }
        ModelKind::StairStep => Model::Volume {
            tiers: check_tiers(&spec.tiers, "flat_fee", |tier| tier.flat_fee, true).map(
                |tiers| {
                    // `flat_fee` was read as the price key too; a step has no price per unit.
                    tiers
                        .into_iter()
                        .map(|tier| crate::tier::Tier { unit_price: Quantity::ZERO, ..tier })
                        .collect()
                },
            )?,
            options: tiered::Options::from(spec),
        },
        ModelKind::GraduatedPercentage => Model::GraduatedPercentage {
            tiers: check_tiers(&spec.tiers, "rate", |tier| tier.rate, true)?,
            options: tiered::Options::from(spec),
        },
        ModelKind::Package => Model::Package {
            size: above_zero("package_size", need(spec, "package_size", spec.package_size)?)?,
            price: need(spec, "package_price", spec.package_price)?,
            partial: spec.partial_package.unwrap_or(crate::spec::PartialPackage::Up),
        },
        ModelKind::Capacity => Model::Capacity {
            amount: need(spec, "amount", spec.amount)?,
            capacity: need(spec, "capacity", spec.capacity)?,
            overage_price: need(spec, "unit_price", spec.unit_price)?,
        },
        ModelKind::Percentage => Model::Percentage(percentage::Percentage {
            rate: need(spec, "rate", spec.rate)?,
            fixed_fee: optional("fixed_fee", spec.fixed_fee)?.unwrap_or(Quantity::ZERO),
            free_events: spec.free_events,
            free_amount: optional("free_amount", spec.free_amount)?,
            minimum: optional("per_transaction_min", spec.per_transaction_min)?,
            maximum: optional("per_transaction_max", spec.per_transaction_max)?,
        }),
        ModelKind::Matrix => Model::Matrix(matrix::Matrix::check(spec)?),
        ModelKind::TieredBlock => Model::TieredBlock(blocks::Blocks::check(spec)?),
        ModelKind::TimeOfDay => Model::TimeOfDay(time_of_day::TimeOfDay::check(spec)?),
    })
}

/// Refuses keys that the model would ignore: a price that is written down but never charged is a
/// mistake somebody should hear of.
fn refuse_unused(spec: &ChargeSpec) -> Result<(), SpecError> {
    use ModelKind::{
        Capacity, Dynamic, Flat, Graduated, GraduatedPercentage, Matrix, Package, PerUnit,
        Percentage, StairStep, TieredBlock, TimeOfDay, Volume,
    };
    let licensed: &[ModelKind] = &[PerUnit, Graduated, Volume, StairStep, Package];
    let prorated_units =
        spec.included.is_some() || spec.capacity.is_some() || !spec.tiers.is_empty();
    let tiered: &[ModelKind] = &[Graduated, Volume, StairStep, GraduatedPercentage];
    let all_tiered: &[ModelKind] =
        &[Graduated, Volume, StairStep, GraduatedPercentage, TieredBlock];
    let included: &[ModelKind] = &[
        PerUnit,
        Graduated,
        Volume,
        StairStep,
        GraduatedPercentage,
        Package,
        Dynamic,
        TieredBlock,
    ];
    let rules: [(&str, bool, &[ModelKind]); 21] = [
        ("unit_price", spec.unit_price.is_some(), &[PerUnit, Dynamic, Capacity]),
        ("tiers", !spec.tiers.is_empty(), all_tiered),
        ("included", spec.included.is_some(), included),
        ("tiers_start_after_included", spec.tiers_start_after_included, tiered),
        ("charge_first_tier_at_zero", spec.charge_first_tier_at_zero, tiered),
        ("package_size", spec.package_size.is_some(), &[Package]),
        ("package_price", spec.package_price.is_some(), &[Package]),
        ("partial_package", spec.partial_package.is_some(), &[Package]),
        ("amount", spec.amount.is_some(), &[Flat, Capacity]),
        ("capacity", spec.capacity.is_some(), &[Capacity]),
        ("rate", spec.rate.is_some(), &[Percentage]),
        ("fixed_fee", spec.fixed_fee.is_some(), &[Percentage]),
        ("free_events", spec.free_events.is_some(), &[Percentage]),
        ("free_amount", spec.free_amount.is_some(), &[Percentage]),
        ("per_transaction_min", spec.per_transaction_min.is_some(), &[Percentage]),
        ("per_transaction_max", spec.per_transaction_max.is_some(), &[Percentage]),
        ("rates", !spec.rates.is_empty(), &[Matrix]),
        ("default_unit_price", spec.default_unit_price.is_some(), &[Matrix, TimeOfDay]),
        ("windows", !spec.windows.is_empty(), &[TimeOfDay]),
        ("licensed", spec.licensed, licensed),
        ("block_policy", spec.block_policy.is_some(), &[TieredBlock]),
    ];
    for (key, set, models) in rules {
        if set && !models.contains(&spec.model) {
            return Err(SpecError::new(
                key,
                format!("is not used by model `{}`; remove it", spec.model.as_str()),
            ));
        }
    }
    let fee = spec.model == Flat || spec.licensed;
    let proration_used = fee || spec.prorate_units;
    let fees_only = [
        ("billing", spec.billing.is_some(), fee),
        ("recurrence", spec.recurrence.is_some(), fee),
        ("proration", spec.proration.is_some(), proration_used),
        ("interval", spec.interval.is_some(), fee),
        ("interval_count", spec.interval_count.is_some(), fee),
    ];
    for (key, set, used) in fees_only {
        if set && !used {
            return Err(SpecError::new(
                key,
                "applies to flat and licensed charges only; usage is billed in arrears",
            ));
        }
    }
    let usage_only = [
        ("conversion", spec.conversion.is_some()),
        ("negative_usage", spec.negative_usage.is_some()),
        ("prorate_units", spec.prorate_units),
    ];
    for (key, set) in usage_only {
        if set && fee {
            let what = if spec.licensed { "licensed" } else { "flat" };
            return Err(SpecError::new(key, format!("a {what} charge has no usage; remove it")));
        }
    }
    if spec.prorate_units && !prorated_units {
        return Err(SpecError::new(
            "prorate_units",
            "has no effect without `included`, `tiers` or `capacity`; remove it",
        ));
    }
    if spec.interval_count.is_some() && spec.interval.is_none() {
        return Err(SpecError::new("interval_count", "goes with `interval`; name the unit there"));
    }
    if spec.interval.is_some() && spec.recurrence == Some(Recurrence::Once) {
        return Err(SpecError::new(
            "interval",
            "has no effect on a fee that is due once; remove it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let spec: ChargeSpec = serde_json::from_str(json).unwrap();
        Charge::try_from(&spec).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_name_their_key() {
        for (json, names) in [
            (r#"{"key":"a","model":"per_unit","unit_price":"1"}"#, "meter"),
            (r#"{"key":"a","model":"per_unit","meter":"m"}"#, "unit_price"),
            (r#"{"key":"a","model":"per_unit","meter":"m","unit_price":"-1"}"#, "negative"),
            (r#"{"key":"a","model":"graduated","meter":"m"}"#, "tiers"),
            (
                r#"{"key":"a","model":"graduated","meter":"m","tiers":[{"up_to":10,"unit_price":"1"}]}"#,
                "tiers[0].up_to: the last tier must be open",
            ),
            (
                r#"{"key":"a","model":"volume","meter":"m","tiers":[{"up_to":10,"unit_price":"1"},{"up_to":5,"unit_price":"1"},{"unit_price":"1"}]}"#,
                "tiers[1].up_to: 5 does not lie above",
            ),
            (
                r#"{"key":"a","model":"volume","meter":"m","tiers":[{"unit_price":"1"},{"unit_price":"1"}]}"#,
                "only the last tier",
            ),
            (
                r#"{"key":"a","model":"per_unit","meter":"m","unit_price":"1","package_size":"5"}"#,
                "package_size: is not used",
            ),
            (
                r#"{"key":"a","model":"package","meter":"m","package_price":"1","package_size":"0"}"#,
                "above zero",
            ),
            (r#"{"key":"a","model":"flat","amount":"1","meter":"m"}"#, "meter"),
            (
                r#"{"key":"a","model":"per_unit","meter":"m","unit_price":"1","minimum":"5","maximum":"4"}"#,
                "maximum",
            ),
            (
                r#"{"key":"a","model":"per_unit","meter":"m","unit_price":"1","billing":"advance"}"#,
                "billing",
            ),
        ] {
            let message = refusal(json);
            assert!(message.contains(names), "{json}\n  said: {message}");
        }
    }
}
