//! The jobs there are, when each of them runs, and how.

use std::sync::Arc;

use counterfoil_types::{Quantity, Zone, timestamp::DAY_MICROS};

use super::{Job, Schedule, check, close, upkeep};
use crate::{EngineError, run::RunOptions};

/// Bounds inside which the scheduler signs an invoice run off by itself. Totals are compared in
/// each currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoApprove {
    /// Greatest sum of all invoices of the run.
    pub max_total: Quantity,
    /// Greatest single invoice; no bound of its own when absent.
    pub max_invoice: Option<Quantity>,
    /// Greatest factor over the sum of the same subscriptions' invoices before.
    pub max_growth: Option<Quantity>,
    /// Most accounts that may be parked in it.
    pub max_parked: u64,
}

/// How jobs are run. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// How long a job stays a worker's without a sign of life.
    pub ttl_micros: i64,
    /// After so many failures a run is parked.
    pub tries: u32,
    /// After so many failures an item is parked.
    pub item_tries: u32,
    /// The clock going forward by more than this between two looks pauses what closes.
    pub jump_limit_micros: i64,
    /// How invoices are made.
    pub run: RunOptions,
    /// When a run is signed off without anybody; `None`: never.
    pub auto_approve: Option<AutoApprove>,
    /// How often finance is reminded of a run that waits.
    pub remind_micros: i64,
    /// How long an expired grant waits for the invoice that could still use it.
    pub grant_wait_micros: i64,
    /// Age at which the content of events is archived; `None`: it is not.
    pub archive_after_micros: Option<i64>,
    /// How long runs of jobs that were done are kept.
    pub history_micros: i64,
    /// How long the answers of requests are kept.
    pub requests_micros: i64,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            ttl_micros: 30_000_000,
            tries: 8,
            item_tries: 5,
            jump_limit_micros: 35 * DAY_MICROS,
            run: RunOptions::default(),
            auto_approve: None,
            remind_micros: DAY_MICROS,
            grant_wait_micros: 3 * DAY_MICROS,
            archive_after_micros: None,
            history_micros: 90 * DAY_MICROS,
            requests_micros: 7 * DAY_MICROS,
        }
    }
}

/// A job and when it runs.
#[derive(Clone)]
pub struct Entry {
    /// The job.
    pub job: Arc<dyn Job>,
    /// When.
    pub schedule: Schedule,
    /// Whether it runs by itself.
    pub enabled: bool,
}

/// All jobs.
#[derive(Clone)]
pub struct Timetable {
    /// How they are run.
    pub settings: JobSettings,
    zone: Zone,
    entries: Vec<Entry>,
}

impl Timetable {
    /// Without any job; schedules are in `zone` unless they name another.
    #[must_use]
    pub fn empty(settings: JobSettings, zone: Zone) -> Self {
        Self { settings, zone, entries: Vec::new() }
    }

    /// With the jobs of the engine.
    ///
    /// # Errors
    /// When a schedule is none.
    pub fn standard(settings: JobSettings, zone: Zone) -> Result<Self, EngineError> {
        let mut table = Self::empty(settings.clone(), zone);
        let settings = Arc::new(settings);
        let jobs: [Arc<dyn Job>; 12] = [
            Arc::new(close::InvoiceRun(settings.clone())),
            Arc::new(close::FinalizeRuns(settings.clone())),
            Arc::new(close::RemindOfRuns(settings.clone())),
            Arc::new(upkeep::RollUp),
            Arc::new(upkeep::EvaluateAlerts),
            Arc::new(upkeep::ResetQuotas),
            Arc::new(upkeep::RenewGrants(settings.clone())),
            Arc::new(upkeep::Dunning),
            Arc::new(upkeep::CleanUp(settings.clone())),
            Arc::new(upkeep::Forget(settings.clone())),
            Arc::new(check::Health),
            Arc::new(check::Integrity),
        ];
        for job in jobs {
            table.add(job)?;
        }
        Ok(table)
    }

    /// Adds a job, on the schedule it comes with.
    ///
    /// # Errors
    /// When there is one of this name, or its schedule is none.
    pub fn add(&mut self, job: Arc<dyn Job>) -> Result<(), EngineError> {
        if self.get(job.name()).is_some() {
            return Err(EngineError::refused(format!("there are two jobs {:?}", job.name())));
        }
        let schedule = Schedule::new(job.cron(), self.zone.clone())?;
        self.entries.push(Entry { job, schedule, enabled: true });
        Ok(())
    }

    /// Changes when a job runs, or whether it does.
    ///
    /// # Errors
    /// When there is no such job, or the schedule is none.
    pub fn adjust(
        &mut self,
        name: &str,
        cron: Option<&str>,
        zone: Option<Zone>,
        enabled: Option<bool>,
    ) -> Result<(), EngineError> {
        let known: Vec<&str> = self.entries.iter().map(|entry| entry.job.name()).collect();
        let hint = format!("; there are {}", known.join(", "));
        let entry = self.entries.iter_mut().find(|entry| entry.job.name() == name);
        let entry = entry.ok_or_else(|| EngineError::not_found("job", name, &hint))?;
        if cron.is_some() || zone.is_some() {
            let cron = cron.unwrap_or(entry.schedule.pattern());
            let zone = zone.unwrap_or_else(|| entry.schedule.zone().clone());
            entry.schedule = Schedule::new(cron, zone)?;
        }
        entry.enabled = enabled.unwrap_or(entry.enabled);
        Ok(())
    }

    /// All of them.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.job.name() == name)
    }

    /// One that must exist.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn named(&self, name: &str) -> Result<&Entry, EngineError> {
        self.get(name)
            .ok_or_else(|| EngineError::not_found("job", name, "; see `counterfoil jobs list`"))
    }
}
