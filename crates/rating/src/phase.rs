//! Phases of a plan: trials, introductory discounts, ramps. Lengths are counted from the
//! subscription's first day on the plan.

use std::collections::BTreeMap;

use counterfoil_types::{CalendarSpan, Period, ScheduleError, Timestamp, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    plan::Plan,
    spec::{DiscountSpec, Patch, SpecError},
};

/// A phase as the file states it. Its length is one of `days`, `weeks`, `months`, `years`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseSpec {
    /// Name of the phase within its plan.
    pub key: String,
    /// Shown to people; the key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Length in local days. The last phase may leave out its length: it has no end then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Length in weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u32>,
    /// Length in months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub months: Option<u32>,
    /// Length in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub years: Option<u32>,
    /// Whether nothing is charged in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
    /// Discounts that follow those of every charge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountSpec>,
    /// Charge = keys that replace the charge's in this phase.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub charges: BTreeMap<String, Patch>,
}

/// A checked phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Name of the phase within its plan.
    pub key: String,
    /// Shown to people.
    pub name: String,
    /// How long it lasts; `None`: to the end of the subscription.
    pub length: Option<CalendarSpan>,
    /// Whether nothing is charged in it.
    pub trial: bool,
}

impl PhaseSpec {
    fn length(&self) -> Result<Option<CalendarSpan>, SpecError> {
        let days = |days| CalendarSpan { days, ..CalendarSpan::default() };
        let months = |months| CalendarSpan { months, ..CalendarSpan::default() };
        let stated = [
            ("days", self.days, days(1)),
            ("weeks", self.weeks, days(7)),
            ("months", self.months, months(1)),
            ("years", self.years, months(12)),
        ];
        let mut found = None;
        for (key, count, one) in stated {
            let Some(count) = count else { continue };
            if found.is_some() {
                return Err(SpecError::new(
                    key,
                    "a phase has one length: one of days, weeks, months, years",
                ));
            }
            if count == 0 || count > 36_500 {
                return Err(SpecError::new(key, "must lie between 1 and 36500"));
            }
            let count = i64::from(count);
            found = Some(CalendarSpan {
                months: one.months * count,
                days: one.days * count,
                ..CalendarSpan::default()
            });
        }
        Ok(found)
    }
}

/// Checks the phases of a plan but for their patches.
pub(crate) fn check_phases(specs: &[PhaseSpec]) -> Result<Vec<Phase>, SpecError> {
    let mut phases: Vec<Phase> = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let path = format!("phase[{at}]");
        if spec.key.trim().is_empty() {
            return Err(SpecError::new(format!("{path}.key"), "must not be empty"));
        }
        if phases.iter().any(|other| other.key == spec.key) {
            let message = format!("{:?} stands twice in this plan", spec.key);
            return Err(SpecError::new(format!("{path}.key"), message));
        }
        let length = spec.length().map_err(|error| error.under(&path))?;
        if length.is_none() && at + 1 < specs.len() {
            return Err(SpecError::new(
                path,
                "only the last phase may leave out its length (days, weeks, months or years)",
            ));
        }
        let name = spec.name.clone().unwrap_or_else(|| spec.key.clone());
        phases.push(Phase { key: spec.key.clone(), name, length, trial: spec.trial });
    }
    Ok(phases)
}

impl Plan {
    /// When each phase of a subscription that began on `start` runs, in order. What lies after
    /// the last one is the plain plan. Phases that follow each other in months (or in days) are
    /// counted together from where the first of them began, so that 31 January plus one month
    /// plus one month is 31 March.
    ///
    /// # Errors
    /// When a date leaves the years that can be computed with.
    pub fn phase_periods(
        &self,
        start: Timestamp,
        zone: &Zone,
    ) -> Result<Vec<(Period, &Phase)>, ScheduleError> {
        let mut periods = Vec::with_capacity(self.phases.len());
        let (mut anchor, mut begins) = (start, start);
        let mut run = CalendarSpan::default();
        for phase in &self.phases {
            let Some(length) = phase.length else {
                periods.push((Period::new(begins, Timestamp::MAX), phase));
                break;
            };
            let same_kind =
                (run.months == 0 || length.days == 0) && (run.days == 0 || length.months == 0);
            if !same_kind {
                (anchor, run) = (begins, CalendarSpan::default());
            }
            run.months += length.months;
            run.days += length.days;
            let ends = run.after(anchor, zone)?;
            periods.push((Period::new(begins, ends), phase));
            begins = ends;
        }
        Ok(periods)
    }

    /// The phase that holds `at`, for a subscription that began on `start`.
    ///
    /// # Errors
    /// As [`Plan::phase_periods`].
    pub fn phase_at(
        &self,
        start: Timestamp,
        at: Timestamp,
        zone: &Zone,
    ) -> Result<Option<&Phase>, ScheduleError> {
        let periods = self.phase_periods(start, zone)?;
        Ok(periods.into_iter().find(|(period, _)| period.contains(at)).map(|(_, phase)| phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlanSpec;

    fn phases(json: &str) -> Result<Vec<Phase>, String> {
        let specs: Vec<PhaseSpec> = serde_json::from_str(json).unwrap();
        check_phases(&specs).map_err(|error| error.to_string())
    }

    #[test]
    fn a_length_is_one_number_of_one_unit() {
        for (length, months, days) in [
            (r#""days":3"#, 0, 3),
            (r#""weeks":3"#, 0, 21),
            (r#""months":3"#, 3, 0),
            (r#""years":3"#, 36, 0),
            (r#""days":1"#, 0, 1),
            (r#""days":36500"#, 0, 36_500),
        ] {
            let found = phases(&format!(r#"[{{"key":"a",{length}}}]"#)).unwrap();
            let span = CalendarSpan { months, days, ..CalendarSpan::default() };
            assert_eq!(found[0].length, Some(span), "{length}");
        }
        for (specs, says) in [
            (r#"[{"key":"a","days":0}]"#, "phase[0].days: must lie between"),
            (r#"[{"key":"a","days":36501}]"#, "phase[0].days: must lie between"),
            (r#"[{"key":"a","days":1,"weeks":1}]"#, "phase[0].weeks: a phase has one length"),
            (r#"[{"key":" ","days":1}]"#, "phase[0].key: must not be empty"),
            (r#"[{"key":"a","days":1},{"key":"a"}]"#, "phase[1].key: \"a\" stands twice"),
            (r#"[{"key":"a"},{"key":"b"}]"#, "phase[0]: only the last phase"),
        ] {
            let said = phases(specs).unwrap_err();
            assert!(said.contains(says), "{specs} said: {said}");
        }
        let last = phases(r#"[{"key":"a","days":1},{"key":"b","name":"B","trial":true}]"#).unwrap();
        assert_eq!((last[0].name.as_str(), last[1].name.as_str()), ("a", "B"));
        assert!(!last[0].trial && last[1].trial && last[1].length.is_none());
    }

    #[test]
    fn phases_of_one_kind_are_counted_together_and_a_change_of_kind_begins_anew() {
        let ends = |phases: &str| -> Vec<String> {
            let json = format!(
                r#"{{"key":"p","interval":"month","phase":{phases},"charge":[{{"key":"f","model":"flat","amount":1}}]}}"#
            );
            let spec: PlanSpec = serde_json::from_str(&json).unwrap();
            let plan = Plan::try_from(&spec).unwrap();
            let start = "2026-01-31T00:00:00Z".parse().unwrap();
            let periods = plan.phase_periods(start, &Zone::utc()).unwrap();
            periods.iter().map(|(period, _)| period.end.to_string()[..10].to_owned()).collect()
        };
        let months = r#"[{"key":"a","months":1},{"key":"b","months":1}]"#;
        assert_eq!(ends(months), ["2026-02-28", "2026-03-31"]);
        let days = r#"[{"key":"a","days":10},{"key":"b","days":10}]"#;
        assert_eq!(ends(days), ["2026-02-10", "2026-02-20"]);
        let mixed = r#"[{"key":"a","months":1},{"key":"b","days":3},{"key":"c","months":1}]"#;
        assert_eq!(ends(mixed), ["2026-02-28", "2026-03-03", "2026-04-03"]);
    }

    #[test]
    fn a_phase_that_begins_where_clocks_jump_over_midnight_ends_at_midnight() {
        let json = r#"{"key":"p","interval":"month","phase":[{"key":"a","days":14}],"charge":[{"key":"f","model":"flat","amount":1}]}"#;
        let spec: PlanSpec = serde_json::from_str(json).unwrap();
        let plan = Plan::try_from(&spec).unwrap();
        // On 6 September 2026 clocks in Santiago go from 24:00 to 01:00, UTC-4 to UTC-3.
        let zone: Zone = "America/Santiago".parse().unwrap();
        let start = "2026-09-06T01:00:00-03:00".parse().unwrap();
        let (period, _) = plan.phase_periods(start, &zone).unwrap()[0];
        assert_eq!(period, Period::new(start, "2026-09-20T00:00:00-03:00".parse().unwrap()));
    }
}
