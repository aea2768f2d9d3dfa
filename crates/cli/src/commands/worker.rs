//! `worker`: works on jobs and delivers the outbox until it is told to stop; also for `serve`.
//!
//! A heartbeat in memory asks every second what is due. It is only that: what is due stands in the
//! store, so a beat that is late, missed or doubled changes nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use counterfoil_engine::{
    Engine,
    jobs::{Scheduler, Timetable},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_cron_scheduler::{Job, JobScheduler};

use super::{Verdict, serve::stopped};
use crate::{args, config::Config, error::CliError, output::Out};

/// Pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// How long work that is under way may take once it is time to stop; then it is cut off.
const DRAIN: Duration = Duration::from_secs(20);
/// How long giving back leases may take after that.
const GIVE_BACK: Duration = Duration::from_secs(4);
/// Jobs done at once.
const AT_ONCE: usize = 4;

/// A name for this process.
pub(crate) fn name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", machine.trim(), std::process::id())
}

/// A heartbeat: wakes whoever listens.
struct Heart {
    scheduler: JobScheduler,
    beat: Arc<Notify>,
}

fn broken(error: impl std::fmt::Display) -> CliError {
    CliError::asked(format!("the heartbeat does not start: {error}"))
}

impl Heart {
    async fn start() -> Result<Self, CliError> {
        let scheduler = JobScheduler::new().await.map_err(broken)?;
        let beat = Arc::new(Notify::new());
        let woken = Arc::clone(&beat);
        let job = Job::new_repeated_async(BEAT, move |_, _| {
            let woken = Arc::clone(&woken);
            Box::pin(async move { woken.notify_one() })
        });
        scheduler.add(job.map_err(broken)?).await.map_err(broken)?;
        scheduler.start().await.map_err(broken)?;
        Ok(Self { scheduler, beat })
    }

    /// The next beat; one that fails to come is made up for.
    async fn wait(&self) {
        let _ = tokio::time::timeout(2 * BEAT, self.beat.notified()).await;
    }

    async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the heartbeat did not stop tidily");
        }
    }
}

/// What came of working, for the last words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Runs that were done.
    pub(crate) runs: u64,
    /// Runs that were parked.
    pub(crate) parked: u64,
}

/// Works on jobs until `stop`, then brings to an end what is under way.
pub(crate) async fn work(
    engine: Engine,
    table: Arc<Timetable>,
    config: &Config,
    holder: String,
    stop: impl Future<Output = ()>,
) -> Result<Done, CliError> {
    let (switch, cut) = watch::channel(false);
    let mut scheduler = Scheduler::new(engine, table, holder, cut);
    let at_once = config.jobs.at_once.unwrap_or(AT_ONCE).max(1);
    let total = Arc::new(Mutex::new(Done::default()));
    let heart = Heart::start().await?;
    let mut tasks = JoinSet::new();
    tokio::pin!(stop);
    loop {
        while tasks.try_join_next().is_some() {}
        if config.test_mode {
            // Test clocks may have moved.
            match scheduler.engine().clone().with_test_clocks().await {
                Ok(engine) => scheduler = scheduler.with_engine(engine),
                Err(error) => tracing::warn!(%error, "test clocks were not read"),
            }
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = beat(&scheduler, at_once, &mut tasks, &total) => {}
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = heart.wait() => {}
        }
    }
    heart.stop().await;
    let all_done = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all_done).await.is_err() {
        tracing::warn!("jobs are cut off where they stand; another worker goes on");
        // Nobody listens where all have ended by now.
        let _ = switch.send(true);
        let all_cut = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GIVE_BACK, all_cut).await.is_err() {
            tracing::warn!("leases were not given back; they run out");
        }
    }
    let done = *total.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(done)
}

/// Begins what is due and not under way in this process.
async fn beat(
    scheduler: &Scheduler,
    at_once: usize,
    tasks: &mut JoinSet<()>,
    total: &Arc<Mutex<Done>>,
) {
    let now = scheduler.engine().now();
    let due = match scheduler.due(now).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "what is due is not known; the next beat asks again");
            return;
        }
    };
    for run in due {
        if tasks.len() >= at_once {
            return;
        }
        let Some(taken) = scheduler.take(&run.job) else { continue };
        let (scheduler, total) = (scheduler.clone(), Arc::clone(total));
        tasks.spawn(async move {
            let worked = scheduler.work_on(&run, now).await;
            drop(taken);
            use counterfoil_engine::jobs::work::Worked;
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match worked {
                Ok(Worked::Done(says)) => {
                    total.runs += 1;
                    tracing::info!(job = run.job, says, "done");
                }
                Ok(Worked::Parked(_)) => total.parked += 1,
                Ok(other) => tracing::debug!(job = run.job, ?other, "not done"),
                Err(error) => tracing::warn!(job = run.job, %error, "a run was interrupted"),
            }
        });
    }
}

/// Does all that is due now.
async fn once(
    engine: &Engine,
    table: Arc<Timetable>,
    holder: String,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let (_switch, cut) = watch::channel(false);
    let scheduler = Scheduler::new(engine.clone(), table, holder, cut);
    let ran = scheduler.run_due(engine.now()).await?;
    let mut kinds: HashMap<&str, &Vec<(String, String)>> = HashMap::new();
    kinds.insert("done", &ran.done);
    kinds.insert("later", &ran.again);
    kinds.insert("parked", &ran.parked);
    out.value(&serde_json::json!({
        "done": ran.done, "later": ran.again, "parked": ran.parked,
        "busy": ran.busy, "lost": ran.lost,
    }))?;
    let mut rows = Vec::new();
    for kind in ["done", "later", "parked"] {
        for (job, says) in kinds.get(kind).into_iter().flat_map(|list| list.iter()) {
            rows.push(vec![job.clone(), kind.to_owned(), says.clone()]);
        }
    }
    out.table(&["job", "", "what it said"], rows, &[])?;
    Ok(Verdict::unless(!ran.parked.is_empty()))
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    worker: &args::Worker,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let table = Arc::new(config.timetable()?);
    let holder = worker.holder.clone().unwrap_or_else(name);
    if worker.once {
        return once(engine, table, holder, out).await;
    }
    // Asked for before anything is said, so that whoever waits for our words may stop us.
    let stop = stopped()?;
    let relay = super::deliver::relay(config, engine, Some(holder.clone()))?;
    let (stop_relay, told) = tokio::sync::oneshot::channel::<()>();
    let relaying = tokio::spawn(counterfoil_delivery::run(relay, BEAT, async {
        // Dropped or sent: it is time to stop.
        let _ = told.await;
    }));
    out.line(format_args!("worker {holder}: {} jobs", table.entries().len()))?;
    out.flush()?;
    let done = work(engine.clone(), table, config, holder, stop).await?;
    drop(stop_relay);
    // What is on its way is sent again under its id by the next relay.
    if tokio::time::timeout(GIVE_BACK, relaying).await.is_err() {
        tracing::warn!("deliveries were cut off; they are sent again");
    }
    out.line(format_args!("stopped: {} runs done, {} parked", done.runs, done.parked))?;
    Ok(Verdict::Done)
}
