//! When usage happens: weights for the hours of a local day and the days of a week, spread over
//! the local days a stream runs. Changes of the clocks come out by themselves: the hours are
//! walked in universal time, and each is weighed by what the wall clock shows.

use counterfoil_types::{Timestamp, Zone, timestamp::HOUR_MICROS};
use jiff::civil::{Date, date};

use super::random::Random;
use crate::Outcome;

/// First local day of the sample, and the day after its last.
pub(super) const MONTH: (Date, Date) = (date(2026, 10, 1), date(2026, 11, 1));

/// How busy each local hour and each weekday (Monday first) is.
pub(super) struct Rhythm {
    hours: [u64; 24],
    days: [u64; 7],
}

/// People at work: weekdays from nine to six, with a dip at lunch.
pub(super) const OFFICE: Rhythm = Rhythm {
    hours: [1, 1, 1, 1, 1, 2, 4, 9, 18, 26, 28, 27, 20, 24, 28, 27, 24, 18, 11, 7, 5, 3, 2, 1],
    days: [10, 11, 11, 11, 9, 2, 2],
};
/// People at home: evenings and weekends.
pub(super) const EVENING: Rhythm = Rhythm {
    hours: [8, 4, 2, 1, 1, 2, 4, 7, 9, 10, 11, 13, 15, 14, 13, 13, 15, 18, 23, 28, 30, 28, 22, 14],
    days: [8, 8, 8, 9, 11, 14, 13],
};
/// Machines: all day, with a nightly batch at two.
pub(super) const MACHINE: Rhythm = Rhythm {
    hours: [
        10, 14, 40, 34, 16, 10, 9, 9, 10, 11, 11, 11, 11, 11, 11, 11, 10, 10, 10, 9, 9, 9, 9, 9,
    ],
    days: [10, 10, 10, 10, 10, 8, 8],
};

/// The hours a stream runs, with their weights added up.
pub(super) struct Calendar {
    hours: Vec<(Timestamp, u64)>,
    total: u64,
}

impl Calendar {
    /// The local days `from` (included) to `to` (excluded) in `zone`, shaped by `rhythm`.
    pub(super) fn of(zone: &Zone, (from, to): (Date, Date), rhythm: &Rhythm) -> Outcome<Self> {
        let end = zone.instant(to.at(0, 0, 0, 0))?;
        let mut hour = zone.instant(from.at(0, 0, 0, 0))?;
        let (mut hours, mut total) = (Vec::new(), 0);
        while hour < end {
            let local = zone.civil(hour)?;
            let day = usize::try_from(local.weekday().to_monday_zero_offset())?;
            let clock = usize::try_from(local.hour())?;
            total += rhythm.hours[clock] * rhythm.days[day];
            hours.push((hour, total));
            hour = hour.plus_micros(HOUR_MICROS);
        }
        Ok(Self { hours, total })
    }

    /// `count` instants, to the second, in order.
    pub(super) fn draw(&self, count: u64, random: &mut Random) -> Outcome<Vec<Timestamp>> {
        let mut instants = Vec::new();
        for _ in 0..count {
            let weight = random.below(self.total);
            let index = self.hours.partition_point(|(_, up_to)| *up_to <= weight);
            let (hour, _) = self.hours.get(index).ok_or("a calendar without hours")?;
            instants.push(hour.plus_micros(i64::try_from(random.below(3600))? * 1_000_000));
        }
        instants.sort_unstable();
        Ok(instants)
    }
}

/// The instants of fixed local clock times (hour, minute) on every day of a range, each
/// put off by up to `jitter_minutes`.
pub(super) fn daily(
    zone: &Zone,
    (from, to): (Date, Date),
    times: &[(i8, i8)],
    jitter_minutes: u64,
    random: &mut Random,
) -> Outcome<Vec<Timestamp>> {
    let mut instants = Vec::new();
    let mut day = from;
    while day < to {
        for (hour, minute) in times {
            let late = i64::try_from(random.below(jitter_minutes * 60 + 1))?;
            let planned = zone.instant(day.at(*hour, *minute, 0, 0))?;
            instants.push(planned.plus_micros(late * 1_000_000));
        }
        day = day.tomorrow()?;
    }
    Ok(instants)
}
