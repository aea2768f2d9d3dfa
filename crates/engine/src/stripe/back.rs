//! What Stripe gave back: refunds and lost disputes, booked on the invoice that they go back to, once
//! for each id.
//!
//! An amount that went back is, in this order: what a credit note of ours said is paid out and no
//! refund has answered for yet; what the customer has in credit from this invoice; and for the rest a
//! credit note of its own. All of it is one commit. The account `refunded/<invoice>` is its fence.

use counterfoil_invoicing::{CreditNote, Invoice, InvoiceState, credit_note::CreditScope};
use counterfoil_store::{
    Commit, Document, DocumentFilter, Write,
    stripe::{
        self,
        money::{self, Back, FAILED, FRONT, PARKED},
    },
};
use counterfoil_types::{Exact, InvoiceId, Money};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    accounts::PAGE,
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
    postings::{self, Move, raced},
};

/// Kind of the effect that tells of something that cannot be booked yet.
pub const TOLD: &str = "stripe.parked";

/// How an amount that went back was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Booked {
    id: String,
    customer: counterfoil_types::CustomerId,
    amount: Money,
    invoice: InvoiceId,
    /// Of it, what credit notes had paid out.
    by_notes: Money,
    /// Of it, what the customer had in credit.
    from_balance: Money,
    /// Of it, what a credit note of its own gives back.
    by_own_note: Money,
}

/// The amounts, and the earlier notes they were found by.
struct Parts {
    booked: Booked,
    notes: Vec<CreditNote>,
    before: Money,
    balance: Money,
}

impl Engine {
    /// Books a refund or a lost dispute. What cannot be booked yet is parked and told of, once.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn given_back_at_stripe(&self, back: &Back) -> Result<(), EngineError> {
        let tenant = &self.tenant.id;
        let failed = format!("{FAILED}{}", back.id);
        if stripe::setting(self.store(), tenant, &failed).await?.is_some() {
            return self.unpark(&back.id).await;
        }
        let invoice = money::paid_by(self.store(), tenant, &back.charges).await?;
        let Some(invoice) = invoice else {
            return self.park(back, "no payment that was heard of has this charge").await;
        };
        match self.book_back(&invoice, back).await {
            Ok(()) => self.unpark(&back.id).await,
            Err(
                error @ (EngineError::Refused(_)
                | EngineError::CreditNote(_)
                | EngineError::NotFound { .. }),
            ) => self.park(back, &error.to_string()).await,
            Err(error) => Err(error),
        }
    }

    /// A refund came back: it is not booked any more. Whether it was booked before.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn refund_failed_at_stripe(
        &self,
        id: &str,
    ) -> Result<Option<InvoiceId>, EngineError> {
        let known = self.store.document(&self.tenant.id, "refund", &format!("{FRONT}{id}")).await?;
        let mark = Write::Set { key: format!("{FAILED}{id}"), value: Some("1".to_owned()) };
        self.commit(&Commit::of(mark)).await?;
        self.unpark(id).await?;
        Ok(match known {
            Some(known) => Some(serde_json::from_value::<Booked>(known.body)?.invoice),
            None => None,
        })
    }

    async fn unpark(&self, id: &str) -> Result<(), EngineError> {
        if !self.is_parked(id).await? {
            return Ok(());
        }
        let forgotten = Write::Set { key: format!("{PARKED}{id}"), value: None };
        Ok(self.commit(&Commit::of(forgotten)).await?)
    }

    async fn is_parked(&self, id: &str) -> Result<bool, EngineError> {
        let key = format!("{PARKED}{id}");
        Ok(stripe::setting(self.store(), &self.tenant.id, &key).await?.is_some())
    }

    async fn park(&self, back: &Back, why: &str) -> Result<(), EngineError> {
        if self.is_parked(&back.id).await? {
            return Ok(());
        }
        let about = serde_json::json!({
            "id": back.id, "amount": back.amount, "charges": back.charges,
            "reason": back.reason, "why": why,
        });
        let commit = Commit::of(back.kept()?);
        let commit = commit.told(TOLD, format!("{TOLD}/{}", back.id), back.at, about);
        Ok(self.commit(&commit).await?)
    }

    async fn book_back(&self, id: &InvoiceId, back: &Back) -> Result<(), EngineError> {
        let key = format!("{FRONT}{}", back.id);
        let mut tries = 0;
        loop {
            tries += 1;
            if self.store.document(&self.tenant.id, "refund", &key).await?.is_some() {
                return Ok(());
            }
            let invoice = self.invoice(id).await?;
            if back.amount.currency() != invoice.body.currency {
                return Err(EngineError::refused(format!(
                    "invoice {} is in {}, {} went back",
                    name(&invoice),
                    invoice.body.currency,
                    back.amount
                )));
            }
            let parts = self.parts(&key, &invoice, back).await?;
            let commit = self.back_commit(&key, &invoice, back, &parts).await?;
            match self.commit(&commit).await {
                Ok(()) => return Ok(()),
                Err(error) if raced(&error) && tries < postings::TRIES => {}
                // Also one that kept losing: it is not refused, and Stripe asks again.
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn parts(&self, key: &str, invoice: &Invoice, back: &Back) -> Result<Parts, EngineError> {
        let currency = invoice.body.currency;
        let customer = invoice.body.paid_by().clone();
        let before = self.money_on(&postings::refunded(&invoice.id), currency).await?;
        let balance = self.money_on(&postings::balance(&customer, currency), currency).await?;
        let notes = self.notes_on(&invoice.id).await?;
        let payments = self.stripe_paid(&invoice.id).await?;
        let collected = Money::sum(currency, payments.iter().map(|payment| payment.amount))?;
        if before.checked_add(back.amount)?.exact() > collected.exact() {
            return Err(EngineError::refused(format!(
                "{} went back of invoice {}, of which {collected} came in through Stripe and {before} went back before",
                back.amount,
                name(invoice)
            )));
        }
        let earlier = self.given_back(&invoice.id).await?;
        let sum = |of: fn(&Booked) -> Money| Money::sum(currency, earlier.iter().map(of));
        let by_hand = notes.iter().filter(|note| !note.id.starts_with(FRONT));
        let unanswered = Money::sum(currency, by_hand.map(|note| note.refunded))?
            .checked_sub(sum(|booked| booked.by_notes)?)?;
        let zero = Exact::ZERO;
        let whole = back.amount.exact();
        let by_notes = whole.at_most(&unanswered.exact().at_least(&zero));
        let credited = self.credit_from(invoice, &notes, &payments).await?;
        let unused = credited.sub(&sum(|booked| booked.from_balance)?.exact());
        let from_balance =
            whole.sub(&by_notes).at_most(&balance.exact()).at_most(&unused.at_least(&zero));
        let own = whole.sub(&by_notes).sub(&from_balance);
        let booked = Booked {
            id: key.to_owned(),
            customer,
            amount: back.amount,
            invoice: invoice.id,
            by_notes: Money::from_exact(&by_notes, currency)?,
            from_balance: Money::from_exact(&from_balance, currency)?,
            by_own_note: Money::from_exact(&own, currency)?,
        };
        Ok(Parts { booked, notes, before, balance })
    }

    /// What went back of an invoice so far.
    async fn given_back(&self, invoice: &InvoiceId) -> Result<Vec<Booked>, EngineError> {
        let filter = DocumentFilter { customer: None, subject: Some(invoice.to_string()) };
        let (mut found, mut after): (Vec<Booked>, Option<String>) = (Vec::new(), None);
        loop {
            let page = self
                .store
                .documents(&self.tenant.id, "refund", &filter, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.id.clone());
            for document in page {
                found.push(serde_json::from_value(document.body)?);
            }
        }
    }

    /// What the customer was given in credit because of this invoice: by notes, by paying more than
    /// was open, by its void.
    async fn credit_from(
        &self,
        invoice: &Invoice,
        notes: &[CreditNote],
        payments: &[Payment],
    ) -> Result<Exact, EngineError> {
        let account = postings::balance(invoice.body.paid_by(), invoice.body.currency);
        let ours = invoice.id.to_string();
        let (mut sum, mut after) = (Exact::ZERO, 0);
        loop {
            let page = self.store.postings(&self.tenant.id, Some(&account), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(sum) };
            after = last.position;
            for posting in page.into_iter().map(|recorded| recorded.posting) {
                let reference = &posting.reference;
                let from_here = match posting.cause.as_str() {
                    "credit_note" => notes.iter().any(|note| note.id == *reference),
                    "payment" => payments.iter().any(|payment| payment.id == *reference),
                    "void" => *reference == ours,
                    _ => false,
                };
                if from_here {
                    sum = sum.add(&posting.amount.exact());
                }
            }
        }
    }

    async fn back_commit(
        &self,
        key: &str,
        invoice: &Invoice,
        back: &Back,
        parts: &Parts,
    ) -> Result<Commit, EngineError> {
        let Parts { booked, notes, before, balance } = parts;
        let at = self.now_of(&invoice.body.customer);
        let mut commit = Commit::default();
        if !booked.by_own_note.is_zero() {
            if matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void) {
                return Err(EngineError::refused(format!(
                    "invoice {} is {}, and {} of what went back is not in credit any more",
                    name(invoice),
                    invoice.state.as_str(),
                    booked.by_own_note
                )));
            }
            let request = CreditRequest {
                id: key.to_owned(),
                invoice: invoice.id,
                scope: CreditScope::Cash(booked.by_own_note),
                reason: back.reason.clone(),
                paid_back: PaidBack::Gone,
                corrects: Vec::new(),
            };
            commit = self.credit_commit(&request, invoice, notes).await?.0;
        }
        let customer = &booked.customer;
        let move_of = |key: String, account: String, amount: Money, expects: &Money| Move {
            key,
            account,
            customer,
            amount,
            at,
            cause: "refund",
            reference: &booked.id,
            expects: Some(expects.exact()),
        };
        let account = postings::refunded(&invoice.id);
        let fence = move_of(format!("refund/{key}/invoice"), account, back.amount, before);
        let mut posted = vec![fence.posting()?];
        if !booked.from_balance.is_zero() {
            let account = postings::balance(customer, invoice.body.currency);
            let less = booked.from_balance.negated();
            posted.push(move_of(format!("refund/{key}"), account, less, balance).posting()?);
        }
        let document = Document {
            kind: "refund".to_owned(),
            id: key.to_owned(),
            customer: customer.clone(),
            subject: invoice.id.to_string(),
            number: None,
            at,
            body: serde_json::to_value(booked)?,
        };
        commit.writes.push(Write::Issue { document, series: None });
        commit.writes.push(Write::Post(posted));
        let about = serde_json::json!({
            "id": key, "customer": customer, "amount": back.amount, "invoice": invoice.id,
        });
        Ok(commit.told("refund.recorded", format!("refund.recorded/{key}"), at, about))
    }
}

fn name(invoice: &Invoice) -> &str {
    invoice.number.as_deref().unwrap_or("(draft)")
}
