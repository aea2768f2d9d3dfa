//! What was used, as rating sees it.

use std::collections::BTreeMap;

use counterfoil_types::Exact;

/// Usage with certain property values (for matrix prices).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The property values.
    pub dimensions: BTreeMap<String, String>,
    /// Units used with them.
    pub units: Exact,
}

/// Usage of one meter in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The meter's value.
    pub units: Exact,
    /// How many events made it up.
    pub events: u64,
    /// The single values, where a model needs them (percentage with per-transaction rules).
    pub transactions: Option<Vec<Exact>>,
    /// The value by property values, where a model needs them (matrix).
    pub cells: Vec<Cell>,
    /// Units that pick the volume tier where they are not the ones priced: prorated usage is
    /// priced with its prorated units in the tier of its full ones (a convention of Lago).
    pub tier_units: Option<Exact>,
}

impl Usage {
    /// Usage known only by its total.
    #[must_use]
    pub fn units(units: Exact) -> Self {
        Self { units, ..Self::default() }
    }

    /// Usage known transaction by transaction.
    #[must_use]
    pub fn transactions(values: Vec<Exact>) -> Self {
        Self {
            units: values.iter().sum(),
            events: values.len() as u64,
            transactions: Some(values),
            ..Self::default()
        }
    }

    /// Usage by property values.
    #[must_use]
    pub fn cells(cells: Vec<Cell>) -> Self {
        Self { units: cells.iter().map(|cell| &cell.units).sum(), cells, ..Self::default() }
    }
}
