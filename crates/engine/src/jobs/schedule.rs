//! When a job is due: a cron pattern read on the wall clock of a zone.
//!
//! The pattern is evaluated on civil time, and each reading is turned into an instant with the zone
//! data that invoices use. Where clocks change:
//!
//! - a pattern with fixed hours (`30 2 * * *`) happens once on every day: a reading that does not
//!   exist comes as much later as the clocks went forward, one that exists twice counts the first
//!   time;
//! - a pattern for every hour (`*/5 * * * *`) follows the time that passes: it skips readings that do
//!   not exist, and happens in both passes of an hour that comes twice.

use counterfoil_types::{Timestamp, Zone, civil::DateTime, timestamp::HOUR_MICROS};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::EngineError;

/// How far back a schedule is looked for a time that has passed: a leap day lies within it.
const PAST_YEARS: i64 = 9;
/// How much later than its reading says a time may come: a zone once skipped a whole day.
const MOST_SKIPPED: i64 = 26 * HOUR_MICROS;
/// How long after its first pass an hour may come again.
const MOST_REPEATED: i64 = 4 * HOUR_MICROS;

/// A cron pattern (five fields) in a zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    text: String,
    zone: Zone,
    every_hour: bool,
}

impl Schedule {
    /// Reads a pattern: minute, hour, day of the month, month, day of the week.
    ///
    /// # Errors
    /// When it is no such pattern.
    pub fn new(pattern: &str, zone: Zone) -> Result<Self, EngineError> {
        let refused = |why: String| {
            EngineError::refused(format!(
                "{pattern:?} is not a schedule ({why}); write five fields: minute, hour, day of the month, month, day of the week, for example \"0 3 * * *\""
            ))
        };
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|error| refused(error.to_string()))?;
        let hours = pattern.split_whitespace().nth(1).unwrap_or_default();
        let every_hour = hours.starts_with('*') || pattern.trim() == "@hourly";
        let schedule = Self { cron, text: pattern.trim().to_owned(), zone, every_hour };
        // A pattern such as 31 February never comes.
        if schedule.previous(Timestamp::from_micros(0))?.is_none() {
            return Err(refused("it never comes".to_owned()));
        }
        Ok(schedule)
    }

    /// The pattern as written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.text
    }

    /// Its zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The instants of a reading.
    fn instants(&self, reading: DateTime) -> Result<Vec<Timestamp>, EngineError> {
        let first = self.zone.instant(reading)?;
        if !self.every_hour {
            return Ok(vec![first]);
        }
        if self.zone.civil(first)? != reading {
            // It does not exist.
            return Ok(Vec::new());
        }
        let mut instants = vec![first];
        // A second pass comes as much later as the clocks went back: an hour, half of one, a few.
        for quarter in 1..=12 {
            let second = first.plus_micros(quarter * HOUR_MICROS / 4);
            if self.zone.civil(second)? == reading {
                instants.push(second);
            }
        }
        Ok(instants)
    }

    /// All times in `(after, upto]`, in order, at most `limit` of them.
    ///
    /// # Errors
    /// When a time is out of range.
    pub fn between(
        &self,
        after: Timestamp,
        upto: Timestamp,
        limit: usize,
    ) -> Result<Vec<Timestamp>, EngineError> {
        let mut found = Vec::new();
        if upto <= after {
            return Ok(found);
        }
        let most_off = if self.every_hour { MOST_REPEATED } else { MOST_SKIPPED };
        let mut reading = self.zone.civil(after.plus_micros(-most_off))?;
        let end = upto.plus_micros(most_off);
        let mut enough = end;
        while let Some(next) = self.next_reading(reading) {
            reading = next;
            for instant in self.instants(reading)? {
                if instant > after && instant <= upto {
                    found.push(instant);
                }
            }
            let first = self.zone.instant(reading)?;
            if found.len() >= limit && enough == end {
                // What comes in another order than its reading lies within this.
                enough = first.plus_micros(most_off);
            }
            if first > enough || first > end {
                break;
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    /// The first time after an instant.
    ///
    /// # Errors
    /// When a time is out of range.
    pub fn next(&self, after: Timestamp) -> Result<Option<Timestamp>, EngineError> {
        // Most patterns come within a day or a month; only some need years.
        for days in [2, 40, 400, PAST_YEARS * 366] {
            let upto = after.plus_micros(days * 24 * HOUR_MICROS);
            if let Some(next) = self.between(after, upto, 1)?.first() {
                return Ok(Some(*next));
            }
        }
        Ok(None)
    }

    /// The last time up to an instant.
    ///
    /// # Errors
    /// When a time is out of range.
    pub fn previous(&self, upto: Timestamp) -> Result<Option<Timestamp>, EngineError> {
        for hours in [2, 26, 40 * 24, 400 * 24, PAST_YEARS * 366 * 24] {
            let after = upto.plus_micros(-hours * HOUR_MICROS);
            if let Some(last) = self.between(after, upto, usize::MAX)?.last() {
                return Ok(Some(*last));
            }
        }
        Ok(None)
    }

    fn next_reading(&self, reading: DateTime) -> Option<DateTime> {
        // The library gives up after a search of its own limit: then there is none.
        self.cron.find_next_occurrence(&reading, false).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn times(pattern: &str, zone: &str, after: &str, upto: &str) -> Vec<String> {
        let schedule = Schedule::new(pattern, zone.parse().unwrap()).unwrap();
        let found = schedule.between(at(after), at(upto), 1_000).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_day_without_its_hour_and_a_day_with_it_twice_have_one_daily_run() {
        // 29 March 2026: 02:30 does not exist in Berlin. 25 October: it comes twice.
        let spring =
            times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(
            spring,
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        let autumn =
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // Half an hour back, at Lord Howe.
        let half = times(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-03T20:00:00Z",
            "2026-04-06T12:00:00Z",
        );
        assert_eq!(half, ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
        // Midnight that does not exist: Cairo goes forward at 00:00.
        let cairo =
            times("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-25T12:00:00Z");
        assert_eq!(cairo, ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]);
    }

    #[test]
    fn what_runs_every_hour_follows_the_time_that_passes() {
        for (from, to) in [
            ("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z"),
            ("2026-03-28T22:00:00Z", "2026-03-29T04:00:00Z"),
        ] {
            let hourly = times("0 * * * *", "Europe/Berlin", from, to);
            assert_eq!(hourly.len(), 6, "{hourly:?}");
            let often = times("*/5 * * * *", "Europe/Berlin", from, to);
            assert_eq!(often.len(), 72, "{often:?}");
            assert!(often.is_sorted());
        }
    }

    #[test]
    fn months_begin_on_the_clock_of_the_zone() {
        let first =
            times("0 2 1 * *", "Pacific/Auckland", "2026-08-01T00:00:00Z", "2026-12-01T00:00:00Z");
        // Summer time begins on 27 September.
        let wanted = [
            "2026-08-31T14:00:00Z",
            "2026-09-30T13:00:00Z",
            "2026-10-31T13:00:00Z",
            "2026-11-30T13:00:00Z",
        ];
        assert_eq!(first, wanted);
    }

    #[test]
    fn next_and_previous_meet() {
        for pattern in ["*/5 * * * *", "0 3 * * *", "0 2 1 * *", "0 0 29 2 *", "15 4 * * 1"] {
            for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"] {
                let schedule = Schedule::new(pattern, zone.parse().unwrap()).unwrap();
                for now in ["2026-03-29T01:30:00Z", "2026-10-25T00:59:59Z", "2026-07-01T00:00:00Z"]
                {
                    let next = schedule.next(at(now)).unwrap().unwrap();
                    assert!(next > at(now));
                    assert_eq!(schedule.previous(next).unwrap(), Some(next), "{pattern} {zone}");
                    let before = schedule.previous(next.plus_micros(-1)).unwrap().unwrap();
                    assert!(before <= at(now), "{pattern} {zone} {now}: {before}");
                    assert_eq!(schedule.next(before).unwrap(), Some(next));
                }
            }
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for pattern in ["", "* * *", "0 0 0 * * *", "61 * * * *", "0 0 31 2 *", "every day"] {
            let error = Schedule::new(pattern, Zone::utc()).unwrap_err().to_string();
            assert!(error.contains("is not a schedule"), "{pattern}: {error}");
        }
    }
}
