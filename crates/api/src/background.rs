//! What goes on beside requests: projecting what was appended, and watching the service's health.

use std::time::Duration;

use counterfoil_engine::share::Sharing;
use counterfoil_store::{Commit, Write};
use counterfoil_types::{Timestamp, timestamp::DAY_MICROS};
use serde_json::json;

use crate::{
    health::{State, Turn},
    service::Shared,
};

/// Longest pause between two looks at the ledger: other processes append as well.
const PAUSE: Duration = Duration::from_millis(500);
/// How long events are gathered before they are projected.
const GATHER: Duration = Duration::from_millis(250);
/// Days that answers of requests are kept.
const KEPT_DAYS: i64 = 7;
/// Pause after something failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// Projects for ever.
pub async fn project(shared: Shared) {
    let mut bytes = [0_u8; 8];
    shared.random.fill(&mut bytes);
    let holder = format!("serve/{:016x}", u64::from_be_bytes(bytes));
    loop {
        let appended = shared.appended.notified();
        let mut failed = false;
        for engine in shared.engines().await {
            // Processes on one database share the lanes.
            match engine.project_some(&holder, &Sharing::default()).await {
                Ok(done) => {
                    shared.metrics.projected(done.rows);
                    if done.rows > 0 {
                        alert(&engine).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "projecting stopped; it goes on shortly");
                    failed = true;
                }
            }
        }
        if failed {
            tokio::time::sleep(AFTER_ERROR).await;
        } else {
            // What is appended in quick succession is projected together: readers fold the tail
            // meanwhile, and each turn on a lane costs commits that ingest would wait for.
            let _ = tokio::time::timeout(PAUSE, appended).await;
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// Evaluates alerts for those whose events were just projected; the scheduled evaluation makes up
/// for whatever is missed here.
async fn alert(engine: &counterfoil_engine::Engine) {
    match engine.alerts_after_projection().await {
        Ok(report) if report.fired > 0 => {
            tracing::info!(fired = report.fired, told = report.told, "alerts fired");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "alerts were not evaluated; they are shortly"),
    }
}

/// Writes down how far the ledgers reach, so that a restored older backup is noticed. Whatever is
/// lost of it is noticed that much later.
pub async fn anchor(shared: Shared, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        for engine in shared.engines().await {
            if let Err(error) = engine.take_anchor(false).await {
                tracing::warn!(%error, "the anchor was not moved on");
            }
        }
    }
}

/// Forgets, once an hour, what was kept so that requests may be repeated.
pub async fn forget(shared: Shared) {
    loop {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let before = shared.clock.now().plus_micros(-KEPT_DAYS * DAY_MICROS);
        for engine in shared.engines().await {
            let commit = Commit::of(Write::Forget { before });
            if let Err(error) = engine.commit(&commit).await {
                tracing::warn!(%error, "old requests were not forgotten");
            }
        }
    }
}

/// Looks at the health of the service every few seconds and tells of turns.
pub async fn watch(shared: Shared, every: Duration) {
    loop {
        look(&shared).await;
        tokio::time::sleep(every).await;
    }
}

/// One look: asks the store, and records a turn for the better or worse.
pub(crate) async fn look(shared: &Shared) {
    let asked =
        tokio::time::timeout(Duration::from_secs(3), shared.store.tenant(&shared.options.home));
    let error = match asked.await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it does not answer".to_owned()),
    };
    shared.monitor.store(error);
    let now = shared.clock.now();
    let (health, turn) = shared.monitor.look(now);
    let Some(turn) = turn else { return };
    tracing::warn!(from = ?turn.from, to = ?turn.to, issues = ?health.issues, "the service's health turned");
    if let Err(error) = tell(shared, &turn, now).await {
        tracing::warn!(%error, "a turn of health was not recorded");
    }
}

/// Records a turn: an effect to be delivered, and an incident that is opened, followed or closed.
async fn tell(
    shared: &Shared,
    turn: &Turn,
    at: Timestamp,
) -> Result<(), counterfoil_store::StoreError> {
    let tenant = &shared.options.home;
    shared.store.ensure_tenant(tenant, shared.options.lanes).await?;
    let kind = match turn.to {
        State::Healthy => "api.health.recovered",
        State::Degraded => "api.health.degraded",
        State::Unhealthy => "api.health.unhealthy",
    };
    let body = json!({"from": turn.from, "to": turn.to, "health": turn.health});
    let key = format!("{kind}/{}", at.micros());
    let mut commit = Commit::default().told(kind, key, at, body);
    let says = if turn.health.issues.is_empty() {
        "the service is healthy again".to_owned()
    } else {
        turn.health.issues.join("; ")
    };
    let incident = crate::routes::incidents::follow(shared, turn, &says, at).await?;
    if let Some((key, value)) = incident {
        commit.writes.push(Write::Set { key, value: Some(value) });
    }
    shared.store.commit(tenant, &commit).await
}
