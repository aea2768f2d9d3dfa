//! Projectors that share the lanes of a tenant: each takes lanes that are free, projects them chunk
//! by chunk, and gives up what it lost.
//!
//! A lane is worked on under a lease. Its token goes with every chunk, so a projector that slept
//! past its lease writes nothing when it wakes, even where nobody has moved the watermark since. A
//! turn on a lane is bounded: a lane with a long tail (one hot customer, say) holds up neither the
//! other lanes of this projector nor another projector that would take it next.
//!
//! Leases only save work. [`Engine::project_all`] needs none, and may run beside this: of two that
//! project the same step one is refused by the watermark.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use counterfoil_ledger::LaneId;
use counterfoil_store::{Lease, StoreError};

use crate::{Books, Engine, EngineError, project::Step};

/// How projectors share lanes.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// How long a lane stays a projector's without a sign of life, in microseconds. A lease is kept
    /// with each chunk, so a chunk must take less.
    pub ttl_micros: i64,
    /// Lanes projected at once.
    pub at_once: usize,
    /// Chunks projected in a lane before it is given back.
    pub chunks: u32,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { ttl_micros: 30_000_000, at_once: 2, chunks: 16 }
    }
}

/// What a projector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Ledger rows projected.
    pub rows: u64,
    /// Turns on lanes.
    pub turns: u64,
    /// Lanes with work that another projector was at.
    pub busy: u64,
    /// Turns that ended because the lane was lost.
    pub lost: u64,
}

impl Shared {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.turns += other.turns;
        self.busy += other.busy;
        self.lost += other.lost;
    }
}

impl Engine {
    /// Projects whatever lanes are free until there is nothing left to do but what other projectors
    /// are at. `holder` is this projector's name; no two may have the same.
    ///
    /// # Errors
    /// As the store has them; what was projected stays projected, and the leases run out.
    pub async fn project_some(
        &self,
        holder: &str,
        sharing: &Sharing,
    ) -> Result<Shared, EngineError> {
        let books = Arc::new(self.books().await?);
        let mut total = Shared::default();
        loop {
            let mut waiting = self.lanes_behind(&books).await?;
            // Each begins elsewhere, so that they seldom ask for the same lane.
            let mut hasher = DefaultHasher::new();
            holder.hash(&mut hasher);
            let count = u64::try_from(waiting.len()).unwrap_or(u64::MAX).max(1);
            waiting.rotate_left(usize::try_from(hasher.finish() % count).unwrap_or(0));
            let mut waiting = waiting.into_iter();
            let mut round = Shared::default();
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                while tasks.len() < sharing.at_once.max(1)
                    && let Some(lane) = waiting.next()
                {
                    let (engine, books) = (self.clone(), books.clone());
                    let (holder, sharing) = (holder.to_owned(), *sharing);
                    tasks.spawn(async move { engine.turn(&books, lane, &holder, &sharing).await });
                }
                let Some(done) = tasks.join_next().await else { break };
                round.add(done.map_err(|error| {
                    EngineError::refused(format!("a projector stopped: {error}"))
                })??);
            }
            total.rows += round.rows;
            total.turns += round.turns;
            total.lost += round.lost;
            if round.rows == 0 {
                total.busy = round.busy;
                return Ok(total);
            }
        }
    }

    /// Lanes whose aggregates lag behind their head.
    async fn lanes_behind(&self, books: &Books) -> Result<Vec<LaneId>, EngineError> {
        let mut behind = Vec::new();
        for head in self.store.heads(&self.tenant).await? {
            if self.next_step(books, head.lane, head.position).await?.is_some() {
                behind.push(head.lane);
            }
        }
        Ok(behind)
    }

    /// One turn on a lane, if it is free.
    async fn turn(
        &self,
        books: &Books,
        lane: LaneId,
        holder: &str,
        sharing: &Sharing,
    ) -> Result<Shared, EngineError> {
        let (name, ttl) = (format!("project/{lane}"), sharing.ttl_micros);
        // Not the tenant's own clock, which may stand still: leases are between machines.
        let Some(lease) = self.store.acquire(&name, holder, self.clock.now(), ttl).await? else {
            return Ok(Shared { busy: 1, ..Shared::default() });
        };
        let mut done = Shared { turns: 1, ..Shared::default() };
        match self.project_under(books, lane, &lease, sharing).await {
            Ok(rows) => {
                done.rows = rows;
                self.store.release(&lease).await?;
            }
            Err((rows, EngineError::Store(StoreError::LeaseLost(_)))) => {
                done.rows = rows;
                done.lost = 1;
            }
            // Somebody who lost the lane hangs inside a write; the server ends that in time.
            Err((rows, EngineError::Store(StoreError::Locked(_)))) => {
                done.rows = rows;
                done.busy = 1;
                self.store.release(&lease).await?;
            }
            Err((_, error)) => return Err(error),
        }
        Ok(done)
    }

    /// Projects a few chunks of a lane under a lease. An error says how many rows came before it.
    async fn project_under(
        &self,
        books: &Books,
        lane: LaneId,
        lease: &Lease,
        sharing: &Sharing,
    ) -> Result<u64, (u64, EngineError)> {
        let mut rows = 0;
        for chunk in 0..sharing.chunks.max(1) {
            let outcome = async {
                if chunk > 0 {
                    self.store.renew(lease, self.clock.now(), sharing.ttl_micros).await?;
                }
                let head = self.head_of(lane).await?;
                let Some(Step { keys, from, upto }) = self.next_step(books, lane, head).await?
                else {
                    return Ok(None);
                };
                let fence = Some(lease.fence());
                match self.project_chunk(books, lane, &keys, (from, upto), fence).await {
                    Ok(rows) => Ok(Some(rows)),
                    // A projector without a lease was faster; look again where things stand.
                    Err(EngineError::Store(StoreError::Conflict { .. })) => Ok(Some(0)),
                    Err(error) => Err(error),
                }
            };
            match outcome.await {
                Ok(Some(more)) => rows += more,
                Ok(None) => break,
                Err(error) => return Err((rows, error)),
            }
        }
        Ok(rows)
    }
}
