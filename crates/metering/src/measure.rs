//! Looking at one event through one meter.

use counterfoil_ledger::{Event, Scalar};
use counterfoil_types::Exact;

use crate::{
    group::GroupKey,
    meter::{Aggregation, Filter, Meter},
};

/// The value a meter reads off an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    /// A number.
    Number(Exact),
    /// One of the things a unique count counts.
    Member(String),
}

/// What a meter makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// Another type of event, or filtered out.
    NotMine,
    /// Of this meter's kind, but without a usable value.
    Unusable(&'static str),
    /// Counts.
    Value {
        /// The group it counts in.
        group: GroupKey,
        /// Its value.
        value: Measured,
    },
}

fn fits(filter: &Filter, event: &Event) -> bool {
    let value = event.field(&filter.property).map(|value| value.to_string());
    let one_of = filter
        .one_of
        .as_ref()
        .is_none_or(|allowed| value.as_ref().is_some_and(|value| allowed.contains(value)));
    let not_in = filter
        .not_in
        .as_ref()
        .is_none_or(|refused| value.as_ref().is_none_or(|value| !refused.contains(value)));
    let exists = filter.exists.is_none_or(|wanted| value.is_some() == wanted);
    one_of && not_in && exists
}

/// Reads `event` through `meter`.
#[must_use]
pub fn measure(meter: &Meter, event: &Event) -> Measurement {
    if event.event_type != meter.event_type
        || !meter.filters.iter().all(|filter| fits(filter, event))
    {
        return Measurement::NotMine;
    }
    let value = match (&meter.value, meter.aggregation) {
        (_, Aggregation::Count) => Measured::Number(Exact::ONE),
        (Some(property), Aggregation::UniqueCount) => match event.field(property) {
            Some(value) => Measured::Member(value.to_string()),
            None => return Measurement::Unusable("the property to count is missing"),
        },
        (Some(property), _) => match event.field(property) {
            None => return Measurement::Unusable("the property with the value is missing"),
            Some(value) => match value.as_number() {
                Some(number) => Measured::Number(number.exact()),
                None => return Measurement::Unusable("the property with the value is no number"),
            },
        },
        (None, _) => Measured::Number(event.quantity.exact()),
    };
    Measurement::Value { group: group_of(meter, event), value }
}

fn group_of(meter: &Meter, event: &Event) -> GroupKey {
    if meter.group_by.is_empty() {
        return GroupKey::default();
    }
    let values: Vec<Option<String>> = meter
        .group_by
        .iter()
        .map(|name| event.field(name).as_ref().map(Scalar::to_string))
        .collect();
    GroupKey::of(&values)
}
