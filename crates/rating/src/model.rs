//! The price models. Each turns prepared units (never negative) into parts with exact amounts.

pub mod blocks;
pub mod matrix;
pub mod percentage;
pub mod tiered;
pub mod time_of_day;

use counterfoil_types::{Exact, Quantity};

use crate::{
    charge::Charge,
    line::{Part, PartKind, RatingError},
    prepare::Prepared,
    spec::PartialPackage,
    tier::{Tier, scaled},
    usage::Usage,
};

/// A checked price model; see [`crate::ModelKind`] for what each does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// Each unit costs the same.
    PerUnit {
        /// Price of a unit.
        unit_price: Quantity,
    },
    /// Units are priced by the tier they fall in.
    Graduated {
        /// The tiers.
        tiers: Vec<Tier>,
        /// How they count.
        options: tiered::Options,
    },
    /// All units are priced by the tier the total falls in.
    Volume {
        /// The tiers.
        tiers: Vec<Tier>,
        /// How they count.
        options: tiered::Options,
    },
    /// Percent by tier.
    GraduatedPercentage {
        /// The tiers; prices are percent.
        tiers: Vec<Tier>,
        /// How they count.
        options: tiered::Options,
    },
    /// Started packages.
    Package {
        /// Units in a package, above zero.
        size: Quantity,
        /// Price of a package.
        price: Quantity,
        /// What a started package costs.
        partial: PartialPackage,
    },
    /// A fixed amount.
    Flat {
        /// The amount for a full period.
        amount: Quantity,
    },
    /// Percent and fee per transaction.
    Percentage(percentage::Percentage),
    /// Price by property values.
    Matrix(matrix::Matrix),
    /// The events carry their price.
    Dynamic {
        /// Factor on the carried price.
        multiplier: Quantity,
    },
    /// A prepaid block, then a price per unit.
    Capacity {
        /// Price of the block for a full period.
        amount: Quantity,
        /// Units in the block.
        capacity: Quantity,
        /// Price of a unit above it.
        overage_price: Quantity,
    },
    /// Tiers stated as widths in blocks.
    TieredBlock(blocks::Blocks),
    /// Price by local time of day and week.
    TimeOfDay(time_of_day::TimeOfDay),
}

impl Model {
    /// Appends the parts of `prepared` units.
    ///
    /// # Errors
    /// When the usage lacks what the model needs.
    pub fn price(
        &self,
        charge: &Charge,
        usage: &Usage,
        prepared: &Prepared,
        fraction: &Exact,
        parts: &mut Vec<Part>,
    ) -> Result<(), RatingError> {
        let units = &prepared.units;
        // `None` for a full period: then nothing needs to be multiplied.
        let scale = Some(fraction).filter(|part| charge.prorate_units && **part != Exact::ONE);
        let included = scaled(charge.preparation.included, scale);
        match self {
            Self::PerUnit { unit_price: price } | Self::Dynamic { multiplier: price } => {
                let billable = take_included(units, &included, parts);
                parts.push(Part::priced(PartKind::Units, String::new(), billable, *price));
            }
            Self::Graduated { tiers, options } => {
                tiered::graduated(tiers, *options, units, (&included, scale), PriceOf::Unit, parts);
            }
            Self::GraduatedPercentage { tiers, options } => {
                tiered::graduated(
                    tiers,
                    *options,
                    units,
                    (&included, scale),
                    PriceOf::Percent,
                    parts,
                );
            }
            Self::Volume { tiers, options } => {
                let full = usage.tier_units.as_ref();
                let full = full.map(|full| charge.preparation.prepare(full).units);
                let full = full.as_ref().unwrap_or(units);
                tiered::volume(tiers, *options, (units, full), (&included, scale), parts);
            }
            Self::Package { size, price, partial } => {
                let billable = take_included(units, &included, parts);
                // size is above zero by construction, so the division cannot fail.
                let packages = billable.div(&size.exact()).unwrap_or(Exact::ZERO);
                let whole = match partial {
                    PartialPackage::Up => packages.ceil(),
                    PartialPackage::Down => packages.floor(),
                };
                parts.push(Part::priced(PartKind::Packages, String::new(), whole, *price));
            }
            Self::Flat { amount } => parts.push(flat(*amount, fraction)),
            Self::Capacity { amount, capacity, overage_price } => {
                parts.push(flat(*amount, fraction));
                let billable = take_included(units, &scaled(*capacity, scale), parts);
                let label = "overage".to_owned();
                parts.push(Part::priced(PartKind::Units, label, billable, *overage_price));
            }
            Self::Percentage(model) => model.price(charge, usage, prepared, parts)?,
            // Usage below zero that counts as zero has no cells to price.
            Self::Matrix(_) | Self::TimeOfDay(_) if prepared.clamped => {}
            Self::Matrix(model) => model.price(charge, usage, parts)?,
            Self::TimeOfDay(model) => model.price(charge, usage, parts)?,
            Self::TieredBlock(model) => {
                let billable = take_included(units, &included, parts);
                model.price(&billable, scale, parts);
            }
        }
        Ok(())
    }
}

/// How a tier's price is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceOf {
    /// Per unit.
    Unit,
    /// Percent of the unit.
    Percent,
}

fn flat(amount: Quantity, fraction: &Exact) -> Part {
    let exact = amount.exact().mul(fraction);
    Part {
        kind: PartKind::Flat,
        label: String::new(),
        quantity: fraction.clone(),
        price: Some(amount),
        exact,
        amount: Exact::ZERO,
    }
}

/// Notes the included units and returns what is left to pay for.
pub(crate) fn take_included(units: &Exact, included: &Exact, parts: &mut Vec<Part>) -> Exact {
    let free = units.at_most(included);
    if free.is_positive() {
        parts.push(Part::priced(PartKind::Included, String::new(), free.clone(), Quantity::ZERO));
    }
    units.sub(&free)
}
