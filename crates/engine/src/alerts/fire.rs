//! Which alerts are new, and how they are told: one effect for the highest threshold that was passed
//! of a rule and meter, and a digest instead of a flood.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use counterfoil_store::{Alert, AlertState, Commit, Fired, StoreError, Write};
use counterfoil_types::{CustomerId, MeterKey, Timestamp, timestamp::HOUR_MICROS};
use serde_json::json;

use super::page::{Case, Page};
use crate::{Engine, EngineError};

/// Within this time a customer is told so many times singly, and by one digest.
pub(super) const HOUR: i64 = HOUR_MICROS;
/// Effects that tell a customer of alerts within an hour, before they become a digest.
const MOST: usize = 5;
/// Alerts a digest lists; its count says how many there are.
const LISTED: usize = 50;
const DIGEST: &str = "alert.digest/";
/// Alerts that wait, looked at together.
const HELD: u32 = 5_000;

/// The kind of effect that tells of an alert.
fn kind_of(alert: &Alert) -> &'static str {
    match alert.kind.as_str() {
        "forecast" => "alert.forecast",
        "anomaly" | "change" => "alert.anomaly",
        _ => match alert.severity {
            counterfoil_alerting::Severity::Info => "alert.info",
            counterfoil_alerting::Severity::Warning => "alert.warning",
            counterfoil_alerting::Severity::Critical => "alert.critical",
            counterfoil_alerting::Severity::Exceeded => "alert.exceeded",
        },
    }
}

/// When a digest was queued, by its key.
fn digest_at(key: &str) -> Option<Timestamp> {
    let micros = key.strip_prefix(DIGEST)?.split('/').next()?.parse().ok()?;
    Some(Timestamp::from_micros(micros))
}

fn digest_key(customer: &CustomerId, at: Timestamp) -> String {
    format!("{DIGEST}{:020}/{customer}", at.micros())
}

fn digest(customer: &CustomerId, key: &str, alerts: &[&Alert], at: Timestamp) -> Write {
    let listed: Vec<&&Alert> = alerts.iter().take(LISTED).collect();
    Write::Queue {
        key: key.to_owned(),
        kind: "alert.digest".to_owned(),
        body: json!({"customer": customer, "count": alerts.len(), "alerts": listed}),
        at,
    }
}

/// Adds what fires now to `writes`; says how many alerts, and how many effects tell of them.
pub(super) fn fire(
    writes: &mut Vec<Write>,
    case: &Case<'_>,
    page: &Page<'_>,
    found: Vec<Alert>,
) -> (u64, u64) {
    let none = Vec::new();
    let before = page.fired.get(&case.customer.id).unwrap_or(&none);
    let known: HashSet<&str> = before.iter().map(|fired| fired.id.as_str()).collect();
    let mut seen = HashSet::new();
    let mut groups: BTreeMap<(String, Option<MeterKey>, Timestamp), Vec<Alert>> = BTreeMap::new();
    for alert in found {
        if !known.contains(alert.id.as_str()) && seen.insert(alert.id.clone()) {
            let place = (alert.rule.clone(), alert.meter.clone(), alert.window.start);
            groups.entry(place).or_default().push(alert);
        }
    }
    if groups.is_empty() {
        return (0, 0);
    }
    let (at, customer) = (case.at, &case.customer.id);
    let snoozed = |alert: &Alert| {
        let same = |fired: &&Fired| fired.rule == alert.rule && fired.meter == alert.meter;
        before.iter().filter(same).filter_map(|fired| fired.snoozed_until).max()
    };
    let (mut singles, mut quiet) = (Vec::new(), Vec::new());
    for (_, mut group) in groups {
        let until = group.first().and_then(snoozed).filter(|until| *until > at);
        if let Some(until) = until {
            for alert in &mut group {
                (alert.state, alert.until) = (AlertState::Snoozed, Some(until));
            }
            quiet.extend(group);
        } else {
            singles.push(group);
        }
    }
    let hour_ago = at.plus_micros(-HOUR);
    let recent: BTreeSet<&str> = before
        .iter()
        .filter(|fired| fired.at > hour_ago)
        .filter_map(|fired| fired.told.as_deref())
        .filter(|told| digest_at(told).is_none())
        .collect();
    let mut told = 0;
    let mut fired: Vec<Alert> = quiet;
    if recent.len() + singles.len() <= MOST {
        for mut group in singles {
            // The thresholds of a group were found in ascending order.
            let Some(highest) = group.last() else { continue };
            let kind = kind_of(highest);
            let key = format!("{kind}/{}", highest.id);
            let also: Vec<String> = group.iter().rev().skip(1).map(|one| one.id.clone()).collect();
            let mut shown = highest.clone();
            shown.told = Some(key.clone());
            writes.push(Write::Queue {
                key: key.clone(),
                kind: kind.to_owned(),
                body: json!({"customer": customer, "alert": shown, "also": also}),
                at,
            });
            told += 1;
            for alert in &mut group {
                alert.told = Some(key.clone());
            }
            fired.extend(group);
        }
    } else {
        let mut flood: Vec<Alert> = singles.into_iter().flatten().collect();
        // One digest an hour; what comes in between waits for the next.
        if !before.iter().any(|fired| told_after(fired, hour_ago)) {
            let key = digest_key(customer, at);
            writes.push(digest(customer, &key, &flood.iter().collect::<Vec<_>>(), at));
            told += 1;
            for alert in &mut flood {
                alert.told = Some(key.clone());
            }
        }
        fired.extend(flood);
    }
    let count = fired.len() as u64;
    writes.push(Write::FireAlerts(fired));
    (count, told)
}

fn told_after(fired: &Fired, since: Timestamp) -> bool {
    fired.told.as_deref().and_then(digest_at).is_some_and(|at| at > since)
}

/// All alerts of a page as one write, before the effects that tell of them.
pub(super) fn in_order(writes: Vec<Write>) -> Vec<Write> {
    let (mut alerts, mut rest) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::FireAlerts(fired) => alerts.extend(fired),
            other => rest.push(other),
        }
    }
    rest.insert(0, Write::FireAlerts(alerts));
    rest
}

impl Engine {
    /// Queues digests of what waits for one, an hour after the one before.
    pub(super) async fn tell_held(&self, now: Timestamp) -> Result<u64, EngineError> {
        let mut of: BTreeMap<CustomerId, Vec<Alert>> = BTreeMap::new();
        for alert in self.store.untold_alerts(&self.tenant.id, now, HELD).await? {
            of.entry(alert.customer.clone()).or_default().push(alert);
        }
        if of.is_empty() {
            return Ok(0);
        }
        let customers: Vec<CustomerId> = of.keys().cloned().collect();
        let hour_ago = now.plus_micros(-HOUR);
        let since = hour_ago.plus_micros(-2 * counterfoil_types::timestamp::DAY_MICROS);
        let fired = self.store.fired_among(&self.tenant.id, &customers, since).await?;
        let recent: HashSet<&CustomerId> =
            fired.iter().filter(|one| told_after(one, hour_ago)).map(|one| &one.customer).collect();
        let mut told = 0;
        for (customer, alerts) in &of {
            if recent.contains(customer) {
                continue;
            }
            let key = digest_key(customer, now);
            let ids = alerts.iter().map(|alert| alert.id.clone()).collect();
            let writes = vec![
                Write::TellAlerts { alerts: ids, effect: key.clone() },
                digest(customer, &key, &alerts.iter().collect::<Vec<_>>(), now),
            ];
            match self.commit(&Commit { writes, ..Commit::default() }).await {
                Ok(()) => told += 1,
                // Somebody else told of them meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(told)
    }
}
