//! Quotas, entitlements and rate limits of a plan, and the verdict on a use. Pure: what was used
//! and what time it is are handed in.
//!
//! A quota is a business limit, exact and durable. A rate limit protects a system; only its numbers
//! stand here.

use counterfoil_types::{Exact, MeterKey, Period, Quantity, TimeError, Timestamp, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// The stretch of time a quota counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaWindow {
    /// The hour, on the customer's clock.
    Hourly,
    /// The customer's local day.
    Daily,
    /// The customer's calendar month.
    Monthly,
    /// The billing period of the subscription.
    #[default]
    BillingPeriod,
    /// The last `hours` hours.
    Rolling,
}

/// A quota as a price book states it, or as a customer's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// What is counted; a meter that counts, sums or takes the largest value.
    pub meter: MeterKey,
    /// From here on a use is answered with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<Quantity>,
    /// A use that would pass this is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<Quantity>,
    /// The stretch of time that counts; the billing period when absent.
    #[serde(default)]
    pub window: QuotaWindow,
    /// Length of a rolling window in hours, 1 to 8784.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// What the last window left of `hard` is added to this one, up to so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<Quantity>,
}

impl QuotaSpec {
    /// Checks what a quota says.
    ///
    /// # Errors
    /// The first mistake, with its key.
    pub fn check(&self) -> Result<(), SpecError> {
        let limits = [("soft", self.soft), ("hard", self.hard), ("rollover", self.rollover)];
        for (key, value) in limits {
            if value.is_some_and(Quantity::is_negative) {
                return Err(SpecError::new(key, "must not be below zero"));
            }
        }
        if let (Some(soft), Some(hard)) = (self.soft, self.hard)
            && soft > hard
        {
            return Err(SpecError::new("soft", "lies above `hard`"));
        }
        let rolling = self.window == QuotaWindow::Rolling;
        match self.hours {
            None if rolling => {
                Err(SpecError::new("hours", "is missing: how long is the rolling window?"))
            }
            Some(_) if !rolling => {
                Err(SpecError::new("hours", "is used with `window = \"rolling\"` only"))
            }
            Some(hours) if !(1..=8784).contains(&hours) => {
                Err(SpecError::new("hours", "must lie between 1 and 8784"))
            }
            _ if self.rollover.is_some() && (rolling || self.hard.is_none()) => {
                Err(SpecError::new("rollover", "needs `hard` and a window that is not rolling"))
            }
            _ => Ok(()),
        }
    }

    /// The window that holds `at`; `billing` is the billing period that does, if there is one.
    /// `None` when the quota counts billing periods and there is none.
    ///
    /// # Errors
    /// When a date leaves the years that can be computed with.
    pub fn window_at(
        &self,
        at: Timestamp,
        zone: &Zone,
        billing: Option<Period>,
    ) -> Result<Option<Period>, TimeError> {
        let out = || TimeError::OutOfRange(at.micros());
        let civil = zone.civil(at)?;
        let day = civil.date();
        let midnight = |day: counterfoil_types::civil::Date| zone.instant(day.at(0, 0, 0, 0));
        let hour = counterfoil_types::timestamp::HOUR_MICROS;
        Ok(Some(match self.window {
            QuotaWindow::Hourly => {
                // Local hours begin where the offset puts them, for example at half past.
                let past = i64::from(civil.minute()) * 60_000_000
                    + i64::from(civil.second()) * 1_000_000
                    + i64::from(civil.subsec_nanosecond()) / 1_000;
                let start = at.plus_micros(-past);
                Period::new(start, start.plus_micros(hour))
            }
            QuotaWindow::Daily => {
                let next = day.tomorrow().map_err(|_| out())?;
                Period::new(midnight(day)?, midnight(next)?)
            }
            QuotaWindow::Monthly => {
                let first = day.first_of_month();
                let next = day.last_of_month().tomorrow().map_err(|_| out())?;
                Period::new(midnight(first)?, midnight(next)?)
            }
            QuotaWindow::BillingPeriod => return Ok(billing),
            QuotaWindow::Rolling => {
                let hours = i64::from(self.hours.unwrap_or(1));
                let end = at.plus_micros(1);
                Period::new(end.plus_micros(-hours * hour), end)
            }
        }))
    }
}

/// A rate limit of a plan, for the customer's calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSpec {
    /// Calls of this endpoint only; each of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How many calls.
    pub limit: u32,
    /// In how long.
    pub per: RateWindow,
    /// How many at once; `limit` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// The unit of time of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateWindow {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl RateWindow {
    /// Its length in microseconds.
    #[must_use]
    pub fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::Hour => counterfoil_types::timestamp::HOUR_MICROS,
        }
    }
}

impl RateLimitSpec {
    /// Checks what a rate limit says.
    ///
    /// # Errors
    /// The first mistake, with its key.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.limit == 0 {
            return Err(SpecError::new("limit", "must be above zero"));
        }
        if self.burst == Some(0) {
            return Err(SpecError::new("burst", "must be above zero"));
        }
        Ok(())
    }
}

/// Something a plan gives besides metered use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Entitlement {
    /// On or off.
    Switch(bool),
    /// So many.
    Number(u64),
    /// A text.
    Text(String),
}

/// What a quota says to a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is room.
    Allowed,
    /// There is room, but the soft limit is reached.
    Warning,
    /// There is no room.
    Denied,
    /// There is no limit.
    Unlimited,
}

impl Verdict {
    /// Whether the use may go on.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self != Self::Denied
    }
}

/// A quota's limits in one window, rollover included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From here on a use is answered with a warning.
    pub soft: Option<Exact>,
    /// No use passes this.
    pub hard: Option<Exact>,
}

impl Limits {
    /// The limits of `spec`; `left_before` is what the window before used up of `hard`.
    #[must_use]
    pub fn of(spec: &QuotaSpec, used_before: Option<&Exact>) -> Self {
        let hard = spec.hard.map(|hard| {
            let hard = hard.exact();
            let (Some(most), Some(used)) = (spec.rollover, used_before) else { return hard };
            let left = hard.sub(used).max(Exact::ZERO).min(most.exact());
            hard.add(&left)
        });
        Self { soft: spec.soft.map(Quantity::exact), hard }
    }

    /// The verdict on usage that would come to `after`. Use that takes nothing is never denied.
    #[must_use]
    pub fn verdict(&self, before: &Exact, after: &Exact) -> Verdict {
        if self.hard.as_ref().is_some_and(|hard| after > hard) && after > before {
            return Verdict::Denied;
        }
        match (&self.soft, &self.hard) {
            (None, None) => Verdict::Unlimited,
            (Some(soft), _) if after > soft => Verdict::Warning,
            _ => Verdict::Allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(text: &str) -> QuotaSpec {
        serde_json::from_str(text).unwrap()
    }
    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    #[test]
    fn a_limit_may_be_reached_and_not_passed() {
        let spec = quota(r#"{"meter":"calls","soft":"8","hard":"10"}"#);
        let limits = Limits::of(&spec, None);
        let verdict = |before, after| limits.verdict(&exact(before), &exact(after));
        assert_eq!(verdict("7", "8"), Verdict::Allowed);
        assert_eq!(verdict("8", "8.5"), Verdict::Warning);
        assert_eq!(verdict("9", "10"), Verdict::Warning);
        assert_eq!(verdict("9", "10.000000001"), Verdict::Denied);
        // Who is over the limit already may still give back, and ask.
        assert_eq!(verdict("12", "11"), Verdict::Warning);
        assert_eq!(verdict("12", "12"), Verdict::Warning);
        let none = Limits::of(&quota(r#"{"meter":"calls"}"#), None);
        assert_eq!(none.verdict(&exact("1"), &exact("2")), Verdict::Unlimited);
    }

    #[test]
    fn what_is_left_rolls_over_once_and_up_to_its_limit() {
        let spec = quota(r#"{"meter":"calls","hard":"10","rollover":"3"}"#);
        let hard = |used: Option<&str>| {
            let used = used.map(exact);
            Limits::of(&spec, used.as_ref()).hard.unwrap().to_string()
        };
        assert_eq!(hard(None), "10");
        assert_eq!(hard(Some("9")), "11");
        assert_eq!(hard(Some("0")), "13");
        assert_eq!(hard(Some("12")), "10");
    }

    #[test]
    fn windows_follow_the_customers_clock() {
        let at: Timestamp = "2026-03-29T10:40:00Z".parse().unwrap();
        let window = |text: &str, zone: &str| {
            let window = quota(text).window_at(at, &zone.parse().unwrap(), None).unwrap().unwrap();
            (window.start.to_string(), window.end.to_string())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let daily = r#"{"meter":"m","window":"daily"}"#;
        // 23 hours: the clocks go forward.
        assert_eq!(
            window(daily, "Europe/Berlin"),
            pair("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        let hourly = r#"{"meter":"m","window":"hourly"}"#;
        assert_eq!(
            window(hourly, "Asia/Kolkata"),
            pair("2026-03-29T10:30:00Z", "2026-03-29T11:30:00Z")
        );
        let monthly = r#"{"meter":"m","window":"monthly"}"#;
        assert_eq!(
            window(monthly, "Europe/Berlin"),
            pair("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z")
        );
        let rolling = r#"{"meter":"m","window":"rolling","hours":2}"#;
        assert_eq!(
            window(rolling, "UTC"),
            pair("2026-03-29T08:40:00.000001Z", "2026-03-29T10:40:00.000001Z")
        );
    }

    #[test]
    fn mistakes_in_a_quota_are_named() {
        let wrong = |text: &str| quota(text).check().unwrap_err().path;
        assert_eq!(wrong(r#"{"meter":"m","soft":"2","hard":"1"}"#), "soft");
        assert_eq!(wrong(r#"{"meter":"m","hard":"-1"}"#), "hard");
        assert_eq!(wrong(r#"{"meter":"m","window":"rolling"}"#), "hours");
        assert_eq!(wrong(r#"{"meter":"m","hours":3}"#), "hours");
        assert_eq!(wrong(r#"{"meter":"m","rollover":"1"}"#), "rollover");
    }
}
