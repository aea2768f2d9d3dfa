//! The relay: spreads effects over targets, claims what is due, sends, records, tries again.
//!
//! Any number of relays work on one store. A relay that dies leaves claims that end by their time;
//! another sends again. Each target has its own pace: a slow one holds nobody else up, and one that
//! fails is tried with one delivery at a time until it takes something.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use counterfoil_store::{
    Attempt, AttemptOutcome, Commit, Delivery, Next, Route, Store, StoreError, stripe,
};
use counterfoil_types::{Clock, Random, TenantId, Timestamp, timestamp::DAY_MICROS};
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::json;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{
    endpoint::{self, Endpoint},
    mail, retry,
    sender::{Parcel, Sender, Sent, Verdict},
};

/// The target that is mail.
pub const MAIL: &str = "mail";
/// Effects that are spread in one transaction.
const PAGE: u32 = 200;
/// Deliveries of one target in one go, before others are looked at again.
const ROUNDS: usize = 200;
/// An endpoint that took nothing for so long is switched off.
const PATIENCE: i64 = 5 * DAY_MICROS;
/// Claims beyond the limit of attempts that may end without an outcome.
const UNSEEN: u32 = 5;
/// Longest error that is kept.
const LONGEST: usize = 500;

/// What can stop a relay.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Its name; no two at once may have the same.
    pub holder: String,
    /// Deliveries on their way to one target at once.
    pub concurrency: u32,
    /// Attempts after which a delivery is parked.
    pub limit: u32,
    /// How long a claim lasts, in microseconds; longer than any attempt.
    pub ttl_micros: i64,
}

impl RelayOptions {
    /// The usual ones.
    #[must_use]
    pub fn of(holder: impl Into<String>) -> Self {
        Self { holder: holder.into(), concurrency: 8, limit: retry::LIMIT, ttl_micros: 120_000_000 }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Effects whose deliveries were made.
    pub spread: u64,
    /// Deliveries that were taken, or had nobody to go to.
    pub delivered: u64,
    /// Deliveries that will be tried again.
    pub retried: u64,
    /// Deliveries that were given up.
    pub parked: u64,
    /// Attempts that another relay had taken over meanwhile.
    pub lost: u64,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.spread += other.spread;
        self.delivered += other.delivered;
        self.retried += other.retried;
        self.parked += other.parked;
        self.lost += other.lost;
    }
}

/// A relay of one tenant.
#[derive(Clone)]
pub struct Relay {
    store: Arc<dyn Store>,
    tenant: TenantId,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: RelayOptions,
    web: Arc<dyn Sender>,
    mail: Option<Arc<dyn Sender>>,
    others: Vec<(String, Arc<dyn Sender>)>,
}

impl Relay {
    /// A relay; without `mail`, no effect is given to mail.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        tenant: TenantId,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: RelayOptions,
        senders: (Arc<dyn Sender>, Option<Arc<dyn Sender>>),
    ) -> Self {
        let (web, mail) = senders;
        Self { store, tenant, clock, random, options, web, mail, others: Vec::new() }
    }

    /// The same with another target, to which goes what its sender wants.
    #[must_use]
    pub fn and_to(mut self, target: impl Into<String>, sender: Arc<dyn Sender>) -> Self {
        self.others.push((target.into(), sender));
        self
    }

    /// Delivers all that is due.
    ///
    /// # Errors
    /// As the store has them; repeating goes on.
    pub async fn deliver_due(&self) -> Result<Report, RelayError> {
        let (mut report, targets) = self.spread().await?;
        for done in join_all(targets.iter().map(|target| self.drain(target))).await {
            report.add(done?);
        }
        Ok(report)
    }

    /// Makes the deliveries of what was caused since. Also says which targets there are.
    async fn spread(&self) -> Result<(Report, Vec<String>), RelayError> {
        let endpoints = endpoint::list(self.store.as_ref(), &self.tenant).await?;
        let enabled: Vec<Endpoint> =
            endpoints.into_iter().filter(|endpoint| endpoint.enabled).collect();
        let mut report = Report::default();
        loop {
            let page = self.store.unspread(&self.tenant, PAGE).await?;
            if page.is_empty() {
                break;
            }
            let routes: Vec<Route> = page
                .iter()
                .map(|effect| Route {
                    key: effect.key.clone(),
                    aggregate: aggregate(&effect.kind, &effect.body),
                    targets: enabled
                        .iter()
                        // Usage on its way to Stripe is no event for anybody else.
                        .filter(|endpoint| {
                            effect.kind != stripe::USAGE && endpoint.wants(&effect.kind)
                        })
                        .map(Endpoint::target)
                        .chain(self.mails(&effect.kind).then(|| MAIL.to_owned()))
                        .chain(
                            self.others
                                .iter()
                                .filter(|(_, sender)| sender.wants(&effect.kind))
                                .map(|(target, _)| target.clone()),
                        )
                        .collect(),
                })
                .collect();
            self.store.spread(&self.tenant, &routes, self.clock.now()).await?;
            report.spread += routes.len() as u64;
        }
        let mut targets: Vec<String> = enabled.iter().map(Endpoint::target).collect();
        targets.extend(self.mail.is_some().then(|| MAIL.to_owned()));
        targets.extend(self.others.iter().map(|(target, _)| target.clone()));
        Ok((report, targets))
    }

    fn mails(&self, kind: &str) -> bool {
        self.mail.is_some() && mail::is_mailed(kind)
    }

    /// Delivers what is due to one target.
    async fn drain(&self, target: &str) -> Result<Report, RelayError> {
        let mut report = Report::default();
        let failing = self.store.failing_since(&self.tenant, target).await?.is_some();
        // One that fails is asked with one delivery before it is given many.
        let mut limit = if failing { 1 } else { self.options.concurrency };
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            let page = self
                .store
                .claim_due(
                    &self.tenant,
                    target,
                    &self.options.holder,
                    now,
                    self.options.ttl_micros,
                    limit,
                )
                .await?;
            if page.is_empty() {
                break;
            }
            let done = self.send_page(target, page).await?;
            report.add(done);
            if done.delivered == 0 {
                // It takes nothing now; what waited its time is tried with the next look.
                if target != MAIL {
                    self.give_up(target).await?;
                }
                break;
            }
            limit = self.options.concurrency;
        }
        Ok(report)
    }

    async fn send_page(&self, target: &str, page: Vec<Delivery>) -> Result<Report, RelayError> {
        let size = page.len().max(1);
        let (to, mut done) = mpsc::channel(size);
        // Both go on at once: a sender that waits for a connection of the store must be able to
        // take it while what is done is written down, or each would wait for the other.
        let sending = async move {
            let to = &to;
            stream::iter(page)
                .for_each_concurrent(size, |delivery| async move {
                    // There is room for all of the page.
                    let _ = to.send(self.attempt(target, delivery).await).await;
                })
                .await;
        };
        let recording = async {
            let mut report = Report::default();
            let mut some = Vec::with_capacity(size);
            // What is done is written down with what is done at the same time, and waits for
            // nothing slower.
            while done.recv_many(&mut some, size).await > 0 {
                report.add(self.record(target, &some).await?);
                some.clear();
            }
            Ok(report)
        };
        let ((), report) = tokio::join!(sending, recording);
        report
    }

    async fn record(&self, target: &str, done: &[(Attempt, Next)]) -> Result<Report, RelayError> {
        let mut report = Report::default();
        let recorded = self.store.record_attempts(&self.tenant, done).await?;
        for ((attempt, next), recorded) in done.iter().zip(recorded) {
            let count = match next {
                _ if !recorded => &mut report.lost,
                Next::Done => &mut report.delivered,
                Next::RetryAt(_) => &mut report.retried,
                Next::Park(_) => &mut report.parked,
            };
            *count += 1;
            if let Some(error) = &attempt.error {
                tracing::info!(
                    key = attempt.key,
                    target,
                    outcome = attempt.outcome.as_str(),
                    error,
                    "an effect was not delivered"
                );
            }
        }
        Ok(report)
    }

    async fn attempt(&self, target: &str, delivery: Delivery) -> (Attempt, Next) {
        let began = self.clock.now();
        let (token, tries) = (delivery.token, delivery.tries);
        let key = delivery.effect.key.clone();
        let parcel = Parcel {
            tenant: self.tenant.clone(),
            target: target.to_owned(),
            effect: delivery.effect,
            now: began,
        };
        let other = self.others.iter().find(|(name, _)| name == target);
        let sender = match (&self.mail, other) {
            (_, Some((_, sender))) => sender,
            (Some(mail), _) if target == MAIL => mail,
            _ => &self.web,
        };
        let sent = if tries > self.options.limit.saturating_add(UNSEEN) {
            let why = "claimed again and again without an outcome: it may bring relays down";
            Sent::of(Verdict::Never(why.to_owned()))
        } else {
            sender.send(&parcel).await
        };
        let ended = self.clock.now();
        let gone = matches!(sent.verdict, Verdict::Gone(_));
        let code = sent.code;
        let (outcome, error, next) = self.decide(sent, tries, ended);
        if gone && let Err(error) = self.disable(target, "it answered 410 Gone", ended).await {
            tracing::warn!(%error, target, "an endpoint that is gone was not switched off");
        }
        let attempt = Attempt {
            target: target.to_owned(),
            key,
            token,
            at: began,
            outcome,
            code,
            error,
            micros: u64::try_from(ended.micros().saturating_sub(began.micros())).unwrap_or(0),
        };
        (attempt, next)
    }

    /// What becomes of a delivery.
    fn decide(
        &self,
        sent: Sent,
        tries: u32,
        now: Timestamp,
    ) -> (AttemptOutcome, Option<String>, Next) {
        let asked = sent.after.map_or(0, |after| i64::try_from(after.as_micros()).unwrap_or(0));
        let (outcome, why) = match sent.verdict {
            Verdict::Delivered => return (AttemptOutcome::Delivered, None, Next::Done),
            Verdict::Skipped(why) => {
                return (AttemptOutcome::Skipped, Some(cleaned(&why)), Next::Done);
            }
            Verdict::Never(why) | Verdict::Gone(why) => {
                let why = cleaned(&why);
                return (AttemptOutcome::Refused, Some(why.clone()), Next::Park(why));
            }
            Verdict::Refused(why) => (AttemptOutcome::Refused, cleaned(&why)),
            Verdict::Unknown(why) => (AttemptOutcome::Unknown, cleaned(&why)),
        };
        let next = if tries >= self.options.limit {
            Next::Park(format!("given up after {tries} attempts; the last one: {why}"))
        } else {
            // Never sooner than asked for; a wish beyond a day is no wish.
            let wait = retry::wait(tries, self.random.as_ref()).max(asked.min(DAY_MICROS));
            Next::RetryAt(now.plus_micros(wait))
        };
        (outcome, Some(why), next)
    }

    /// Switches an endpoint off that took nothing for days.
    async fn give_up(&self, target: &str) -> Result<(), RelayError> {
        let Some(since) = self.store.failing_since(&self.tenant, target).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let Some(endpoint) = endpoint::find(self.store.as_ref(), &self.tenant, target).await?
        else {
            return Ok(());
        };
        if now < since.max(endpoint.trusted_since).plus_micros(PATIENCE) {
            return Ok(());
        }
        self.disable(target, "it took nothing for five days", now).await
    }

    /// Switches an endpoint off and queues a notice, together.
    async fn disable(&self, target: &str, why: &str, now: Timestamp) -> Result<(), RelayError> {
        let found = endpoint::find(self.store.as_ref(), &self.tenant, target).await?;
        let Some(mut endpoint) = found.filter(|endpoint| endpoint.enabled) else { return Ok(()) };
        endpoint.enabled = false;
        endpoint.disabled_because = Some(why.to_owned());
        let body = json!({"endpoint": endpoint.id, "url": endpoint.url, "reason": why});
        let key = format!("webhook.disabled/{}/{}", endpoint.id, endpoint.trusted_since.micros());
        let mut commit = Commit::default().told("webhook.disabled", key, now, body);
        commit.writes.insert(0, endpoint.kept()?);
        Ok(self.store.commit(&self.tenant, &commit).await?)
    }
}

/// Text of the other side, made fit to keep: no control characters, not too long.
fn cleaned(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// What keeps the order of effects: those of one invoice, of one run, of one total at Stripe.
fn aggregate(kind: &str, body: &serde_json::Value) -> String {
    let named = |field: &str| body.get(field).and_then(|value| value.as_str());
    if kind == stripe::USAGE {
        return named("chain").unwrap_or_default().to_owned();
    }
    if let Some(invoice) = named("invoice") {
        return format!("invoice/{invoice}");
    }
    if kind.starts_with("run.")
        && let Some(run) = named("run")
    {
        return format!("run/{run}");
    }
    if kind.starts_with("api.health.") {
        return "api.health".to_owned();
    }
    String::new()
}

/// Relays until `stop` is done, looking for work every `pause`; then what is on its way is brought
/// to its end. Each target goes at its own pace.
pub async fn run(relay: Relay, pause: Duration, stop: impl Future<Output = ()>) -> Report {
    let mut stop = std::pin::pin!(stop);
    let mut working: HashMap<String, tokio::task::JoinHandle<Result<Report, RelayError>>> =
        HashMap::new();
    let mut total = Report::default();
    loop {
        match relay.spread().await {
            Ok((report, targets)) => {
                total.add(report);
                for target in targets {
                    if working.contains_key(&target) {
                        continue;
                    }
                    let (relay, name) = (relay.clone(), target.clone());
                    working.insert(target, tokio::spawn(async move { relay.drain(&name).await }));
                }
            }
            Err(error) => tracing::warn!(%error, "effects were not spread; it goes on shortly"),
        }
        let stopped = tokio::select! {
            () = &mut stop => true,
            () = tokio::time::sleep(pause) => false,
        };
        let (mut ended, mut going) = (BTreeMap::new(), HashMap::new());
        for (target, task) in working {
            if stopped || task.is_finished() {
                ended.insert(target, task);
            } else {
                going.insert(target, task);
            }
        }
        working = going;
        for (target, task) in ended {
            match task.await {
                Ok(Ok(report)) => total.add(report),
                Ok(Err(error)) => {
                    tracing::warn!(%error, target, "delivering stopped; it goes on shortly");
                }
                Err(error) => tracing::error!(%error, target, "a relay ended badly"),
            }
        }
        if stopped {
            return total;
        }
    }
}
