//! Prices by the local time of day and week.
//!
//! Rule across clock changes: an instant belongs to the window its local wall clock shows. An hour
//! that happens twice is in its window both times; an hour that does not exist is in none, and a
//! window that would begin in it begins when the clock has jumped.

use std::{collections::BTreeMap, time::Duration};

use counterfoil_types::{Period, Quantity, TimeError, Timestamp, Zone, civil};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    charge::{Charge, not_negative},
    line::{Part, PartKind, RatingError},
    spec::{ChargeSpec, SpecError},
    usage::Usage,
};

/// Label of the time no window covers.
pub const OTHER: &str = "other";
/// Dimension of a usage cell that names its window.
pub const WINDOW: &str = "window";

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
const MINUTE_MICROS: u64 = 60_000_000;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeekDay {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl WeekDay {
    const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    fn number(self) -> u32 {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }
}

/// A window of the local week with its price, as the file states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Shown on the invoice; `other` is the time no window covers.
    pub name: String,
    /// Days on which it starts; all when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<WeekDay>,
    /// Local time of day it starts at, `HH:MM`.
    pub from: String,
    /// Local time of day before which it ends, `HH:MM` or `24:00`; one before `from` is on the
    /// next day.
    pub to: String,
    /// Price of a unit used in it.
    pub unit_price: Quantity,
}

/// Checked prices by time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// Name and price of each window, as written.
    windows: Vec<(String, Quantity)>,
    /// Price of the rest; `None` when the windows cover the week.
    default: Option<Quantity>,
    /// Minutes of the week from Monday 00:00, `[from, to)`, rising, with the window.
    spans: Vec<(u32, u32, usize)>,
    /// Minutes of the day at which some window starts or ends, rising; the last is midnight.
    edges: Vec<u32>,
}

/// `HH:MM` as minutes of the day.
fn minutes(path: &str, text: &str, last: u32) -> Result<u32, SpecError> {
    let wrong = || SpecError::new(path, format!("{text:?} is no time of day; write HH:MM"));
    let (hours, rest) = text.split_once(':').ok_or_else(wrong)?;
    let number = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<u32>().ok()).flatten().ok_or_else(wrong)
    };
    let (hours, rest) = (number(hours)?, number(rest)?);
    let total = hours * 60 + rest;
    if rest >= 60 || total > last { Err(wrong()) } else { Ok(total) }
}

impl TimeOfDay {
    /// Checks the keys of a time-of-day charge.
    ///
    /// # Errors
    /// Names the key that is wrong; for windows that overlap, both of them.
    pub fn check(spec: &ChargeSpec) -> Result<Self, SpecError> {
        if spec.windows.is_empty() {
            return Err(SpecError::new("windows", "at least one window is needed"));
        }
        let mut windows: Vec<(String, Quantity)> = Vec::new();
        let mut spans: Vec<(u32, u32, usize)> = Vec::new();
        for (at, window) in spec.windows.iter().enumerate() {
            let path = |key: &str| format!("windows[{at}].{key}");
            let name = window.name.trim();
            if name.is_empty() || name == OTHER {
                return Err(SpecError::new(
                    path("name"),
                    "must not be empty, nor `other`, which is the time no window covers",
                ));
            }
            if windows.iter().any(|(known, _)| known == name) {
                return Err(SpecError::new(path("name"), format!("{name:?} stands twice")));
            }
            not_negative(&path("unit_price"), window.unit_price)?;
            let from = minutes(&path("from"), &window.from, DAY - 1)?;
            let to = minutes(&path("to"), &window.to, DAY)?;
            if from == to {
                return Err(SpecError::new(
                    path("to"),
                    "is the same as `from`; for the whole day write 00:00 to 24:00",
                ));
            }
            let length = if to > from { to - from } else { to + DAY - from };
            let days = if window.days.is_empty() { &WeekDay::ALL[..] } else { &window.days };
            for (number, day) in days.iter().enumerate() {
                if days.iter().take(number).any(|earlier| earlier == day) {
                    return Err(SpecError::new(path("days"), "names a day twice"));
                }
                let start = day.number() * DAY + from;
                let end = start + length;
                spans.push((start, end.min(WEEK), at));
                if end > WEEK {
                    spans.push((0, end - WEEK, at));
                }
            }
            windows.push((name.to_owned(), window.unit_price));
        }
        spans.sort_unstable();
        for pair in spans.windows(2) {
            if let [(_, end, first), (start, _, second)] = pair
                && start < end
            {
                let name = |at: &usize| windows.get(*at).map_or("", |(name, _)| name.as_str());
                return Err(SpecError::new(
                    format!("windows[{}]", first.max(second)),
                    format!("windows {:?} and {:?} overlap", name(first), name(second)),
                ));
            }
        }
        let covered: u32 = spans.iter().map(|(start, end, _)| end - start).sum();
        let default = match (spec.default_unit_price, covered == WEEK) {
            (Some(_), true) => {
                return Err(SpecError::new(
                    "default_unit_price",
                    "is never charged: the windows cover the whole week; remove it",
                ));
            }
            (None, false) => {
                return Err(SpecError::new(
                    "default_unit_price",
                    "is missing: the windows do not cover the whole week",
                ));
            }
            (default, _) => default,
        };
        if let Some(default) = default {
            not_negative("default_unit_price", default)?;
        }
        let mut edges: Vec<u32> =
            spans.iter().flat_map(|(start, end, _)| [start % DAY, end % DAY]).collect();
        edges.push(DAY);
        edges.sort_unstable();
        edges.dedup();
        Ok(Self { windows, default, spans, edges })
    }

    /// The labels usage can have, windows as written and `other` last.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        let rest = self.default.map(|_| OTHER);
        self.windows.iter().map(|(name, _)| name.as_str()).chain(rest).collect()
    }

    /// The label of a wall-clock reading.
    #[must_use]
    pub fn label_at(&self, local: civil::DateTime) -> &str {
        let weekday = u32::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let of_day =
            u32::from(local.hour().unsigned_abs()) * 60 + u32::from(local.minute().unsigned_abs());
        let minute = weekday * DAY + of_day;
        let found = self.spans.iter().find(|(start, end, _)| *start <= minute && minute < *end);
        found.and_then(|(.., at)| self.windows.get(*at)).map_or(OTHER, |(name, _)| name.as_str())
    }

    /// Cuts `period` at the windows' edges on the wall clock of `zone`: consecutive half-open
    /// pieces that tile it exactly, each with the label of its time. Neighbours differ in label.
    ///
    /// # Errors
    /// [`TimeError`] when an instant is out of range.
    pub fn cuts(&self, period: &Period, zone: &Zone) -> Result<Vec<(Period, String)>, TimeError> {
        let mut pieces: Vec<(Period, String)> = Vec::new();
        let mut at = period.start;
        while at < period.end {
            let local = zone.civil(at)?;
            let next = self.next_cut(at, local, zone)?.min(period.end);
            let label = self.label_at(local);
            match pieces.last_mut() {
                Some((piece, last)) if last == label => piece.end = next,
                _ => pieces.push((Period::new(at, next), label.to_owned())),
            }
            at = next;
        }
        Ok(pieces)
    }

    /// The next instant after `at` (where clocks show `local`) at which clocks show an edge or
    /// jump.
    fn next_cut(
        &self,
        at: Timestamp,
        local: civil::DateTime,
        zone: &Zone,
    ) -> Result<Timestamp, TimeError> {
        let out = || TimeError::OutOfRange(at.micros());
        let of_day =
            local.time().duration_since(civil::Time::midnight()).as_micros().unsigned_abs();
        let edge = self
            .edges
            .iter()
            .map(|minute| u128::from(*minute) * u128::from(MINUTE_MICROS))
            .find(|edge| *edge > of_day)
            .ok_or_else(out)?;
        let ahead = i64::try_from(edge - of_day).map_err(|_| out())?;
        // Whether clocks still run on as they did at `at`.
        let steady = |micros: i64| -> Result<bool, TimeError> {
            let ahead = Duration::from_micros(micros.unsigned_abs());
            let expected = local.checked_add(ahead).map_err(|_| out())?;
            Ok(zone.civil(at.plus_micros(micros))? == expected)
        };
        if steady(ahead)? {
            return Ok(at.plus_micros(ahead));
        }
        let (mut before, mut jumped) = (0, ahead);
        while jumped - before > 1 {
            let middle = before + (jumped - before) / 2;
            if steady(middle)? { before = middle } else { jumped = middle }
        }
        Ok(at.plus_micros(jumped))
    }

    pub(super) fn price(
        &self,
        charge: &Charge,
        usage: &Usage,
        parts: &mut Vec<Part>,
    ) -> Result<(), RatingError> {
        if usage.cells.is_empty() && !usage.units.is_zero() {
            return Err(RatingError::NeedsCells(charge.key.clone()));
        }
        let sign_flipped = charge.preparation.prepare(&usage.units).credit;
        for cell in &usage.cells {
            let Some(label) = cell.dimensions.get(WINDOW) else {
                return Err(RatingError::NeedsCells(charge.key.clone()));
            };
            let price = self
                .price_of(label)
                .ok_or_else(|| RatingError::UnknownWindow(charge.key.clone(), label.clone()))?;
            let units = charge.preparation.convert(&cell.units);
            let units = if sign_flipped { units.neg() } else { units };
            parts.push(Part::priced(PartKind::Units, label.clone(), units, price));
        }
        Ok(())
    }

    fn price_of(&self, label: &str) -> Option<Quantity> {
        let window = self.windows.iter().find(|(name, _)| name == label);
        window.map(|(_, price)| *price).or(self.default.filter(|_| label == OTHER))
    }
}

/// Dimensions of a usage cell in the window called `label`.
#[must_use]
pub fn in_window(label: &str) -> BTreeMap<String, String> {
    [(WINDOW.to_owned(), label.to_owned())].into()
}
