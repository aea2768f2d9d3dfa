//! `alert`: rules, what fired, and evaluating now.

use counterfoil_engine::{Engine, alerts::Sweep};
use counterfoil_store::{AlertFilter, AlertState};

use super::Verdict;
use crate::{args, error::CliError, output::Out};

/// Who moves alerts here.
const BY: &str = "cli";

pub(super) async fn run(
    engine: &Engine,
    command: args::Alert,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Alert::Rules { set: Some(text), .. } => {
            let rule: counterfoil_alerting::Rule = serde_json::from_str(&text)
                .map_err(|error| CliError::asked(format!("the rule: {error}")))?;
            engine.put_alert_rule(&rule).await?;
            out.value(&rule)?;
            out.line(format_args!("rule {} holds now", rule.id))?;
        }
        args::Alert::Rules { remove: Some(id), .. } => {
            engine.alert_rule(&id).await?;
            engine.remove_alert_rule(&id).await?;
            out.line(format_args!("rule {id} is removed; a default of this id holds again"))?;
        }
        args::Alert::Rules { .. } => {
            let rules = engine.alert_rules().await?;
            out.value(&rules)?;
            let rows = rules.iter().map(|rule| {
                let whom = match (&rule.customer, &rule.plan) {
                    (Some(customer), _) => format!("customer {customer}"),
                    (None, Some(plan)) => format!("plan {plan}"),
                    (None, None) => "everybody".to_owned(),
                };
                vec![
                    rule.id.clone(),
                    rule.watch.kind().to_owned(),
                    rule.meter.as_ref().map(ToString::to_string).unwrap_or_default(),
                    whom,
                    rule.replaces.clone().unwrap_or_default(),
                    if rule.enabled { "on" } else { "off" }.to_owned(),
                ]
            });
            let head = ["rule", "watches", "meter", "for", "replaces", "is"];
            out.table(&head, rows.collect(), &[])?;
        }
        args::Alert::List { customer, state, limit } => {
            let parse = |state: String| {
                AlertState::parse(&state).ok_or_else(|| {
                    CliError::asked(format!(
                        "an alert is open, acknowledged, snoozed or resolved, not {state:?}"
                    ))
                })
            };
            let state = state.map(parse).transpose()?;
            let filter = AlertFilter { customer, state, rule: None };
            let tenant = &engine.tenant().id;
            let found = engine.store().alerts(tenant, &filter, None, limit).await?;
            out.value(&found)?;
            let rows = found.iter().map(|alert| {
                vec![
                    alert.id.clone(),
                    alert.at.to_string(),
                    alert.customer.to_string(),
                    alert.severity.as_str().to_owned(),
                    alert.state.as_str().to_owned(),
                    alert.explanation.clone(),
                ]
            });
            let head = ["alert", "fired", "customer", "severity", "state", "why"];
            out.table(&head, rows.collect(), &[])?;
        }
        args::Alert::Ack { id } => {
            let alert = engine.move_alert(&id, AlertState::Acknowledged, None, BY).await?;
            out.value(&alert)?;
            out.line(format_args!("{id} is acknowledged"))?;
        }
        args::Alert::Snooze { id, until } => {
            let alert = engine.move_alert(&id, AlertState::Snoozed, Some(until), BY).await?;
            out.value(&alert)?;
            out.line(format_args!("{id} is snoozed until {until}"))?;
        }
        args::Alert::Evaluate { all } => {
            engine.project_all().await?;
            let sweep = if all { Sweep::All } else { Sweep::Due };
            let report = engine.evaluate_alerts(sweep).await?;
            out.value(&report)?;
            out.line(format_args!(
                "{} customers looked at, {} alerts fired, {} effects tell of them, {} failed",
                report.customers, report.fired, report.told, report.failed
            ))?;
            return Ok(Verdict::unless(report.failed > 0));
        }
    }
    Ok(Verdict::Done)
}
