//! The `[jobs]` section of the configuration file, and the timetable made of it.

use std::collections::BTreeMap;

use counterfoil_engine::jobs::{AutoApprove, JobSettings, Timetable};
use counterfoil_types::{Quantity, Zone, timestamp::DAY_MICROS};
use serde::Deserialize;

use super::Config;
use crate::error::CliError;

/// What the file may say about jobs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobsConfig {
    /// Whether `serve` works on jobs, too; true when absent.
    pub(crate) enabled: Option<bool>,
    /// Zone of schedules that name none; UTC when absent.
    zone: Option<Zone>,
    /// Jobs done at once.
    pub(crate) at_once: Option<usize>,
    /// Seconds a job stays a worker's without a sign of life.
    lease: Option<u32>,
    /// Failures after which a run is parked.
    tries: Option<u32>,
    /// Failures after which a part of a job's work is parked.
    item_tries: Option<u32>,
    /// Days the clock may go forward between two looks before what closes rests.
    jump_limit_days: Option<u32>,
    /// Minutes a month that is over waits for stragglers.
    grace_minutes: Option<u32>,
    /// Hours between two reminders of a run that waits.
    remind_hours: Option<u32>,
    /// Days an expired grant waits for the invoice that could still use it.
    grant_wait_days: Option<u32>,
    /// Days that runs of jobs are kept.
    history_days: Option<u32>,
    /// When invoice runs are signed off without anybody.
    auto_approve: Option<AutoApproveConfig>,
    /// Single jobs.
    #[serde(default)]
    schedule: BTreeMap<String, ScheduleConfig>,
}

/// Bounds of an auto-approval.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoApproveConfig {
    /// Greatest sum of all invoices.
    max_total: Quantity,
    /// Greatest single invoice.
    max_invoice: Option<Quantity>,
    /// Greatest factor over the invoices before.
    max_growth: Option<Quantity>,
    /// Most accounts that may be parked.
    #[serde(default)]
    max_parked: u64,
}

/// One job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleConfig {
    /// When: minute, hour, day of the month, month, day of the week.
    cron: Option<String>,
    /// In this zone.
    zone: Option<Zone>,
    /// Whether it runs by itself.
    enabled: Option<bool>,
}

impl Config {
    /// The jobs there are, as configured.
    pub(crate) fn timetable(&self) -> Result<Timetable, CliError> {
        let (file, usual) = (&self.jobs, JobSettings::default());
        let times = |count: Option<u32>, unit: i64, usual: i64| {
            count.map_or(usual, |count| i64::from(count).saturating_mul(unit))
        };
        let (second, minute) = (1_000_000, 60_000_000);
        let mut run = self.run_options();
        run.grace_micros = times(file.grace_minutes, minute, run.grace_micros);
        let settings = JobSettings {
            ttl_micros: times(file.lease, second, usual.ttl_micros).max(second),
            tries: file.tries.unwrap_or(usual.tries).max(1),
            item_tries: file.item_tries.unwrap_or(usual.item_tries).max(1),
            jump_limit_micros: times(file.jump_limit_days, DAY_MICROS, usual.jump_limit_micros),
            run,
            auto_approve: file.auto_approve.as_ref().map(|bounds| AutoApprove {
                max_total: bounds.max_total,
                max_invoice: bounds.max_invoice,
                max_growth: bounds.max_growth,
                max_parked: bounds.max_parked,
            }),
            remind_micros: times(file.remind_hours, 60 * minute, usual.remind_micros).max(minute),
            grant_wait_micros: times(file.grant_wait_days, DAY_MICROS, usual.grant_wait_micros),
            archive_after_micros: self
                .retention
                .filter(|_| self.archives_named)
                .map(|days| i64::from(days.0).saturating_mul(DAY_MICROS)),
            history_micros: times(file.history_days, DAY_MICROS, usual.history_micros),
            ..usual
        };
        let zone = file.zone.clone().unwrap_or_else(Zone::utc);
        let mut table = Timetable::standard(settings, zone)?;
        // Jobs from outside of the engine are added here (`counterfoil_engine::jobs::job`).
        if let Some(client) = self.stripe.client()? {
            for job in crate::commands::stripe::jobs(client) {
                table.add(job)?;
            }
        }
        for (name, job) in &file.schedule {
            table
                .adjust(name, job.cron.as_deref(), job.zone.clone(), job.enabled)
                .map_err(|error| CliError::asked(format!("jobs.schedule.{name}: {error}")))?;
        }
        Ok(table)
    }
}
