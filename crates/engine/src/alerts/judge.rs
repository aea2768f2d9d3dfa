//! What the rules say about one customer: findings, whether they fired before or not.

use counterfoil_alerting::{
    Rule, Severity, Watch, change,
    threshold::{percent_of, reached, reached_percent},
};
use counterfoil_analytics::{anomaly, forecast};
use counterfoil_store::{Alert, AlertState};
use counterfoil_types::{Exact, MeterKey, Period, Quantity, Timestamp, timestamp::DAY_MICROS};

use super::page::{Case, Included, Page, days_before, today};
use crate::{Engine, EngineError};

/// What is seen of one meter in one window.
struct Seen<'a> {
    rule: &'a Rule,
    meter: Option<&'a MeterKey>,
    window: Period,
    value: Exact,
    limit: Option<Exact>,
    unit: String,
}

impl Engine {
    fn alert(
        &self,
        case: &Case<'_>,
        seen: &Seen<'_>,
        threshold: String,
        severity: Severity,
        explanation: String,
    ) -> Alert {
        let (tenant, customer) = (&self.tenant.id, &case.customer.id);
        let id = Alert::id_of(tenant, customer, &seen.rule.id, seen.meter, &threshold, seen.window);
        Alert {
            id,
            customer: customer.clone(),
            rule: seen.rule.id.clone(),
            kind: seen.rule.watch.kind().to_owned(),
            meter: seen.meter.cloned(),
            threshold,
            severity: seen.rule.severity.unwrap_or(severity),
            window: seen.window,
            at: case.at,
            value: seen.value.clone(),
            limit: seen.limit.clone(),
            unit: seen.unit.clone(),
            expected_at: None,
            explanation,
            state: AlertState::Open,
            until: None,
            changed_by: None,
            changed_at: None,
            told: None,
        }
    }

    fn unit(page: &Page<'_>, meter: &MeterKey) -> String {
        page.setup.books.meters().get(meter).map(|meter| meter.unit.clone()).unwrap_or_default()
    }

    /// Everything the rules find now.
    pub(super) async fn judge(
        &self,
        page: &Page<'_>,
        case: &Case<'_>,
    ) -> Result<Vec<Alert>, EngineError> {
        let mut found = Vec::new();
        for rule in &case.rules {
            match &rule.watch {
                Watch::Included { thresholds } => {
                    for included in case.included.iter().filter(|one| rule.watches(&one.meter)) {
                        let seen = self.of_included(page, case, rule, included).await?;
                        self.percentages(&mut found, case, &seen, thresholds);
                    }
                }
                Watch::Quota { thresholds } => {
                    for (quota, window) in &case.quotas {
                        let meter = &quota.spec.meter;
                        if !rule.watches(meter) || quota.spec.hard.is_none() {
                            continue;
                        }
                        let limits = self.limits(&case.customer.id, quota, *window).await?;
                        let seen = Seen {
                            rule,
                            meter: Some(meter),
                            window: in_steps(*window, quota),
                            value: page.used(self, case, meter, *window).await?,
                            limit: limits.hard,
                            unit: Self::unit(page, meter),
                        };
                        self.percentages(&mut found, case, &seen, thresholds);
                    }
                }
                Watch::Usage { thresholds, window } => {
                    let Some(meter) = &rule.meter else { continue };
                    for window in case.windows(*window)? {
                        let value = page.used(self, case, meter, window).await?;
                        let (limit, unit) = (None, Self::unit(page, meter));
                        let seen = Seen { rule, meter: Some(meter), window, value, limit, unit };
                        self.amounts(&mut found, case, &seen, thresholds);
                    }
                }
                Watch::Spend { thresholds, currency } => {
                    if *currency != case.customer.currency {
                        continue;
                    }
                    let usage = self.current_usage(&case.customer.id, case.at, None).await?;
                    for one in usage {
                        let seen = Seen {
                            rule,
                            meter: None,
                            window: one.period,
                            value: one.cost.exact(),
                            limit: None,
                            unit: currency.code().to_owned(),
                        };
                        self.amounts(&mut found, case, &seen, thresholds);
                    }
                }
                Watch::Change { percent, direction, days } => {
                    for meter in case.meters.iter().filter(|meter| rule.watches(meter)) {
                        let series = history(page, case, meter, days.saturating_mul(2))?;
                        let Some(change) = change::judge(&series, *days, *percent, *direction)
                        else {
                            continue;
                        };
                        let seen = Seen {
                            rule,
                            meter: Some(meter),
                            window: block(case.at, *days),
                            value: change.now,
                            limit: Some(change.before),
                            unit: Self::unit(page, meter),
                        };
                        let threshold = percent.to_string();
                        let warning = Severity::Warning;
                        found.push(self.alert(case, &seen, threshold, warning, change.why));
                    }
                }
                Watch::Anomaly { by, days } => {
                    for meter in case.meters.iter().filter(|meter| rule.watches(meter)) {
                        self.anomalies(&mut found, page, case, (rule, meter), (by, *days)).await?;
                    }
                }
                Watch::Forecast { thresholds } => {
                    for included in case.included.iter().filter(|one| rule.watches(&one.meter)) {
                        let seen = self.of_included(page, case, rule, included).await?;
                        self.forecasts(&mut found, page, case, &seen, (included, thresholds))?;
                    }
                }
            }
        }
        Ok(found)
    }

    async fn of_included<'a>(
        &self,
        page: &Page<'_>,
        case: &Case<'_>,
        rule: &'a Rule,
        included: &'a Included,
    ) -> Result<Seen<'a>, EngineError> {
        let metered = page.used(self, case, &included.meter, included.window).await?;
        Ok(Seen {
            rule,
            meter: Some(&included.meter),
            window: included.window,
            value: included.preparation.convert(&metered),
            limit: Some(included.preparation.included.exact()),
            unit: Self::unit(page, &included.meter),
        })
    }

    fn percentages(
        &self,
        found: &mut Vec<Alert>,
        case: &Case<'_>,
        seen: &Seen<'_>,
        thresholds: &[Quantity],
    ) {
        let Some(limit) = &seen.limit else { return };
        for percent in reached_percent(thresholds, &seen.value, limit) {
            let share = percent_of(&seen.value, limit);
            let why = format!(
                "{} of {limit} {} are used: {share} %, {percent} % are told of",
                seen.value, seen.unit
            );
            let severity = Severity::of_percent(percent);
            found.push(self.alert(case, seen, percent.to_string(), severity, why));
        }
    }

    fn amounts(
        &self,
        found: &mut Vec<Alert>,
        case: &Case<'_>,
        seen: &Seen<'_>,
        thresholds: &[Quantity],
    ) {
        for threshold in reached(thresholds, &seen.value) {
            let why = format!("{} {} has reached {threshold}", seen.value, seen.unit);
            let seen = Seen {
                limit: Some(threshold.exact()),
                value: seen.value.clone(),
                unit: seen.unit.clone(),
                ..*seen
            };
            found.push(self.alert(case, &seen, threshold.to_string(), Severity::Warning, why));
        }
    }

    async fn anomalies(
        &self,
        found: &mut Vec<Alert>,
        page: &Page<'_>,
        case: &Case<'_>,
        (rule, meter): (&Rule, &MeterKey),
        (by, days): (&anomaly::Method, u16),
    ) -> Result<(), EngineError> {
        let series = history(page, case, meter, days)?;
        let now = page.used(self, case, meter, today(case.at)).await?;
        let mut days = vec![(today(case.at), anomaly::judge(by, &series, &now, false))];
        if let Some((last, before)) = series.split_last() {
            let yesterday = today(case.at.plus_micros(-DAY_MICROS));
            days.push((yesterday, anomaly::judge(by, before, last, true)));
        }
        for (window, judged) in days {
            let Some(odd) = judged else { continue };
            let seen = Seen {
                rule,
                meter: Some(meter),
                window,
                value: odd.value,
                limit: Some(odd.usual),
                unit: Self::unit(page, meter),
            };
            let threshold = odd.bound.to_string();
            let mut alert = self.alert(case, &seen, threshold, Severity::Warning, odd.why);
            // The bound moves with the history; a day is odd once.
            let (tenant, customer) = (&self.tenant.id, &case.customer.id);
            alert.id = Alert::id_of(tenant, customer, &rule.id, Some(meter), "", window);
            found.push(alert);
        }
        Ok(())
    }

    fn forecasts(
        &self,
        found: &mut Vec<Alert>,
        page: &Page<'_>,
        case: &Case<'_>,
        seen: &Seen<'_>,
        (included, thresholds): (&Included, &[Quantity]),
    ) -> Result<(), EngineError> {
        let Some(limit) = &seen.limit else { return Ok(()) };
        let days = page.days(case, &included.meter, included.window, case.at)?;
        let days: Vec<Exact> = days.iter().map(|day| included.preparation.convert(day)).collect();
        let Some(forecast) = forecast::of(&seen.value, &days, &included.window, case.at) else {
            return Ok(());
        };
        for percent in reached_percent(thresholds, &forecast.expected, limit) {
            let level = counterfoil_alerting::threshold::share(limit, percent);
            // What is reached already is no forecast.
            let passes = forecast.passes(&level, &seen.value, &included.window, case.at);
            let Some(passes) = passes else { continue };
            let on = case.customer.zone.civil(passes)?.date();
            let why = format!(
                "at {} {} a day over {} days, {percent} % of {limit} are passed on {on}; {} are expected by the end (between {} and {})",
                shown(&forecast.daily),
                seen.unit,
                forecast.days,
                forecast.expected,
                forecast.low,
                forecast.high
            );
            let forecast_seen = Seen {
                value: forecast.expected.clone(),
                limit: Some(level),
                unit: seen.unit.clone(),
                ..*seen
            };
            let mut alert =
                self.alert(case, &forecast_seen, percent.to_string(), Severity::Warning, why);
            alert.expected_at = Some(passes);
            found.push(alert);
        }
        Ok(())
    }
}

fn shown(value: &Exact) -> Exact {
    value.mul(&Exact::from(1_000_u64)).floor().mul(&Exact::unit(3))
}

/// The last `days` whole days, the oldest first.
fn history(
    page: &Page<'_>,
    case: &Case<'_>,
    meter: &MeterKey,
    days: u16,
) -> Result<Vec<Exact>, EngineError> {
    let read = days_before(case.at, case.history());
    let all = page.days(case, meter, read, read.end)?;
    let from = all.len().saturating_sub(usize::from(days));
    Ok(all.get(from..).unwrap_or_default().to_vec())
}

/// The stretch of so many days that holds an instant, counted from the epoch: what fires once in it.
fn block(at: Timestamp, days: u16) -> Period {
    let width = i64::from(days.max(1)) * DAY_MICROS;
    let start = at.bucket(width);
    Period::new(start, start.plus_micros(width))
}

/// A rolling window never begins anew; it fires once a day.
fn in_steps(window: Period, quota: &crate::quotas::Quota) -> Period {
    match quota.spec.window {
        counterfoil_rating::quota::QuotaWindow::Rolling => today(window.end),
        _ => window,
    }
}
