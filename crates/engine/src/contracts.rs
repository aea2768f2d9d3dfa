//! Changing a contract: plans, quantities, prices of one customer, add-ons, pauses, the zone, the
//! end. Each change is a fact with the local day it holds from.

use counterfoil_invoicing::{
    Change, ChangeKind, InvoiceState, Rhythm, Subscription, cycle::CycleNumber,
};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{CustomerId, Digest, Period, SubscriptionId, Zone, civil::Date};

use crate::{Books, Engine, EngineError, accounts::refuse_double_billing, draft::Account};

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effective {
    /// At the start of the customer's current day.
    Now,
    /// On a local day.
    On(Date),
    /// When the period that is open ends.
    AtPeriodEnd,
}

impl std::str::FromStr for Effective {
    type Err = EngineError;

    /// `now`, `period_end` or a local day.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "now" => Ok(Self::Now),
            "period_end" => Ok(Self::AtPeriodEnd),
            day => day.parse().map(Self::On).map_err(|_| {
                EngineError::refused(format!(
                    "{day:?} is no day; write now, period_end or for example 2026-10-16"
                ))
            }),
        }
    }
}

impl Engine {
    /// Changes a subscription. Making the same change again changes nothing.
    ///
    /// # Errors
    /// When the result makes no sense: a plan that does not exist, periods that were invoiced and
    /// would be cut otherwise, usage that would be billed twice.
    pub async fn change_subscription(
        &self,
        id: &SubscriptionId,
        when: Effective,
        what: ChangeKind,
    ) -> Result<Subscription, EngineError> {
        let books = self.books().await?;
        let subscription = self.subscription(id).await?;
        let account = self.account(&books, subscription).await?;
        let on = self.day_of(&account, when)?;
        let change = Change { on, what };
        if account.subscription.changes.contains(&change) {
            return Ok(account.subscription);
        }
        if on < account.subscription.start {
            return Err(EngineError::refused(format!(
                "subscription {id} begins on {}, after {on}",
                account.subscription.start
            )));
        }
        if account.subscription.end.is_some_and(|end| on >= end) {
            return Err(EngineError::refused(format!("subscription {id} has ended by {on}")));
        }
        sensible(&account.subscription, &change)?;
        let mut changed = account.subscription.clone();
        changed.change(change.clone());
        let after = Account::new(&books, account.customer.clone(), changed.clone())?;
        check_contract(&books, &after)?;
        for other in self.subscriptions_of(&changed.customer).await? {
            refuse_double_billing(&books, &changed, &other)?;
        }
        self.keep_invoiced_periods(&account, &after).await?;
        let body = serde_json::json!({"subscription": id, "change": change});
        self.put(&changed, "subscription.changed", body).await?;
        Ok(changed)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When it does not exist, would end before it starts, or has ended already.
    pub async fn end_subscription(
        &self,
        id: &SubscriptionId,
        when: Effective,
    ) -> Result<Subscription, EngineError> {
        let books = self.books().await?;
        let subscription = self.subscription(id).await?;
        let account = self.account(&books, subscription).await?;
        let end = match when {
            // Today is its last day.
            Effective::Now => tomorrow(self.day_of(&account, Effective::Now)?)?,
            _ => self.day_of(&account, when)?,
        };
        let mut ended = account.subscription.clone();
        if ended.end == Some(end) {
            return Ok(ended);
        }
        let today = self.day_of(&account, Effective::Now)?;
        if let Some(known) = ended.end
            && known <= today
        {
            return Err(EngineError::refused(format!(
                "subscription {id} ended on {known} already"
            )));
        }
        if end <= ended.start {
            return Err(EngineError::refused("a subscription must end after it starts"));
        }
        ended.end = Some(end);
        let after = Account::new(&books, account.customer.clone(), ended.clone())?;
        self.keep_invoiced_periods(&account, &after).await?;
        let body = serde_json::json!({"subscription": id, "end": end.to_string()});
        self.put(&ended, "subscription.ended", body).await?;
        Ok(ended)
    }

    /// Moves a customer to another zone: each subscription goes there at the end of the period
    /// that is open on the day.
    ///
    /// # Errors
    /// As [`Engine::change_subscription`].
    pub async fn move_customer(
        &self,
        id: &CustomerId,
        zone: &Zone,
        when: Effective,
    ) -> Result<(), EngineError> {
        let customer = self.customer(id).await?;
        if customer.zone == *zone {
            return Ok(());
        }
        let books = self.books().await?;
        let now = self.now_of(id);
        let mut commit = Commit::default();
        let moved = counterfoil_invoicing::Customer { zone: zone.clone(), ..customer.clone() };
        for mut subscription in self.subscriptions_of(id).await? {
            let account = Account::new(&books, customer.clone(), subscription.clone())?;
            let on = match when {
                Effective::AtPeriodEnd => self.day_of(&account, Effective::Now)?,
                _ => self.day_of(&account, when)?,
            };
            subscription.zone.get_or_insert_with(|| customer.zone.clone());
            if subscription.end.is_none_or(|end| on < end) {
                let on = on.max(subscription.start);
                subscription.change(Change { on, what: ChangeKind::Zone { zone: zone.clone() } });
            }
            let after = Account::new(&books, moved.clone(), subscription.clone())?;
            self.keep_invoiced_periods(&account, &after).await?;
            commit.writes.push(Write::PutSubscription(subscription));
        }
        commit.writes.push(Write::PutCustomer(moved));
        let body = serde_json::json!({"customer": id, "zone": zone, "from": customer.zone});
        let key = format!("customer.moved/{id}/{}", now.micros());
        let commit = commit.fact("customer.moved", key, now, body);
        Ok(self.commit(&commit).await?)
    }

    async fn put(
        &self,
        subscription: &Subscription,
        kind: &str,
        body: serde_json::Value,
    ) -> Result<(), EngineError> {
        let now = self.now_of(&subscription.customer);
        let digest = Digest::of(serde_json::to_string(subscription)?.as_bytes());
        let key = format!("{kind}/{}/{}/{}", subscription.id, now.micros(), digest.short());
        let commit =
            Commit::of(Write::PutSubscription(subscription.clone())).told(kind, key, now, body);
        Ok(self.commit(&commit).await?)
    }

    fn day_of(&self, account: &Account, when: Effective) -> Result<Date, EngineError> {
        let now = self.now_of(&account.customer.id);
        let zone = account.cycles.zone_at(now);
        match when {
            Effective::On(day) => Ok(day),
            Effective::Now => Ok(zone.civil(now)?.date()),
            Effective::AtPeriodEnd => {
                let number = account.cycles.period_at(now)?.ok_or_else(|| {
                    EngineError::refused(format!(
                        "subscription {} has no open period; name a day",
                        account.subscription.id
                    ))
                })?;
                let period = account.cycles.period(number)?.map(|(period, _)| period);
                let end = period.map_or(now, |period: Period| period.end);
                // A boundary that was announced in another zone: the first whole day after it.
                let local = zone.civil(end)?;
                let midnight = zone.instant(local.date().at(0, 0, 0, 0))? == end;
                if midnight { Ok(local.date()) } else { tomorrow(local.date()) }
            }
        }
    }

    /// What was invoiced was invoiced for certain periods; a change may shorten the one that was
    /// paid in advance, and no other.
    async fn keep_invoiced_periods(
        &self,
        before: &Account,
        after: &Account,
    ) -> Result<(), EngineError> {
        let last = self.last_invoiced(before).await?;
        let Some(last) = last else { return Ok(()) };
        for number in 0..=last {
            let (old, new) = (before.cycles.cycle(number)?, after.cycles.cycle(number)?);
            let closes = |cycle: Option<counterfoil_invoicing::Cycle>| {
                cycle.map(|cycle| (cycle.at, cycle.closes))
            };
            let ends_before =
                after.cycles.end().is_some_and(|end| old.is_some_and(|cycle| end <= cycle.at));
            if closes(old) != closes(new) && !ends_before {
                return Err(EngineError::refused(format!(
                    "cycle {number} of subscription {} is invoiced for other dates than it would have then; choose a later day",
                    before.subscription.id
                )));
            }
        }
        Ok(())
    }

    /// The last cycle with a regular invoice that stands.
    async fn last_invoiced(&self, account: &Account) -> Result<Option<CycleNumber>, EngineError> {
        let id = &account.subscription.id;
        let invoices = self.store.invoices_of(&self.tenant.id, id).await?;
        let stands = invoices
            .iter()
            .filter(|invoice| {
                !matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void)
                    && invoice.body.part == 0
            })
            .map(|invoice| invoice.body.cycle);
        Ok(stands.max())
    }
}

fn tomorrow(day: Date) -> Result<Date, EngineError> {
    day.tomorrow().map_err(|_| EngineError::refused("the day is out of range"))
}

/// What a change contradicts on the day it holds from.
fn sensible(subscription: &Subscription, change: &Change) -> Result<(), EngineError> {
    let terms = subscription.terms_on(change.on);
    let id = &subscription.id;
    let refused = |why: String| Err(EngineError::refused(why));
    match &change.what {
        ChangeKind::Quantity { charge, quantity } if quantity.is_negative() => {
            refused(format!("{quantity} is no quantity for charge {charge}"))
        }
        ChangeKind::AddOn { plan }
            if terms.plan == *plan || terms.add_ons.iter().any(|known| known.plan == *plan) =>
        {
            refused(format!("subscription {id} has plan {plan} on {}", change.on))
        }
        ChangeKind::DropAddOn { plan }
            if !terms.add_ons.iter().any(|known| known.plan == *plan) =>
        {
            refused(format!("subscription {id} has no add-on {plan} on {}", change.on))
        }
        ChangeKind::Pause if terms.paused => {
            refused(format!("subscription {id} is paused on {}", change.on))
        }
        ChangeKind::Resume if !terms.paused => {
            refused(format!("subscription {id} is not paused on {}", change.on))
        }
        _ => Ok(()),
    }
}

/// Everything a contract names exists, on every day it names it, and can be priced.
pub(crate) fn check_contract(books: &Books, account: &Account) -> Result<(), EngineError> {
    let subscription = &account.subscription;
    // Periods must be computable for as long as anyone will look at them.
    account.cycles.cycle(1)?;
    for quantity in subscription.quantities.values() {
        if quantity.is_negative() {
            return Err(EngineError::refused(format!("{quantity} is no quantity")));
        }
    }
    let days = std::iter::once(subscription.start).chain(subscription.cuts());
    for day in days {
        let terms = subscription.terms_on(day);
        let book = books.version(&terms, day)?;
        let base = books.plan(book, &terms.plan)?;
        let mut known: Vec<&str> = vec!["plan"];
        let mut licensed: Vec<&str> = Vec::new();
        let add_ons = terms.add_ons.iter().map(|add_on| &add_on.plan);
        let mut meters = Vec::new();
        for key in std::iter::once(&terms.plan).chain(add_ons) {
            let plan = books.plan(book, key)?;
            if Rhythm::of(plan) != Rhythm::of(base) {
                return Err(EngineError::refused(format!(
                    "add-on {key} is billed every {}, plan {} every {}; an add-on keeps its plan's periods",
                    plan.interval, base.key, base.interval
                )));
            }
            books.resolved(book, key, account.customer.currency, None, &terms.overrides)?;
            for phase in &plan.phases {
                let phase = Some(phase.key.as_str());
                books.resolved(book, key, account.customer.currency, phase, &terms.overrides)?;
            }
            for charge in &plan.charges {
                known.push(&charge.key);
                if charge.licensed {
                    licensed.push(&charge.key);
                }
                if let Some(meter) = &charge.meter {
                    if key != &terms.plan && meters.contains(&meter) {
                        return Err(EngineError::refused(format!(
                            "add-on {key} bills meter {meter}, which the subscription bills already"
                        )));
                    }
                    meters.push(meter);
                }
            }
        }
        // What was agreed for a charge waits while the plan has no such charge; only the day it is
        // said on must know it.
        let starts = day == subscription.start;
        let said: Vec<&ChangeKind> = subscription
            .changes
            .iter()
            .filter(|change| change.on == day)
            .map(|change| &change.what)
            .collect();
        for charge in terms.overrides.keys() {
            let new = said.iter().any(|what| {
                matches!(what, ChangeKind::Override { charge: other, .. } if other == charge)
            });
            if (starts || new) && !known.contains(&charge.as_str()) {
                return Err(EngineError::refused(format!(
                    "there is no charge {charge:?} to override in plan {} on {day}; it has: {}",
                    terms.plan,
                    known.join(", ")
                )));
            }
        }
        for charge in terms.quantities.keys() {
            let new = said.iter().any(|what| {
                matches!(what, ChangeKind::Quantity { charge: other, .. } if other == charge)
            });
            if (starts || new) && !licensed.contains(&charge.as_str()) {
                return Err(EngineError::refused(format!(
                    "plan {} has no licensed charge {charge:?}; it has: {}",
                    terms.plan,
                    licensed.join(", ")
                )));
            }
        }
    }
    Ok(())
}
