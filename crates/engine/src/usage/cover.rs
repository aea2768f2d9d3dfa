//! How a period is covered when some hours must be folded from their events.

use std::collections::BTreeSet;

use counterfoil_metering::{Level, Span};
use counterfoil_types::{Period, Timestamp};

/// Disjoint parts that together are exactly the period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    /// Whole UTC days, from stored day buckets.
    pub(super) days: Vec<Period>,
    /// Whole hours, from stored hour buckets.
    pub(super) hours: Vec<Period>,
    /// Parts to fold from events; each lies within one hour.
    pub(super) folds: Vec<Period>,
}

/// Cuts `parts` at the buckets of width `width` that hold a touched hour. Returns what is
/// untouched and the touched buckets.
fn split(
    parts: Vec<Period>,
    touched: &BTreeSet<Timestamp>,
    width: i64,
) -> (Vec<Period>, Vec<Period>) {
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    for part in parts {
        let mut from = part.start;
        let inside: BTreeSet<Timestamp> =
            touched.range(part.start..part.end).map(|hour| hour.bucket(width)).collect();
        for start in inside {
            let bucket = Period::new(start, start.plus_micros(width));
            if from < bucket.start {
                whole.push(Period::new(from, bucket.start));
            }
            cut.push(bucket);
            from = bucket.end;
        }
        if from < part.end {
            whole.push(Period::new(from, part.end));
        }
    }
    (whole, cut)
}

/// Covers `period`; hours in `touched` (their starts) are folded.
pub(super) fn cover(period: &Period, touched: &BTreeSet<Timestamp>) -> Cover {
    let span = Span::of(period);
    let days = if span.days.is_empty() { Vec::new() } else { vec![span.days] };
    let (days, broken) = split(days, touched, Level::Day.micros());
    let mut hours = span.hours;
    hours.extend(broken);
    let (hours, mut folds) = split(hours, touched, Level::Hour.micros());
    folds.extend(span.cuts);
    Cover { days, hours, folds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn touched_hours_are_cut_out_and_nothing_is_lost() {
        let period = Period::new(at("2026-10-01T00:30:00Z"), at("2026-10-05T12:00:00Z"));
        let touched = BTreeSet::from([at("2026-10-02T05:00:00Z"), at("2026-10-05T01:00:00Z")]);
        let cover = cover(&period, &touched);
        let mut parts: Vec<Period> =
            cover.days.iter().chain(&cover.hours).chain(&cover.folds).copied().collect();
        parts.sort();
        let mut from = period.start;
        for part in &parts {
            assert_eq!(part.start, from);
            from = part.end;
        }
        assert_eq!(from, period.end);
        assert_eq!(cover.folds.len(), 3);
        assert_eq!(
            cover.days,
            [Period::new(at("2026-10-03T00:00:00Z"), at("2026-10-05T00:00:00Z"))]
        );
    }
}
