//! Payments that Stripe tells of, booked once.
//!
//! `amount_paid` of an invoice at Stripe holds what was paid elsewhere and only told to Stripe, and
//! the events of newer versions do not say how much of it that is. So the rule is one of amounts: what
//! Stripe is known to have collected is booked whatever is open, the rest only as far as something is
//! open here. What is left over is kept as doubtful until something shows that Stripe collected it.

use counterfoil_store::{
    Commit, Write,
    stripe::money::{self, DOUBTFUL, FRONT, PAID_BY, PaidThere},
};
use counterfoil_types::{Exact, InvoiceId, Money};

use crate::{
    Engine, EngineError,
    payments::{OpenInvoice, Payment},
    postings::{self, raced},
};

impl Engine {
    /// An invoice of ours is paid at Stripe. Hearing of it twice books it once.
    ///
    /// # Errors
    /// When there is no such invoice, it is in another currency, or as the store has them.
    pub async fn paid_at_stripe(&self, paid: &PaidThere) -> Result<(), EngineError> {
        self.book_paid(paid).await?;
        self.retry_parked().await
    }

    /// Stripe collected an amount of its invoice `theirs` itself, as its payment `payment`.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn collected_at_stripe(
        &self,
        theirs: &str,
        payment: &str,
        amount: Money,
        charges: &[String],
    ) -> Result<(), EngineError> {
        let mut commit = Commit::of(money::collected(theirs, payment, amount)?);
        for charge in charges {
            let known =
                money::paid_by(self.store(), &self.tenant.id, std::slice::from_ref(charge)).await?;
            if known.is_none() {
                commit.writes.push(names(charge, theirs.to_owned()));
            }
        }
        self.commit(&commit).await?;
        if let Some(paid) = money::doubtful(self.store(), &self.tenant.id, theirs).await? {
            self.book_paid(&paid).await?;
        }
        self.retry_parked().await
    }

    /// Books what can be booked by now of the refunds and disputes that are parked.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn retry_parked(&self) -> Result<(), EngineError> {
        for back in money::parked(self.store(), &self.tenant.id).await? {
            self.given_back_at_stripe(&back).await?;
        }
        Ok(())
    }

    async fn booked(&self, id: &str) -> Result<Option<Money>, EngineError> {
        let Some(found) = self.store.document(&self.tenant.id, "payment", id).await? else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_value::<Payment>(found.body)?.amount))
    }

    /// What was booked of an invoice at Stripe: at first, and when more was proven.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn booked_of_stripe(
        &self,
        theirs: &str,
        currency: counterfoil_types::Currency,
    ) -> Result<Money, EngineError> {
        let first = self.booked(&format!("{FRONT}{theirs}")).await?;
        let mut sum = first.unwrap_or(Money::zero(currency));
        while let Some(more) = self.booked(&more_of(theirs, sum)).await? {
            sum = sum.checked_add(more)?;
        }
        Ok(sum)
    }

    async fn book_paid(&self, paid: &PaidThere) -> Result<(), EngineError> {
        let tenant = &self.tenant.id;
        for _ in 0..postings::TRIES {
            let invoice = self.invoice(&paid.invoice).await?;
            let currency = invoice.body.currency;
            if paid.claimed.currency() != currency {
                return Err(EngineError::refused(format!(
                    "invoice {} is in {currency}, Stripe says {} was paid",
                    invoice.number.as_deref().unwrap_or("(draft)"),
                    paid.claimed
                )));
            }
            let heard = self.booked(&format!("{FRONT}{}", paid.theirs)).await?.is_some();
            let before = self.booked_of_stripe(&paid.theirs, currency).await?.exact();
            let open = self.money_on(&postings::receivable(&paid.invoice), currency).await?;
            let claimed = paid.claimed.exact();
            let proven = match paid.collected {
                Some(collected) => collected.exact(),
                None => {
                    let all = money::proven(self.store(), tenant, &paid.theirs).await?;
                    Money::sum(currency, all)?.exact()
                }
            };
            let mut due = proven.at_most(&claimed).sub(&before);
            if paid.collected.is_none() && !heard {
                due = due.at_least(&claimed.at_most(&open.exact()));
            }
            let due = due.at_least(&Exact::ZERO);
            let left = claimed.sub(&before).sub(&due);
            let doubtful = paid.collected.is_none() && left.is_positive();
            let mut commit = Commit::default();
            if due.is_positive() {
                let id = if heard {
                    more_of(&paid.theirs, Money::from_exact(&before, currency)?)
                } else {
                    format!("{FRONT}{}", paid.theirs)
                };
                let payment = Payment {
                    id,
                    customer: invoice.body.paid_by().clone(),
                    amount: Money::from_exact(&due, currency)?,
                    invoices: vec![paid.invoice],
                    method: Some("stripe".to_owned()),
                    received_at: paid.at,
                };
                // What is open is part of the posting: whoever changed it meanwhile makes it fail.
                let open = [OpenInvoice { invoice, open }];
                commit = self.payment_commit(&payment, &open)?.0;
            }
            if due.is_positive() || !heard {
                for name in paid.charges.iter().chain([&paid.theirs]) {
                    commit.writes.push(names(name, paid.invoice.to_string()));
                }
            }
            let known = money::doubtful(self.store(), tenant, &paid.theirs).await?.is_some();
            if doubtful && !known {
                commit.writes.push(paid.kept()?);
            } else if known && !doubtful {
                let key = format!("{DOUBTFUL}{}", paid.theirs);
                commit.writes.push(Write::Set { key, value: None });
            }
            if commit.writes.is_empty() {
                return Ok(());
            }
            match self.commit(&commit).await {
                Ok(()) => return Ok(()),
                Err(error) if raced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::refused("the invoice kept changing; Stripe asks again"))
    }

    /// What came in from Stripe for an invoice, by all payments it told of.
    pub(crate) async fn stripe_paid(
        &self,
        invoice: &InvoiceId,
    ) -> Result<Vec<Payment>, EngineError> {
        let ours = invoice.to_string();
        let mut found = Vec::new();
        let known = self.store.settings(&self.tenant.id, PAID_BY).await?;
        for (key, value) in known {
            let theirs = key.trim_start_matches(PAID_BY);
            if value != ours {
                continue;
            }
            let mut id = format!("{FRONT}{theirs}");
            let mut sum: Option<Money> = None;
            while let Some(document) = self.store.document(&self.tenant.id, "payment", &id).await? {
                let payment: Payment = serde_json::from_value(document.body)?;
                let all = match sum {
                    Some(sum) => sum.checked_add(payment.amount)?,
                    None => payment.amount,
                };
                found.push(payment);
                id = more_of(theirs, all);
                sum = Some(all);
            }
        }
        Ok(found)
    }
}

/// The id of a payment that was proven after so much had been booked.
fn more_of(theirs: &str, before: Money) -> String {
    format!("{FRONT}{theirs}/after-{}", before.to_plain())
}

fn names(name: &str, value: String) -> Write {
    Write::Set { key: format!("{PAID_BY}{name}"), value: Some(value) }
}
