//! Dunning: which reminders an unpaid invoice has come to.

use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};
use serde::{Deserialize, Serialize};

/// A step of a dunning schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DunningStep {
    /// Days after the due date.
    pub after_days: u32,
    /// What it is called.
    pub name: String,
}

/// The steps used where a tenant has set none: a reminder, a second one, a last one.
#[must_use]
pub fn default_steps() -> Vec<DunningStep> {
    [(3, "reminder"), (14, "second reminder"), (28, "last reminder")]
        .map(|(after_days, name)| DunningStep { after_days, name: name.to_owned() })
        .into()
}

/// The steps that an invoice due at `due` has come to by `now`, in order.
#[must_use]
pub fn steps_reached(steps: &[DunningStep], due: Timestamp, now: Timestamp) -> Vec<&DunningStep> {
    let mut reached: Vec<&DunningStep> = steps
        .iter()
        .filter(|step| due.plus_micros(i64::from(step.after_days) * DAY_MICROS) <= now)
        .collect();
    reached.sort_by_key(|step| step.after_days);
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_reached_on_its_day_and_stays_reached() {
        let due: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |days: i64| due.plus_micros(days * DAY_MICROS);
        let names = |now| -> Vec<String> {
            let steps = default_steps();
            steps_reached(&steps, due, now).iter().map(|step| step.name.clone()).collect()
        };
        assert!(names(at(3).plus_micros(-1)).is_empty());
        assert_eq!(names(at(3)), ["reminder"]);
        assert_eq!(names(at(90)).len(), 3);
    }
}
