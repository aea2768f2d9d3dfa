//! Credit notes: giving back what was invoiced, by request or because late events made a closed
//! period cheaper.

use counterfoil_invoicing::{
    CreditNote, CreditNoteLine, Invoice, InvoiceState, TaxMode,
    credit_note::{Corrected, CreditNoteError, CreditScope, CreditedTax, credit_lines, value},
    cycle::CycleNumber,
    settle::{Billed, LineKey},
};
use counterfoil_rating::LatePolicy;
use counterfoil_store::{Commit, Document, DocumentFilter, Posting, Write};
use counterfoil_types::{Exact, InvoiceId, Money, Quantity, Rounding, SubscriptionId, derive_uuid};

use crate::{
    Engine, EngineError,
    accounts::PAGE,
    draft::{Account, As, is_late_credit},
    postings::{self, Move, raced},
};

/// What to do with what was paid already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaidBack {
    /// The customer has it in credit.
    #[default]
    Balance,
    /// It is paid out.
    Refund,
    /// It was paid out before the note, whatever is open.
    Gone,
}

/// A credit note to be issued.
#[derive(Clone, Debug)]
pub struct CreditRequest {
    /// Makes the note unique: asking twice issues it once.
    pub id: String,
    /// The invoice.
    pub invoice: InvoiceId,
    /// What of it.
    pub scope: CreditScope,
    /// Why.
    pub reason: String,
    /// What to do with what was paid.
    pub paid_back: PaidBack,
    /// Usage it corrects.
    pub corrects: Vec<Corrected>,
}

impl Engine {
    /// Issues a credit note.
    ///
    /// # Errors
    /// When the invoice is no finalized one, or more is asked for than is left.
    pub async fn credit(&self, request: &CreditRequest) -> Result<CreditNote, EngineError> {
        if request.reason.trim().is_empty() {
            return Err(EngineError::refused("a credit note must say why it is issued"));
        }
        for _ in 0..postings::TRIES {
            let stored = self.store.document(&self.tenant.id, "credit_note", &request.id).await?;
            if let Some(stored) = stored {
                let note: CreditNote = serde_json::from_value(stored.body)?;
                if note.invoice != request.invoice {
                    return Err(EngineError::refused(format!(
                        "credit note {} exists for invoice {}; choose another id",
                        request.id, note.invoice_number
                    )));
                }
                return Ok(note);
            }
            let invoice = self.invoice(&request.invoice).await?;
            if matches!(invoice.state, InvoiceState::Draft | InvoiceState::Void) {
                return Err(EngineError::refused(format!(
                    "invoice {} is {}; only a finalized one is credited",
                    invoice.number.as_deref().unwrap_or("(draft)"),
                    invoice.state.as_str()
                )));
            }
            let earlier = self.notes_on(&invoice.id).await?;
            let (commit, note) = self.credit_commit(request, &invoice, &earlier).await?;
            match self.commit(&commit).await {
                Ok(()) => return Ok(note),
                Err(error) if raced(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::refused("the invoice kept changing; ask for the credit note again"))
    }

    /// All credit notes on an invoice.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn notes_on(&self, invoice: &InvoiceId) -> Result<Vec<CreditNote>, EngineError> {
        let filter = DocumentFilter { customer: None, subject: Some(invoice.to_string()) };
        let mut notes = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .store
                .documents(&self.tenant.id, "credit_note", &filter, after.as_deref(), PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(notes) };
            after = Some(last.id.clone());
            for document in page {
                notes.push(serde_json::from_value(document.body)?);
            }
        }
    }

    pub(crate) async fn credit_commit(
        &self,
        request: &CreditRequest,
        invoice: &Invoice,
        earlier: &[CreditNote],
    ) -> Result<(Commit, CreditNote), EngineError> {
        let body = &invoice.body;
        let (currency, payer) = (body.currency, body.paid_by());
        let at = self.now_of(&body.customer);
        let lines = credit_lines(invoice, earlier, &request.scope)?;
        let mode = body.inputs.tax.mode;
        let values: Vec<Money> =
            lines.iter().map(|line| value(line, mode)).collect::<Result<_, _>>()?;
        let total = Money::sum(currency, values)?;
        let prepaid = Money::sum(currency, lines.iter().map(|line| line.prepaid))?;
        let cash = total.checked_sub(prepaid)?;
        let name = postings::receivable(&invoice.id);
        let open = self.money_on(&name, currency).await?;
        let owed = match request.paid_back {
            PaidBack::Gone => Exact::ZERO,
            PaidBack::Balance | PaidBack::Refund => open.exact(),
        };
        let off = Money::from_exact(&cash.exact().at_most(&owed).at_least(&Exact::ZERO), currency)?;
        let rest = cash.checked_sub(off)?;
        let zero = Money::zero(currency);
        let (to_balance, refunded) = match request.paid_back {
            PaidBack::Balance => (rest, zero),
            PaidBack::Refund | PaidBack::Gone => (zero, rest),
        };
        let note = CreditNote {
            id: request.id.clone(),
            invoice: invoice.id,
            invoice_number: invoice.number.clone().unwrap_or_default(),
            customer: body.customer.clone(),
            reason: request.reason.clone(),
            currency,
            taxes: taxes_of(invoice, &lines)?,
            lines,
            total,
            prepaid,
            off_receivable: off,
            to_balance,
            refunded,
            corrects: request.corrects.clone(),
        };
        // All notes on an invoice draw on one account, opened with its value: two that are issued
        // at once cannot both take the last of it.
        let value_account = format!("creditable/{}", invoice.id);
        let value = creditable(invoice)?;
        let given = Money::sum(currency, earlier.iter().map(|note| note.total))?;
        let opening = invoice.id.to_string();
        let opened = Move {
            key: value_account.clone(),
            account: value_account.clone(),
            customer: payer,
            amount: value,
            at: invoice.issued_at.unwrap_or(at),
            cause: "invoice",
            reference: &opening,
            expects: None,
        };
        let mut posted = vec![opened.posting()?];
        let mut post = |key: &str, account: String, amount: Money, expects: Option<Exact>| {
            let moved = Move {
                key: format!("credit_note/{}/{key}", request.id),
                account,
                customer: payer,
                amount,
                at,
                cause: "credit_note",
                reference: &request.id,
                expects,
            };
            moved.posting().map(|posting| posted.push(posting))
        };
        let left = value.checked_sub(given)?;
        post("value", value_account, total.negated(), Some(left.exact()))?;
        if !off.is_zero() {
            post("open", name, off.negated(), Some(open.exact()))?;
        }
        if !to_balance.is_zero() {
            post("balance", postings::balance(payer, currency), to_balance, None)?;
        }
        posted.extend(self.give_back_prepaid(invoice, earlier, prepaid, &request.id, at)?);
        let document = Document {
            kind: "credit_note".to_owned(),
            id: request.id.clone(),
            customer: body.customer.clone(),
            subject: invoice.id.to_string(),
            number: None,
            at,
            body: serde_json::to_value(&note)?,
        };
        let year = body.zone.civil(at)?.year();
        let series = Some(format!("CN-{year}-"));
        let mut commit = Commit::of(Write::Issue { document, series });
        commit.writes.push(Write::Post(posted));
        let settled = off == open && !open.is_zero();
        let state = invoice.state;
        if settled && matches!(state, InvoiceState::Pending | InvoiceState::Overdue) {
            let to = InvoiceState::Paid;
            commit.writes.push(Write::MoveInvoice { invoice: invoice.id, to });
        }
        let commit = commit.told(
            "credit_note.issued",
            format!("credit_note.issued/{}", request.id),
            at,
            serde_json::json!({"credit_note": request.id, "invoice": invoice.id, "total": total}),
        );
        Ok((commit, note))
    }

    /// Prepaid credit goes back to the grants it came from, the last used first.
    fn give_back_prepaid(
        &self,
        invoice: &Invoice,
        earlier: &[CreditNote],
        prepaid: Money,
        note: &str,
        at: counterfoil_types::Timestamp,
    ) -> Result<Vec<Posting>, EngineError> {
        let mut skip = earlier.iter().fold(Exact::ZERO, |sum, note| sum.add(&note.prepaid.exact()));
        let mut left = prepaid.exact();
        let mut posted = Vec::new();
        for used in invoice.body.credits.iter().rev() {
            let back_before = used.amount.exact().at_most(&skip);
            skip = skip.sub(&back_before);
            let amount = used.amount.exact().sub(&back_before).at_most(&left);
            if !amount.is_positive() {
                continue;
            }
            left = left.sub(&amount);
            posted.push(Posting {
                key: format!("credit_note/{note}/grant/{}", used.grant),
                account: postings::grant(&used.grant),
                customer: invoice.body.customer.clone(),
                unit: used.amount.currency().code().to_owned(),
                amount: Quantity::try_from(&amount)?,
                at,
                cause: "credit_note".to_owned(),
                reference: note.to_owned(),
                expects: None,
            });
        }
        Ok(posted)
    }

    /// Issues the credit notes that late events call for on a subscription whose policy is
    /// `credit_note`: what closed periods cost less than was billed, as far as it is left on the
    /// invoices that billed it. The rest stands on the next invoice, as every correction does.
    /// Doing it twice does it once.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn credit_late(
        &self,
        subscription: &SubscriptionId,
    ) -> Result<Vec<CreditNote>, EngineError> {
        let books = self.books().await?;
        let subscription = self.subscription(subscription).await?;
        let account = self.account(&books, subscription).await?;
        let mut issued = Vec::new();
        'again: for _ in 0..postings::TRIES {
            let view = self.lane_view(self.tenant.lane_of(&account.customer.id)).await?;
            let earlier = self.earlier(&account, None).await?;
            let known = crate::draft::Known { earlier, ..Default::default() };
            let billed = Billed::of(&known.earlier.invoices, &known.earlier.notes)?;
            let cycles = known.earlier.cycles(&billed, CycleNumber::MAX);
            for number in cycles {
                if self.late_policy(&books, &account, number)? != LatePolicy::CreditNote {
                    continue;
                }
                let at = As::Of(&view);
                let found = self.correction(&books, &account, number, &billed, &known, at).await?;
                let Some(found) = found else { continue 'again };
                for line in found.iter().filter(|line| is_late_credit(line)) {
                    let key = LineKey::of(line, number);
                    let amount = line.amount.negated();
                    let note = self.credit_late_line(
                        &account,
                        &known.earlier.invoices,
                        &key,
                        amount,
                        view.head,
                    );
                    issued.extend(note.await?);
                }
            }
            return Ok(issued);
        }
        Err(EngineError::refused("usage kept changing while it was read; ask again"))
    }

    /// Gives back `amount` of the lines that billed `key`, the latest invoice first.
    async fn credit_late_line(
        &self,
        account: &Account,
        invoices: &[Invoice],
        key: &LineKey,
        amount: Money,
        position: u64,
    ) -> Result<Vec<CreditNote>, EngineError> {
        let mut left = amount.exact();
        let mut issued = Vec::new();
        for invoice in invoices.iter().rev() {
            let notes = self.notes_on(&invoice.id).await?;
            for (at, line) in invoice.body.lines.iter().enumerate() {
                if LineKey::of(line, invoice.body.cycle) != *key || !left.is_positive() {
                    continue;
                }
                let given = notes
                    .iter()
                    .flat_map(|note| &note.lines)
                    .filter(|credited| credited.line == at)
                    .fold(Exact::ZERO, |sum, credited| sum.add(&credited.amount.exact()));
                // An invoice that holds lines below zero may have less left than this line.
                let room = room_for(invoice, at, &self.notes_on(&invoice.id).await?)?;
                let part = line.amount.exact().sub(&given).at_most(&left).at_most(&room);
                if !part.is_positive() {
                    continue;
                }
                left = left.sub(&part);
                let part = Money::from_exact(&part, amount.currency())?;
                // The ledger position makes the id: what is known of the period there.
                let id = derive_uuid(
                    "late-credit",
                    &[
                        account.subscription.id.as_str(),
                        &invoice.id.to_string(),
                        &at.to_string(),
                        &position.to_string(),
                    ],
                );
                let request = CreditRequest {
                    id: id.to_string(),
                    invoice: invoice.id,
                    scope: CreditScope::Net(vec![(at, part)]),
                    reason: "usage was corrected after its invoice".to_owned(),
                    paid_back: PaidBack::Balance,
                    corrects: vec![Corrected {
                        cycle: key.cycle,
                        kind: key.kind,
                        plan: key.plan.clone(),
                        charge: key.charge.clone(),
                        from: key.from,
                        amount: part,
                    }],
                };
                match self.credit(&request).await {
                    Ok(note) => issued.push(note),
                    // Nothing of this invoice is left to give back: that stops nobody's run.
                    Err(EngineError::CreditNote(
                        CreditNoteError::TooMuch { .. } | CreditNoteError::Nothing,
                    )) => left = left.add(&part.exact()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(issued)
    }
}

/// What all notes on an invoice may come to: its total and what was prepaid.
fn creditable(invoice: &Invoice) -> Result<Money, EngineError> {
    Ok(invoice.body.total.checked_add(invoice.body.credit()?)?)
}

/// Most of a line that can be given back, tax apart where it is added, before the notes on its
/// invoice come to more than the invoice.
fn room_for(invoice: &Invoice, at: usize, notes: &[CreditNote]) -> Result<Exact, EngineError> {
    let body = &invoice.body;
    let given = Money::sum(body.currency, notes.iter().map(|note| note.total))?;
    let room = creditable(invoice)?.checked_sub(given)?.exact();
    let amount = body.lines.get(at).map_or(Exact::ZERO, |line| line.amount.exact());
    if body.inputs.tax.mode == TaxMode::Inclusive || amount.is_zero() {
        return Ok(room);
    }
    let taxes = body.taxes.iter().filter_map(|tax| tax.by_line.get(at));
    let value = taxes.fold(amount.clone(), |value, tax| value.add(&tax.exact()));
    let net = room.mul(&amount).div(&value)?;
    Ok(net.round(body.currency.decimals(), Rounding::TowardsZero))
}

/// Taxes of a note by rate, as the invoice names them.
fn taxes_of(invoice: &Invoice, lines: &[CreditNoteLine]) -> Result<Vec<CreditedTax>, EngineError> {
    invoice
        .body
        .taxes
        .iter()
        .enumerate()
        .map(|(at, tax)| {
            let shares = lines.iter().filter_map(|line| line.taxes.get(at).copied());
            Ok(CreditedTax {
                name: tax.name.clone(),
                percent: tax.percent,
                amount: Money::sum(invoice.body.currency, shares)?,
            })
        })
        .collect()
}
