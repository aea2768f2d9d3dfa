//! Rules: what is watched, for whom, and how grave it is.
//!
//! A rule holds for every customer, for those of a plan, or for one. One that `replaces` another
//! takes its place where both hold; switched off, it silences it there.

use std::collections::BTreeSet;

use counterfoil_types::{Currency, CustomerId, MeterKey, PlanKey, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use counterfoil_analytics::anomaly::{self, Method};

/// Percentages that are told of when nothing else is said.
pub const PERCENTAGES: [u32; 5] = [75, 80, 90, 95, 100];
/// Most thresholds of a rule.
const MOST: usize = 20;
/// Longest history a rule looks at, in days.
pub const LONGEST_DAYS: u16 = 90;

/// Why a rule was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {why}")]
pub struct RuleError {
    /// Where.
    pub field: &'static str,
    /// What is wrong with it, and what would do.
    pub why: String,
}

fn wrong(field: &'static str, why: impl Into<String>) -> RuleError {
    RuleError { field, why: why.into() }
}

/// How grave something is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// It may become too much.
    Warning,
    /// It will be too much soon.
    Critical,
    /// It is too much.
    Exceeded,
}

impl Severity {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exceeded => "exceeded",
        }
    }

    /// Read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical, Self::Exceeded]
            .into_iter()
            .find(|severity| severity.as_str() == text)
    }

    /// That of a percentage: from 75 a warning, from 90 critical, from 100 exceeded.
    #[must_use]
    pub fn of_percent(percent: Quantity) -> Self {
        let at_least = |bound: u32| percent >= Quantity::from(bound);
        if at_least(100) {
            Self::Exceeded
        } else if at_least(90) {
            Self::Critical
        } else if at_least(75) {
            Self::Warning
        } else {
            Self::Info
        }
    }
}

/// The stretch of time in which usage is added up, in the customer's zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchWindow {
    /// A day.
    Day,
    /// A calendar month.
    Month,
    /// The subscription's billing period.
    #[default]
    BillingPeriod,
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More than before.
    #[default]
    Up,
    /// Less than before.
    Down,
    /// Either.
    Either,
}

fn percentages() -> Vec<Quantity> {
    PERCENTAGES.into_iter().map(Quantity::from).collect()
}

fn hundred() -> Vec<Quantity> {
    vec![Quantity::from(100_u32)]
}

const fn four_weeks() -> u16 {
    28
}

const fn a_week() -> u16 {
    7
}

/// What a rule watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Watch {
    /// Usage in percent of the units a plan includes.
    Included {
        /// Percentages that are told of; 75, 80, 90, 95, 100 when absent.
        #[serde(default = "percentages")]
        thresholds: Vec<Quantity>,
    },
    /// Usage in percent of a quota's hard limit.
    Quota {
        /// Percentages that are told of; 75, 80, 90, 95, 100 when absent.
        #[serde(default = "percentages")]
        thresholds: Vec<Quantity>,
    },
    /// Usage, in the meter's unit.
    Usage {
        /// Amounts that are told of.
        thresholds: Vec<Quantity>,
        /// In which stretch of time.
        #[serde(default)]
        window: WatchWindow,
    },
    /// Cost of usage in the billing period.
    Spend {
        /// Amounts that are told of.
        thresholds: Vec<Quantity>,
        /// In which currency; customers billed in another are left alone.
        currency: Currency,
    },
    /// How much more or less some days came to than as many days before them.
    Change {
        /// By how many percent.
        percent: Quantity,
        /// Which way.
        #[serde(default)]
        direction: Direction,
        /// How many days; 7 when absent.
        #[serde(default = "a_week")]
        days: u16,
    },
    /// A day that does not look like those before it.
    Anomaly {
        /// How that is judged.
        by: Method,
        /// How many days are looked back on; 28 when absent.
        #[serde(default = "four_weeks")]
        days: u16,
    },
    /// What the billing period will come to, in percent of the units a plan includes.
    Forecast {
        /// Percentages that are told of; 100 when absent.
        #[serde(default = "hundred")]
        thresholds: Vec<Quantity>,
    },
}

impl Watch {
    /// Its kind, as written.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Included { .. } => "included",
            Self::Quota { .. } => "quota",
            Self::Usage { .. } => "usage",
            Self::Spend { .. } => "spend",
            Self::Change { .. } => "change",
            Self::Anomaly { .. } => "anomaly",
            Self::Forecast { .. } => "forecast",
        }
    }

    /// Complete days before now it looks at; a forecast looks at those of its own period.
    #[must_use]
    pub const fn history(&self) -> u16 {
        match self {
            Self::Change { days, .. } => days.saturating_mul(2),
            Self::Anomaly { days, .. } => *days,
            _ => 0,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its id: 1 to 60 letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it watches.
    pub watch: Watch,
    /// Of this meter only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterKey>,
    /// For customers of this plan only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// For this customer only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// The rule whose place it takes where both hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// How grave it is, whatever the threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whether it fires.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

fn check_days(days: u16, least: u16) -> Result<(), RuleError> {
    if (least..=LONGEST_DAYS).contains(&days) {
        return Ok(());
    }
    Err(wrong("watch.days", format!("must lie between {least} and {LONGEST_DAYS}")))
}

fn check_thresholds(thresholds: &[Quantity]) -> Result<(), RuleError> {
    if thresholds.is_empty() || thresholds.len() > MOST {
        return Err(wrong("watch.thresholds", format!("1 to {MOST} are needed")));
    }
    if thresholds.iter().any(|threshold| *threshold <= Quantity::ZERO) {
        return Err(wrong("watch.thresholds", "each must be greater than zero"));
    }
    let different: BTreeSet<Quantity> = thresholds.iter().copied().collect();
    if different.len() != thresholds.len() {
        return Err(wrong("watch.thresholds", "each may stand there once"));
    }
    Ok(())
}

impl Rule {
    /// A rule for everybody.
    #[must_use]
    pub fn of(id: &str, watch: Watch) -> Self {
        Self {
            id: id.to_owned(),
            name: None,
            watch,
            meter: None,
            plan: None,
            customer: None,
            replaces: None,
            severity: None,
            enabled: true,
        }
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// [`RuleError`] names the field.
    pub fn check(&self) -> Result<(), RuleError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.id.is_empty() || self.id.len() > 60 || !self.id.chars().all(fits) {
            return Err(wrong("id", "1 to 60 letters, digits, '-', '_' and '.'"));
        }
        let long = |name: &String| name.len() > 200 || name.chars().any(char::is_control);
        if self.name.as_ref().is_some_and(long) {
            return Err(wrong("name", "at most 200 bytes, without line breaks"));
        }
        if self.replaces.as_ref() == Some(&self.id) {
            return Err(wrong("replaces", "a rule cannot take its own place"));
        }
        match &self.watch {
            Watch::Included { thresholds }
            | Watch::Quota { thresholds }
            | Watch::Forecast { thresholds } => check_thresholds(thresholds),
            Watch::Usage { thresholds, .. } => {
                if self.meter.is_none() {
                    return Err(wrong("meter", "amounts of usage need a meter to be counted by"));
                }
                check_thresholds(thresholds)
            }
            Watch::Spend { thresholds, .. } => {
                if self.meter.is_some() {
                    return Err(wrong("meter", "spend is that of all meters; leave it out"));
                }
                check_thresholds(thresholds)
            }
            Watch::Change { percent, days, .. } => {
                check_days(*days, 1)?;
                check_thresholds(&[*percent])
            }
            Watch::Anomaly { by, days } => {
                check_days(*days, anomaly::LEAST_DAYS)?;
                by.check().map_err(|why| wrong("watch.by", why))
            }
        }
    }

    /// How narrow it is: for everybody, for a plan, for a customer.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match (&self.customer, &self.plan) {
            (Some(_), _) => 2,
            (None, Some(_)) => 1,
            (None, None) => 0,
        }
    }

    /// Whether it holds for a customer with these plans.
    #[must_use]
    pub fn holds_for(&self, customer: &CustomerId, plans: &[PlanKey]) -> bool {
        self.customer.as_ref().is_none_or(|wanted| wanted == customer)
            && self.plan.as_ref().is_none_or(|wanted| plans.contains(wanted))
    }

    /// Whether it watches a meter.
    #[must_use]
    pub fn watches(&self, meter: &MeterKey) -> bool {
        self.meter.as_ref().is_none_or(|wanted| wanted == meter)
    }
}

/// The rules that hold where nobody has made others: percentages of what is included and of
/// quotas. A rule of the same id takes their place.
#[must_use]
pub fn defaults() -> Vec<Rule> {
    vec![
        Rule::of("included", Watch::Included { thresholds: percentages() }),
        Rule::of("quota", Watch::Quota { thresholds: percentages() }),
        Rule::of("forecast", Watch::Forecast { thresholds: hundred() }),
    ]
}

/// Those of `rules` that fire for a customer: what is replaced by a narrower one, or one as narrow
/// that comes later, is left out, and so is what is switched off.
#[must_use]
pub fn effective<'a>(rules: &'a [Rule], customer: &CustomerId, plans: &[PlanKey]) -> Vec<&'a Rule> {
    let holding: Vec<&Rule> = rules.iter().filter(|rule| rule.holds_for(customer, plans)).collect();
    let replaced = |rule: &&Rule| {
        holding.iter().any(|other| {
            other.id != rule.id
                && other.replaces.as_ref() == Some(&rule.id)
                && other.rank() >= rule.rank()
        })
    };
    holding.iter().copied().filter(|rule| rule.enabled && !replaced(rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CustomerId {
        CustomerId::new(name).unwrap()
    }

    #[test]
    fn a_narrower_rule_takes_the_place_of_a_wider_one() {
        let mut rules = defaults();
        let plan = PlanKey::new("pro").unwrap();
        let half = || Watch::Included { thresholds: vec![Quantity::from(50_u32)] };
        rules.push(Rule {
            plan: Some(plan.clone()),
            replaces: Some("included".into()),
            ..Rule::of("pro", half())
        });
        rules.push(Rule {
            customer: Some(id("acme")),
            replaces: Some("pro".into()),
            enabled: false,
            ..Rule::of("silent", half())
        });
        let of = |customer: &str, plans: &[PlanKey]| -> Vec<String> {
            effective(&rules, &id(customer), plans).iter().map(|rule| rule.id.clone()).collect()
        };
        assert_eq!(of("x", &[]), ["included", "quota", "forecast"]);
        assert_eq!(of("x", std::slice::from_ref(&plan)), ["quota", "forecast", "pro"]);
        assert_eq!(of("acme", &[plan]), ["quota", "forecast"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let fails = |rule: Rule, field: &str| assert_eq!(rule.check().unwrap_err().field, field);
        let percent = |thresholds: Vec<u32>| Watch::Included {
            thresholds: thresholds.into_iter().map(Quantity::from).collect(),
        };
        fails(Rule::of("", percent(vec![1])), "id");
        fails(Rule::of("a b", percent(vec![1])), "id");
        fails(Rule::of("a", percent(vec![])), "watch.thresholds");
        fails(Rule::of("a", percent(vec![0])), "watch.thresholds");
        fails(Rule::of("a", percent(vec![5, 5])), "watch.thresholds");
        let usage = Watch::Usage { thresholds: hundred(), window: WatchWindow::Day };
        fails(Rule::of("a", usage), "meter");
        fails(Rule { replaces: Some("a".into()), ..Rule::of("a", percent(vec![1])) }, "replaces");
        for rule in defaults() {
            rule.check().unwrap();
        }
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        let text = r#"{"id":"spike","watch":{"kind":"anomaly","by":{"deviations":"3"},"days":14}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.watch.history(), 14);
        let again: Rule = serde_json::from_str(&serde_json::to_string(&rule).unwrap()).unwrap();
        assert_eq!(again, rule);
    }
}
