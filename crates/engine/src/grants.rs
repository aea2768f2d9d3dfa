//! Grants: prepaid credits and units. Granting, using on an invoice, coming again, expiring.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_invoicing::{Grant, GrantUnit, InvoiceState, OpenCredit, UnitGrant};
use counterfoil_metering::{Measured, Measurement, measure};
use counterfoil_rating::grants as burning;
use counterfoil_store::{
    AccountFilter, Commit, Document, DocumentFilter, InvoiceFilter, Posting, Write,
};
use counterfoil_types::{
    CustomerId, Exact, InvoiceId, Money, Period, Quantity, Schedule, Timestamp,
};
use serde::Serialize;

use crate::{Engine, EngineError, accounts::PAGE, jobs::Turn, postings};

/// A grant with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct GrantStatus {
    /// The grant.
    pub grant: Grant,
    /// What is left.
    pub left: Quantity,
}

/// What expiring and renewing did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Renewed {
    /// Grants that expired with something left: grant and what was left.
    pub expired: Vec<(String, Quantity)>,
    /// Grants of new windows.
    pub granted: Vec<String>,
}

/// What is open for an invoice, in order of use.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenGrants {
    pub(crate) credits: Vec<OpenCredit>,
    pub(crate) units: Vec<UnitGrant>,
}

fn document(grant: &Grant, at: Timestamp) -> Result<Document, EngineError> {
    Ok(Document {
        kind: "grant".to_owned(),
        id: grant.id.clone(),
        customer: grant.customer.clone(),
        subject: grant.unit.name().to_owned(),
        number: None,
        at,
        body: serde_json::to_value(grant)?,
    })
}

fn posting(grant: &Grant, key: String, amount: Quantity, at: Timestamp, cause: &str) -> Posting {
    Posting {
        key,
        account: postings::grant(&grant.id),
        customer: grant.customer.clone(),
        unit: grant.unit.name().to_owned(),
        amount,
        at,
        cause: cause.to_owned(),
        reference: grant.id.clone(),
        expects: None,
    }
}

impl Engine {
    /// Grants credit or units. Granting the same again changes nothing.
    ///
    /// # Errors
    /// When it makes no sense, or its id is taken by another grant.
    pub async fn grant(&self, grant: &Grant) -> Result<(), EngineError> {
        grant.check().map_err(EngineError::refused)?;
        let customer = self.customer(&grant.customer).await?;
        match &grant.unit {
            GrantUnit::Currency(currency) if *currency != customer.currency => {
                return Err(EngineError::refused(format!(
                    "customer {} is billed in {}, not in {currency}",
                    customer.id, customer.currency
                )));
            }
            GrantUnit::Meter(meter) if !self.books().await?.meters().contains_key(meter) => {
                return Err(EngineError::not_found("meter", meter, "; publish its price book"));
            }
            _ => {}
        }
        let at = self.now_of(&grant.customer);
        self.issue_grant(grant, at).await
    }

    async fn issue_grant(&self, grant: &Grant, at: Timestamp) -> Result<(), EngineError> {
        let mut commit = Commit::of(Write::Issue { document: document(grant, at)?, series: None });
        let key = format!("granted/{}", grant.id);
        commit.writes.push(Write::Post(vec![posting(grant, key, grant.amount, at, "granted")]));
        let commit = commit.fact(
            "grant.granted",
            format!("grant.granted/{}", grant.id),
            at,
            serde_json::to_value(grant)?,
        );
        Ok(self.commit(&commit).await?)
    }

    /// Grants of a customer, or all, with what is left of them, in order of use.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn grants(
        &self,
        customer: Option<&CustomerId>,
    ) -> Result<Vec<GrantStatus>, EngineError> {
        let tenant = &self.tenant.id;
        let mut left = BTreeMap::new();
        let accounts =
            AccountFilter { prefix: "grant/".to_owned(), customer: customer.cloned(), open: false };
        let mut after: Option<String> = None;
        loop {
            let page = self.store.accounts(tenant, &accounts, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            left.extend(page.into_iter().map(|account| (account.name, account.balance)));
        }
        let mut found = Vec::new();
        let filter = DocumentFilter { customer: customer.cloned(), subject: None };
        let mut after: Option<String> = None;
        loop {
            let page =
                self.store.documents(tenant, "grant", &filter, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for document in page {
                let grant: Grant = serde_json::from_value(document.body)?;
                let left = left.get(&postings::grant(&grant.id)).copied();
                found.push(GrantStatus { grant, left: left.unwrap_or(Quantity::ZERO) });
            }
        }
        found.sort_by(|a, b| a.grant.before(&b.grant));
        Ok(found)
    }

    /// Whether anything was ever granted: most tenants need not ask for each customer.
    pub(crate) async fn has_grants(&self) -> Result<bool, EngineError> {
        let filter = DocumentFilter::default();
        let found = self.store.documents(&self.tenant.id, "grant", &filter, None, 1).await?;
        Ok(!found.is_empty())
    }

    /// What is open for an invoice over `period` that falls due at `at`: what is left, less what
    /// other drafts of the customer are about to use.
    pub(crate) async fn open_grants(
        &self,
        customer: &CustomerId,
        invoice: InvoiceId,
        period: Period,
        at: Timestamp,
    ) -> Result<OpenGrants, EngineError> {
        let mut open = OpenGrants::default();
        let grants = self.grants(Some(customer)).await?;
        if grants.iter().all(|status| status.left.is_zero()) {
            return Ok(open);
        }
        let mut planned: BTreeMap<String, Exact> = BTreeMap::new();
        for draft in self.other_drafts(customer, invoice).await? {
            let money = draft.body.credits.iter().map(|used| (&used.grant, used.amount.exact()));
            let units = draft.body.granted.iter().map(|used| (&used.grant, used.units.exact()));
            for (grant, amount) in money.chain(units) {
                let sum = planned.entry(grant.clone()).or_insert(Exact::ZERO);
                *sum = sum.add(&amount);
            }
        }
        for GrantStatus { grant, left } in grants {
            let used = planned.get(&grant.id).cloned().unwrap_or(Exact::ZERO);
            let left = left.exact().sub(&used);
            if !left.is_positive() {
                continue;
            }
            match &grant.unit {
                // Money is used when the invoice falls due: the instant before its boundary
                // belongs to the period it closes.
                GrantUnit::Currency(currency) if grant.is_open(at.plus_micros(-1)) => {
                    open.credits.push(OpenCredit {
                        left: Money::from_exact(&left, *currency)?,
                        name: grant.name,
                        kind: grant.kind,
                        grant: grant.id,
                    });
                }
                GrantUnit::Meter(meter)
                    if grant.from < period.end
                        && grant.expires.is_none_or(|end| period.start < end) =>
                {
                    open.units.push(UnitGrant {
                        left: Quantity::try_from(&left)?,
                        meter: meter.clone(),
                        name: grant.name,
                        from: grant.from,
                        expires: grant.expires,
                        grant: grant.id,
                    });
                }
                _ => {}
            }
        }
        Ok(open)
    }

    async fn other_drafts(
        &self,
        customer: &CustomerId,
        invoice: InvoiceId,
    ) -> Result<Vec<counterfoil_invoicing::Invoice>, EngineError> {
        let filter = InvoiceFilter {
            customer: Some(customer.clone()),
            subscription: None,
            state: Some(InvoiceState::Draft),
        };
        let mut drafts = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.invoices(&self.tenant.id, &filter, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(drafts) };
            after = Some((last.due_cycle_at, last.id));
            for summary in page.iter().filter(|summary| summary.id != invoice) {
                drafts.extend(self.store.invoice(&self.tenant.id, &summary.id).await?);
            }
        }
    }

    /// Expires what has expired by `now` and grants the next windows of what comes again. Doing it
    /// twice does it once.
    ///
    /// A grant is kept until the invoice that could still use it is there: `wait` microseconds
    /// after it expired.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn renew_grants(&self, wait: i64) -> Result<Renewed, EngineError> {
        self.renew_grants_in(wait, None).await
    }

    /// The same as part of a job: a grant that fails does not hold the others up.
    pub(crate) async fn renew_grants_in(
        &self,
        wait: i64,
        turn: Option<&Turn>,
    ) -> Result<Renewed, EngineError> {
        let mut done = Renewed::default();
        let mut failed = BTreeSet::new();
        // Missed windows are caught up one after the other.
        loop {
            let before = done.clone();
            for status in self.grants(None).await? {
                let id = status.grant.id.clone();
                let Some(turn) = turn else {
                    self.renew_grant(status, wait, &mut done).await?;
                    continue;
                };
                let due = status.grant.expires.is_some_and(|expires| {
                    self.now_of(&status.grant.customer) >= expires.plus_micros(wait)
                });
                if !due || failed.contains(&id) {
                    continue;
                }
                let renewed = self.renew_grant(status, wait, &mut done);
                if turn.item(&format!("grant/{id}"), renewed).await?.is_none() {
                    failed.insert(id);
                }
            }
            if done == before {
                return Ok(done);
            }
        }
    }

    async fn renew_grant(
        &self,
        GrantStatus { grant, left }: GrantStatus,
        wait: i64,
        done: &mut Renewed,
    ) -> Result<(), EngineError> {
        let Some(expires) = grant.expires else { return Ok(()) };
        let now = self.now_of(&grant.customer);
        if now < expires.plus_micros(wait) {
            return Ok(());
        }
        let mut carried = Exact::ZERO;
        if let Some(renewal) = &grant.renewal {
            let most = renewal.rollover.map_or(Exact::ZERO, Quantity::exact);
            carried = left.exact().at_most(&most);
            let next = self.next_window(&grant, expires, &carried).await?;
            if self.store.document(&self.tenant.id, "grant", &next.id).await?.is_none() {
                self.issue_grant(&next, now).await?;
                done.granted.push(next.id.clone());
            }
        }
        if !left.is_zero() {
            let gone = Quantity::try_from(&left.exact().neg())?;
            let key = format!("expired/{}", grant.id);
            let post = Write::Post(vec![posting(&grant, key, gone, now, "expired")]);
            let carried = Quantity::try_from(&carried)?;
            let commit = Commit::of(post).told(
                "grant.expired",
                format!("grant.expired/{}", grant.id),
                now,
                serde_json::json!({"grant": grant.id, "left": left, "carried": carried}),
            );
            self.commit(&commit).await?;
            done.expired.push((grant.id, left));
        }
        Ok(())
    }

    /// The grant of the window after `grant`'s, with what is carried into it.
    async fn next_window(
        &self,
        grant: &Grant,
        expires: Timestamp,
        carried: &Exact,
    ) -> Result<Grant, EngineError> {
        let Some(renewal) = &grant.renewal else {
            return Err(EngineError::refused(format!("grant {} does not come again", grant.id)));
        };
        let zone = self.customer(&grant.customer).await?.zone;
        // The first grant's beginning anchors all windows.
        let (root, number) = match &grant.renews {
            None => (grant.id.clone(), 2u32),
            Some(_) => {
                let (root, number) = grant.id.rsplit_once('.').unwrap_or((&grant.id, "1"));
                (root.to_owned(), number.parse::<u32>().unwrap_or(1).saturating_add(1))
            }
        };
        let first = match self.store.document(&self.tenant.id, "grant", &root).await? {
            Some(document) => serde_json::from_value::<Grant>(document.body)?,
            None => grant.clone(),
        };
        let cycles = counterfoil_invoicing::CycleError::from;
        let schedule =
            Schedule::new(renewal.every, zone.civil(first.from)?, zone).map_err(cycles)?;
        let ends = schedule.boundary_after(expires, false).map_err(cycles)?;
        // What is carried over a second time is capped by the same rule.
        let amount = first.amount.exact().add(carried);
        Ok(Grant {
            id: format!("{root}.{number}"),
            amount: Quantity::try_from(&amount)?,
            from: expires,
            expires: Some(ends),
            renews: Some(grant.id.clone()),
            ..grant.clone()
        })
    }

    /// The postings by which an invoice uses grants.
    pub(crate) fn grant_postings(
        &self,
        invoice: &counterfoil_invoicing::Invoice,
        at: Timestamp,
        back: bool,
    ) -> Result<Vec<Posting>, EngineError> {
        let body = &invoice.body;
        let reference = invoice.id.to_string();
        let word = if back { "given_back" } else { "used" };
        let money = body.credits.iter().map(|used| {
            (used.grant.clone(), used.amount.currency().code().to_owned(), used.amount.exact())
        });
        let units = body
            .granted
            .iter()
            .map(|used| (used.grant.clone(), used.meter.to_string(), used.units.exact()));
        money
            .chain(units)
            .map(|(grant, unit, amount)| {
                let amount = if back { amount } else { amount.neg() };
                Ok(Posting {
                    key: format!("{word}/{reference}/{grant}"),
                    account: postings::grant(&grant),
                    customer: body.customer.clone(),
                    unit,
                    amount: Quantity::try_from(&amount)?,
                    at,
                    cause: word.to_owned(),
                    reference: reference.clone(),
                    expects: None,
                })
            })
            .collect()
    }

    /// How usage burns a grant of units, event by event, up to now: each event in order of its
    /// time, with all grants of the meter burning in their order of use. What invoices took is the
    /// sum of these for their periods.
    ///
    /// # Errors
    /// When there is no such grant, or it is money: money is used by invoices, see its postings.
    pub async fn burn_down(&self, id: &str) -> Result<Vec<EventBurn>, EngineError> {
        let document = self.store.document(&self.tenant.id, "grant", id).await?;
        let document = document.ok_or_else(|| EngineError::not_found("grant", id, ""))?;
        let wanted: Grant = serde_json::from_value(document.body)?;
        let GrantUnit::Meter(key) = &wanted.unit else {
            return Err(EngineError::refused(format!(
                "grant {id} is money; invoices use it, event by event nothing is"
            )));
        };
        let books = self.books().await?;
        let meter =
            books.meters().get(key).ok_or_else(|| EngineError::not_found("meter", key, ""))?;
        let now = self.now_of(&wanted.customer);
        let mut grants: Vec<Grant> = self
            .grants(Some(&wanted.customer))
            .await?
            .into_iter()
            .map(|status| status.grant)
            .filter(|grant| grant.unit == wanted.unit)
            .collect();
        grants.sort_by(Grant::before);
        let pure: Vec<burning::Grant> = grants
            .iter()
            .enumerate()
            .map(|(order, grant)| burning::Grant {
                id: grant.id.clone(),
                amount: grant.amount.exact(),
                priority: i64::try_from(order).unwrap_or(i64::MAX),
                effective_at: grant.from,
                expires_at: grant.expires,
                recurrence: None,
                rollover: burning::Rollover::default(),
            })
            .collect();
        let lane = self.tenant.lane_of(&wanted.customer);
        let view = self.lane_view(lane).await?;
        let since = grants.iter().map(|grant| grant.from).min().unwrap_or(now);
        let rows =
            self.standing_between(lane, &wanted.customer, (1, view.head), view.head, since).await?;
        let mut used = Vec::new();
        for row in rows.iter().filter(|row| row.time < now) {
            if let Measurement::Value { value: Measured::Number(units), .. } =
                measure(meter, &row.event)
            {
                let units = units.mul(&meter.factor);
                used.push((row.time, format!("{}/{}", row.event.source, row.event.id), units));
            }
        }
        used.sort();
        let events: Vec<(Timestamp, burning::GrantEvent)> = used
            .iter()
            .map(|(time, _, units)| (*time, burning::GrantEvent::Usage(units.clone())))
            .collect();
        let state = burning::burn(&pure, &events, burning::Overage::Bill, now)
            .map_err(|error| EngineError::refused(error.to_string()))?;
        let at = grants.iter().position(|grant| grant.id == id).unwrap_or(0);
        let mut left = wanted.amount.exact();
        let mut burns: Vec<EventBurn> = Vec::new();
        for burn in state.burns.iter().filter(|burn| burn.grant == at) {
            left = left.sub(&burn.units);
            // Events of one instant burn together: which of them came first says nobody.
            match burns.last_mut().filter(|last| last.time == burn.at) {
                Some(last) => {
                    last.units = last.units.add(&burn.units);
                    last.left = left.clone();
                }
                None => {
                    let first = used.partition_point(|(time, ..)| *time < burn.at);
                    let here = used.iter().skip(first).take_while(|(time, ..)| *time == burn.at);
                    let names: Vec<&str> = here.map(|(_, name, _)| name.as_str()).collect();
                    burns.push(EventBurn {
                        time: burn.at,
                        event: names.join(", "),
                        units: burn.units.clone(),
                        left: left.clone(),
                    });
                }
            }
        }
        Ok(burns)
    }
}

/// One event's share of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct EventBurn {
    /// When the usage happened.
    pub time: Timestamp,
    /// Its source and id.
    pub event: String,
    /// Units taken from the grant.
    pub units: Exact,
    /// What was left after it.
    pub left: Exact,
}
