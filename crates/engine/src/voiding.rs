//! Taking an invoice back: void, reissue, write off.

use counterfoil_invoicing::{Cycle, Invoice, InvoiceState};
use counterfoil_store::{Commit, Write};
use counterfoil_types::{InvoiceId, Money, timestamp::DAY_MICROS};

use crate::{
    Engine, EngineError,
    draft::{As, Outcome},
    postings::{self, Move, raced},
    run::{RunOptions, TERMS_DAYS},
};

impl Engine {
    /// Voids an invoice: nothing is owed on it any more, what was paid on it is kept for the
    /// customer, what it used of grants goes back.
    ///
    /// # Errors
    /// When it is not open, or credit notes stand on it: then it is credited, not voided.
    pub async fn void_invoice(&self, id: &InvoiceId, reason: &str) -> Result<Invoice, EngineError> {
        if reason.trim().is_empty() {
            return Err(EngineError::refused("voiding an invoice needs a reason"));
        }
        for _ in 0..postings::TRIES {
            let invoice = self.invoice(id).await?;
            if invoice.state == InvoiceState::Void {
                return Ok(invoice);
            }
            if !invoice.state.may_become(InvoiceState::Void) {
                return Err(EngineError::refused(format!(
                    "invoice {} is {}; only a pending or overdue one is voided. A paid one is given back with a credit note",
                    invoice.number.as_deref().unwrap_or("(draft)"),
                    invoice.state.as_str()
                )));
            }
            if !self.notes_on(id).await?.is_empty() {
                return Err(EngineError::refused(format!(
                    "invoice {} has credit notes; give back what is left with another one",
                    invoice.number.as_deref().unwrap_or_default()
                )));
            }
            let at = self.now_of(&invoice.body.customer);
            let mut posted = self.grant_postings(&invoice, at, true)?;
            let (payer, currency) = (invoice.body.paid_by(), invoice.body.currency);
            let reference = id.to_string();
            let name = postings::receivable(id);
            let open = self.money_on(&name, currency).await?;
            let paid = self.paid_of(&invoice).await?;
            let move_of = |key: &str, account: String, amount: Money, expects| Move {
                key: format!("void/{reference}/{key}"),
                account,
                customer: payer,
                amount,
                at,
                cause: "void",
                reference: &reference,
                expects,
            };
            let expects = Some(open.exact());
            posted.push(move_of("open", name, open.negated(), expects).posting()?);
            if !paid.is_zero() {
                let account = postings::balance(payer, currency);
                posted.push(move_of("paid", account, paid, None).posting()?);
            }
            let mut commit =
                Commit::of(Write::MoveInvoice { invoice: *id, to: InvoiceState::Void });
            commit.writes.push(Write::Post(posted));
            let commit = commit.told(
                "invoice.voided",
                format!("invoice.voided/{id}"),
                at,
                serde_json::json!({"invoice": id, "number": invoice.number, "reason": reason}),
            );
            match self.commit(&commit).await {
                Ok(()) => return self.invoice(id).await,
                Err(error) if raced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::refused("the invoice kept changing; void it again"))
    }

    /// Issues a voided invoice again, as it comes to now, with the next revision and a new number.
    ///
    /// # Errors
    /// When it is not void, or was reissued already.
    pub async fn reissue_invoice(
        &self,
        id: &InvoiceId,
        options: &RunOptions,
    ) -> Result<Invoice, EngineError> {
        let voided = self.invoice(id).await?;
        if voided.state != InvoiceState::Void {
            return Err(EngineError::refused(format!(
                "invoice {} is {}; void it before it is reissued",
                voided.number.as_deref().unwrap_or("(draft)"),
                voided.state.as_str()
            )));
        }
        let body = &voided.body;
        let revisions =
            self.store.cycle_summaries(&self.tenant.id, &body.subscription, body.cycle).await?;
        let latest = revisions.iter().rfind(|other| other.part == body.part);
        if let Some(latest) = latest
            && latest.revision > body.revision
            && latest.state != InvoiceState::Draft
        {
            // The answer of the first time may have been lost before what followed it was done.
            self.use_balances(Some(body.paid_by())).await?;
            return self.invoice(&latest.id).await;
        }
        let books = self.books().await?;
        let subscription = self.subscription(&body.subscription).await?;
        let account = self.account(&books, subscription).await?;
        let cycle = account.cycles.cycle(body.cycle)?.ok_or_else(|| {
            EngineError::refused(format!("subscription {} ends before it", body.subscription))
        })?;
        let job =
            Job { cycle, revision: body.revision + 1, part: body.part, until: body.inputs.until };
        let draft = self.compute_alone(&books, &account, &job).await?;
        self.finalize_alone(draft, "reissued", options).await
    }

    /// Gives an invoice up. What is open stays on record, and a late payment is still taken.
    ///
    /// # Errors
    /// When it is not overdue.
    pub async fn write_off(&self, id: &InvoiceId, reason: &str) -> Result<Invoice, EngineError> {
        if reason.trim().is_empty() {
            return Err(EngineError::refused("writing an invoice off needs a reason"));
        }
        let invoice = self.invoice(id).await?;
        if invoice.state == InvoiceState::Uncollectible {
            return Ok(invoice);
        }
        if !invoice.state.may_become(InvoiceState::Uncollectible) {
            return Err(EngineError::refused(format!(
                "invoice {} is {}; only an overdue one is written off",
                invoice.number.as_deref().unwrap_or("(draft)"),
                invoice.state.as_str()
            )));
        }
        let at = self.now_of(&invoice.body.customer);
        let open = self.money_on(&postings::receivable(id), invoice.body.currency).await?;
        let write = Write::MoveInvoice { invoice: *id, to: InvoiceState::Uncollectible };
        let commit = Commit::of(write).fact(
            "invoice.written_off",
            format!("invoice.written_off/{id}"),
            at,
            serde_json::json!({"invoice": id, "open": open, "reason": reason}),
        );
        self.commit(&commit).await?;
        self.invoice(id).await
    }

    /// Computes one invoice outside a run.
    async fn compute_alone(
        &self,
        books: &crate::Books,
        account: &crate::draft::Account,
        job: &Job,
    ) -> Result<Invoice, EngineError> {
        self.try_alone(books, account, job).await?.map_err(EngineError::refused)
    }

    /// Computes one invoice outside a run, or says why there is nothing to bill.
    pub(crate) async fn try_alone(
        &self,
        books: &crate::Books,
        account: &crate::draft::Account,
        job: &Job,
    ) -> Result<Result<Invoice, &'static str>, EngineError> {
        for _ in 0..postings::TRIES {
            let known = self.known(account, job, true, true).await?;
            let view = self.lane_view(self.tenant.lane_of(&account.customer.id)).await?;
            match self.compute(books, account, &job.cycle, &known, As::Of(&view)).await? {
                Outcome::Invoice(body) => return Ok(Ok(Invoice::draft(*body)?)),
                Outcome::Nothing(why) => return Ok(Err(why)),
                Outcome::Moved => {}
            }
        }
        Err(EngineError::refused("usage kept changing while it was read; ask again"))
    }

    /// Stores and finalizes one draft, with its number, accounts and effect.
    pub(crate) async fn finalize_alone(
        &self,
        draft: Invoice,
        cause: &str,
        options: &RunOptions,
    ) -> Result<Invoice, EngineError> {
        let at = self.now_of(&draft.body.customer);
        let year = draft.body.zone.civil(at)?.year();
        let payer = self.customer(draft.body.paid_by()).await?;
        let days = payer.terms_days.map_or(TERMS_DAYS, i64::from);
        let id = draft.id;
        let mut posted = self.grant_postings(&draft, at, false)?;
        posted.extend(self.issue_postings(id, &payer.id, draft.body.total, at)?);
        let body = serde_json::json!({"invoice": id, "cause": cause});
        let mut commit = Commit::of(Write::PutDraft(Box::new(draft)));
        commit.writes.push(Write::Finalize {
            invoice: id,
            series: format!("{}-{year}-", options.series),
            at,
            due_at: at.plus_micros(days * DAY_MICROS),
        });
        commit.writes.push(Write::Post(posted));
        let commit = commit.fact("invoice.alone", format!("invoice.alone/{id}"), at, body);
        self.commit(&commit).await?;
        self.use_balances(Some(&payer.id)).await?;
        self.invoice(&id).await
    }
}

/// An invoice to be computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) cycle: Cycle,
    pub(crate) revision: u32,
    pub(crate) part: u32,
    pub(crate) until: Option<counterfoil_types::Timestamp>,
}

impl Job {
    /// The regular invoice of a cycle.
    pub(crate) fn regular(cycle: Cycle) -> Self {
        Self { cycle, revision: 0, part: 0, until: None }
    }
}
