//! Payments: recorded once, taken off what is open, the rest kept for the customer. And what a
//! customer has in credit, used on what it owes.

use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::{AccountFilter, Commit, Document, Posting, Write};
use counterfoil_types::{Currency, CustomerId, Exact, InvoiceId, Money, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    accounts::PAGE,
    postings::{self, Move, raced},
};

/// A payment as it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Payment {
    /// Its id, for example that of the bank's entry: recording it twice records it once.
    pub id: String,
    /// Who paid.
    pub customer: CustomerId,
    /// How much.
    pub amount: Money,
    /// The invoices it is for; the oldest open ones when empty.
    pub invoices: Vec<InvoiceId>,
    /// How it came, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// What a payment did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Applied {
    /// How much went to which invoice.
    pub to_invoices: Vec<(InvoiceId, Money)>,
    /// What is left for the customer.
    pub to_balance: Money,
}

/// An invoice with what is open on it.
#[derive(Clone, Debug)]
pub(crate) struct OpenInvoice {
    pub(crate) invoice: Invoice,
    pub(crate) open: Money,
}

impl Engine {
    /// Records a payment.
    ///
    /// # Errors
    /// When the amount or an invoice makes no sense, or the id was used for another payment.
    pub async fn record_payment(&self, payment: &Payment) -> Result<Applied, EngineError> {
        let currency = payment.amount.currency();
        if !payment.amount.exact().is_positive() {
            return Err(EngineError::refused("a payment must be above zero"));
        }
        if payment.id.trim().is_empty() {
            return Err(EngineError::refused("a payment needs an id, so that it counts once"));
        }
        let customer = self.customer(&payment.customer).await?;
        if customer.currency != currency {
            return Err(EngineError::refused(format!(
                "customer {} is billed in {}, the payment is in {currency}",
                customer.id, customer.currency
            )));
        }
        for _ in 0..postings::TRIES {
            if let Some(applied) = self.known_payment(payment).await? {
                return Ok(applied);
            }
            let open = self.open_for(payment).await?;
            let (commit, applied) = self.payment_commit(payment, &open)?;
            match self.commit(&commit).await {
                Ok(()) => return Ok(applied),
                Err(error) if raced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::refused("the customer's accounts kept changing; record it again"))
    }

    /// The payment, if it was recorded before.
    pub(crate) async fn known_payment(
        &self,
        payment: &Payment,
    ) -> Result<Option<Applied>, EngineError> {
        let stored = self.store.document(&self.tenant.id, "payment", &payment.id).await?;
        let Some(stored) = stored else { return Ok(None) };
        let known: Payment = serde_json::from_value(stored.body)?;
        if known != *payment {
            return Err(EngineError::refused(format!(
                "payment {} was recorded as {} of customer {} on {}; give this one another id",
                payment.id, known.amount, known.customer, known.received_at
            )));
        }
        let mut applied =
            Applied { to_invoices: Vec::new(), to_balance: Money::zero(payment.amount.currency()) };
        let mut after = 0;
        loop {
            let page = self.store.postings(&self.tenant.id, None, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(Some(applied)) };
            after = last.position;
            for recorded in page {
                let posting = recorded.posting;
                if posting.cause != "payment" || posting.reference != payment.id {
                    continue;
                }
                let amount = Money::from_exact(&posting.amount.exact(), payment.amount.currency())?;
                match posting.account.strip_prefix("receivable/") {
                    Some(invoice) => {
                        let invoice = invoice.parse().map_err(|_| {
                            EngineError::refused(format!("account {} is damaged", posting.account))
                        })?;
                        applied.to_invoices.push((invoice, amount.negated()));
                    }
                    None => applied.to_balance = amount,
                }
            }
        }
    }

    /// What a payment may go to, in order.
    async fn open_for(&self, payment: &Payment) -> Result<Vec<OpenInvoice>, EngineError> {
        if payment.invoices.is_empty() {
            return self.open_invoices(&payment.customer).await;
        }
        let mut open = Vec::new();
        for id in &payment.invoices {
            let invoice = self.invoice(id).await?;
            if *invoice.body.paid_by() != payment.customer {
                return Err(EngineError::refused(format!(
                    "invoice {} is paid by customer {}, not by {}",
                    invoice.number.as_deref().unwrap_or_default(),
                    invoice.body.paid_by(),
                    payment.customer
                )));
            }
            let account = postings::receivable(id);
            let left = self.money_on(&account, invoice.body.currency).await?;
            open.push(OpenInvoice { invoice, open: left });
        }
        Ok(open)
    }

    /// What is open for a payer, the longest due first.
    pub(crate) async fn open_invoices(
        &self,
        payer: &CustomerId,
    ) -> Result<Vec<OpenInvoice>, EngineError> {
        let filter = AccountFilter {
            prefix: "receivable/".to_owned(),
            customer: Some(payer.clone()),
            open: true,
        };
        let mut open = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page =
                self.store.accounts(&self.tenant.id, &filter, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for account in page {
                let id = account.name.trim_start_matches("receivable/");
                let id = id.parse().map_err(|_| {
                    EngineError::refused(format!("account {} is damaged", account.name))
                })?;
                let invoice = self.invoice(&id).await?;
                // Written off means: no longer waited for.
                if invoice.state == InvoiceState::Uncollectible {
                    continue;
                }
                let left = Money::from_exact(&account.balance.exact(), invoice.body.currency)?;
                open.push(OpenInvoice { invoice, open: left });
            }
        }
        open.sort_by(|a, b| {
            (a.invoice.due_at, &a.invoice.number).cmp(&(b.invoice.due_at, &b.invoice.number))
        });
        Ok(open)
    }

    pub(crate) fn payment_commit(
        &self,
        payment: &Payment,
        open: &[OpenInvoice],
    ) -> Result<(Commit, Applied), EngineError> {
        let (at, currency) = (payment.received_at, payment.amount.currency());
        let document = Document {
            kind: "payment".to_owned(),
            id: payment.id.clone(),
            customer: payment.customer.clone(),
            subject: String::new(),
            number: None,
            at,
            body: serde_json::to_value(payment)?,
        };
        let mut commit = Commit::of(Write::Issue { document, series: None });
        let mut left = payment.amount;
        let mut posted: Vec<Posting> = Vec::new();
        let mut applied = Applied { to_invoices: Vec::new(), to_balance: Money::zero(currency) };
        for OpenInvoice { invoice, open } in open {
            let amount = Money::from_exact(&left.exact().at_most(&open.exact()), currency)?;
            if !amount.exact().is_positive() {
                continue;
            }
            left = left.checked_sub(amount)?;
            let moved = Move {
                key: format!("payment/{}/{}", payment.id, invoice.id),
                account: postings::receivable(&invoice.id),
                customer: &payment.customer,
                amount: amount.negated(),
                at,
                cause: "payment",
                reference: &payment.id,
                expects: Some(open.exact()),
            };
            posted.push(moved.posting()?);
            if amount == *open {
                commit
                    .writes
                    .push(Write::MoveInvoice { invoice: invoice.id, to: InvoiceState::Paid });
            }
            applied.to_invoices.push((invoice.id, amount));
        }
        if left.exact().is_positive() {
            let moved = Move {
                key: format!("payment/{}/balance", payment.id),
                account: postings::balance(&payment.customer, currency),
                customer: &payment.customer,
                amount: left,
                at,
                cause: "payment",
                reference: &payment.id,
                expects: None,
            };
            posted.push(moved.posting()?);
            applied.to_balance = left;
        }
        commit.writes.push(Write::Post(posted));
        let commit = commit.told(
            "payment.recorded",
            format!("payment.recorded/{}", payment.id),
            at,
            serde_json::json!({"payment": payment, "applied": applied}),
        );
        Ok((commit, applied))
    }

    /// Uses what customers have in credit on what they owe, the longest due first. Doing it twice
    /// does it once. Returns the invoices and amounts.
    ///
    /// # Errors
    /// As the store has them; repeating continues.
    pub async fn use_balances(
        &self,
        customer: Option<&CustomerId>,
    ) -> Result<Vec<(InvoiceId, Money)>, EngineError> {
        let filter = AccountFilter {
            prefix: "balance/".to_owned(),
            customer: customer.cloned(),
            open: true,
        };
        let mut used = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page =
                self.store.accounts(&self.tenant.id, &filter, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(used) };
            after = Some(last.name.clone());
            for account in page {
                let currency: Currency = account.unit.parse().map_err(|_| {
                    EngineError::refused(format!("account {} is damaged", account.name))
                })?;
                used.extend(self.use_balance(&account.customer, currency).await?);
            }
        }
    }

    async fn use_balance(
        &self,
        customer: &CustomerId,
        currency: Currency,
    ) -> Result<Vec<(InvoiceId, Money)>, EngineError> {
        let mut used = Vec::new();
        for _ in 0..postings::TRIES {
            let name = postings::balance(customer, currency);
            let credit = self.money_on(&name, currency).await?;
            let open = self.open_invoices(customer).await?;
            let next = open.into_iter().find(|open| open.invoice.body.currency == currency);
            let Some(OpenInvoice { invoice, open }) = next else { return Ok(used) };
            let amount = Money::from_exact(&credit.exact().at_most(&open.exact()), currency)?;
            if !amount.exact().is_positive() {
                return Ok(used);
            }
            let at = self.now_of(customer);
            let reference = invoice.id.to_string();
            // What is open only falls; so the key is new each time.
            let key = format!("balance_used/{reference}/{}", open.to_plain());
            let move_of = |key: String, account: String, expects: &Money| Move {
                key,
                account,
                customer,
                amount: amount.negated(),
                at,
                cause: "balance_used",
                reference: &reference,
                expects: Some(expects.exact()),
            };
            let posted = vec![
                move_of(format!("{key}/from"), name, &credit).posting()?,
                move_of(format!("{key}/to"), postings::receivable(&invoice.id), &open).posting()?,
            ];
            let mut commit = Commit::of(Write::Post(posted));
            if amount == open {
                let to = InvoiceState::Paid;
                commit.writes.push(Write::MoveInvoice { invoice: invoice.id, to });
            }
            let commit = commit.fact(
                "balance.used",
                key,
                at,
                serde_json::json!({"customer": customer, "invoice": invoice.id, "amount": amount}),
            );
            match self.commit(&commit).await {
                Ok(()) => used.push((invoice.id, amount)),
                Err(error) if raced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(used)
    }

    /// Pays out what a customer has in credit.
    ///
    /// # Errors
    /// When it asks for more than there is, or the id was used before for something else.
    pub async fn refund_balance(
        &self,
        id: &str,
        customer: &CustomerId,
        amount: Money,
    ) -> Result<(), EngineError> {
        if !amount.exact().is_positive() {
            return Err(EngineError::refused("a refund must be above zero"));
        }
        self.customer(customer).await?;
        let known = self.store.document(&self.tenant.id, "refund", id).await?;
        let name = postings::balance(customer, amount.currency());
        let left = self.money_on(&name, amount.currency()).await?;
        if known.is_none() && left.exact() < amount.exact() {
            return Err(EngineError::refused(format!(
                "customer {customer} has {left} in credit; {amount} cannot be paid out"
            )));
        }
        let at = known.map_or_else(|| self.now_of(customer), |known| known.at);
        let body = serde_json::json!({"id": id, "customer": customer, "amount": amount});
        let document = Document {
            kind: "refund".to_owned(),
            id: id.to_owned(),
            customer: customer.clone(),
            subject: String::new(),
            number: None,
            at,
            body: body.clone(),
        };
        let moved = Move {
            key: format!("refund/{id}"),
            account: postings::balance(customer, amount.currency()),
            customer,
            amount: amount.negated(),
            at,
            cause: "refund",
            reference: id,
            expects: None,
        };
        let mut commit = Commit::of(Write::Issue { document, series: None });
        commit.writes.push(Write::Post(vec![moved.posting()?]));
        let commit = commit.told("refund.recorded", format!("refund.recorded/{id}"), at, body);
        Ok(self.commit(&commit).await?)
    }

    /// An invoice that must exist.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub async fn invoice(&self, id: &InvoiceId) -> Result<Invoice, EngineError> {
        self.store.invoice(&self.tenant.id, id).await?.ok_or_else(|| {
            EngineError::not_found("invoice", id, "; see `counterfoil invoice list`")
        })
    }

    /// The postings that put a finalized invoice on the accounts: what is open, or, for one below
    /// zero, what the customer has in credit.
    pub(crate) fn issue_postings(
        &self,
        invoice: InvoiceId,
        payer: &CustomerId,
        total: Money,
        at: Timestamp,
    ) -> Result<Option<Posting>, EngineError> {
        if total.is_zero() {
            return Ok(None);
        }
        let reference = invoice.to_string();
        let owed = total.exact().is_positive();
        let account = if owed {
            postings::receivable(&invoice)
        } else {
            postings::balance(payer, total.currency())
        };
        let moved = Move {
            key: format!("issued/{reference}"),
            account,
            customer: payer,
            amount: if owed { total } else { total.negated() },
            at,
            cause: "invoice",
            reference: &reference,
            expects: None,
        };
        moved.posting().map(Some)
    }

    /// What of an invoice was paid, by payments and by credit in hand.
    pub(crate) async fn paid_of(&self, invoice: &Invoice) -> Result<Money, EngineError> {
        let name = postings::receivable(&invoice.id);
        let mut paid = Exact::ZERO;
        let mut after = 0;
        loop {
            let page = self.store.postings(&self.tenant.id, Some(&name), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            for recorded in page {
                if matches!(recorded.posting.cause.as_str(), "payment" | "balance_used") {
                    paid = paid.sub(&recorded.posting.amount.exact());
                }
            }
        }
        Ok(Money::from_exact(&paid, invoice.body.currency)?)
    }
}
