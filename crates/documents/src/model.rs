//! What a document says, as numbers. All formats are made from this and compute nothing that is
//! shown; [`Model::check`] holds every sum against its parts before anything is written.

use counterfoil_invoicing::LineKind;
use counterfoil_rating::Part;
use counterfoil_types::{Currency, Digest, Exact, Money, Period, Quantity, Timestamp, Zone};

use crate::{branding::Party, error::DocumentError};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An invoice.
    Invoice,
    /// A credit note.
    CreditNote,
    /// A receipt for a payment.
    Receipt,
    /// A statement of account.
    Statement,
}

impl Kind {
    /// Its name in file names and templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit-note",
            Self::Receipt => "receipt",
            Self::Statement => "statement",
        }
    }
}

/// That a document does not count, in a word across it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// It may still change.
    Draft,
    /// It was withdrawn.
    Void,
}

/// Why no tax is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untaxed {
    /// The recipient owes it; its tax number.
    ReverseCharge(String),
    /// It is exempt, for this reason.
    Exempt(String),
    /// No tax applies.
    OutOfScope,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is charged.
    pub name: String,
    /// Why, where it is not simply what was used or ordered.
    pub kind: Option<LineKind>,
    /// What it is for.
    pub period: Option<Period>,
    /// What was metered, and its unit.
    pub metered: Option<(Exact, String)>,
    /// Units that were billed, after conversion.
    pub units: Exact,
    /// The calculation.
    pub parts: Vec<Part>,
    /// What each part was multiplied with, where that is not one.
    pub factor: Option<Exact>,
    /// What the parts come to.
    pub rated: Money,
    /// What was billed before.
    pub already_billed: Option<Money>,
    /// What the line adds.
    pub amount: Money,
    /// Of it, what prepaid credit covers.
    pub prepaid: Money,
    /// Its share of each tax.
    pub taxes: Vec<Money>,
    /// Whether it is not taxed.
    pub exempt: bool,
}

/// A tax.
#[derive(Clone, Debug)]
pub struct Tax {
    /// Name.
    pub name: String,
    /// Percent.
    pub percent: Quantity,
    /// What it is taken on.
    pub base: Money,
    /// How much.
    pub amount: Money,
}

/// What a movement on an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovementKind {
    /// An invoice: more is owed.
    Invoice,
    /// A payment: less is owed.
    Payment,
    /// A credit note: less is owed.
    CreditNote,
    /// A payment out: what was in credit is less.
    Refund,
    /// An invoice that was withdrawn: less is owed.
    Void,
    /// An invoice that was given up: less is owed.
    WriteOff,
}

/// A movement, with what is owed after it.
#[derive(Clone, Debug)]
pub struct Movement {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: MovementKind,
    /// Its number.
    pub reference: String,
    /// By how much what is owed changes.
    pub amount: Money,
    /// What is owed after it.
    pub balance: Money,
}

/// Usage of a meter by day, and by a property.
#[derive(Clone, Debug)]
pub struct Annex {
    /// What was metered.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Each day, with its usage.
    pub days: Vec<(Timestamp, Exact)>,
    /// The property and its values with their usage.
    pub by: Option<(String, Vec<(String, Exact)>)>,
}

/// A document.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is.
    pub kind: Kind,
    /// Its number; its id where it has none.
    pub number: String,
    /// Whether it counts.
    pub stamp: Option<Stamp>,
    /// SHA-256 of what is stored.
    pub digest: Option<Digest>,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// When it must be paid.
    pub due_at: Option<Timestamp>,
    /// What it is for.
    pub period: Option<Period>,
    /// Zone of its days.
    pub zone: Zone,
    /// Language of the reader.
    pub language: Option<String>,
    /// Currency.
    pub currency: Currency,
    /// Who receives it, by id.
    pub customer: String,
    /// Who receives it.
    pub buyer: Party,
    /// The invoice it is about, with its day.
    pub refers_to: Option<(String, Option<Timestamp>)>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Lines.
    pub lines: Vec<Line>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// Prepaid credit used: name, amount.
    pub credits: Vec<(String, Money)>,
    /// Taxes.
    pub taxes: Vec<Tax>,
    /// Whether amounts of lines contain the taxes.
    pub inclusive: bool,
    /// Why there are none.
    pub untaxed: Option<Untaxed>,
    /// What must be said of the tax.
    pub tax_note: Option<String>,
    /// Sum of the taxes.
    pub tax: Money,
    /// What it comes to.
    pub total: Money,
    /// Of the total, where it went: for credit notes.
    pub settled: Vec<(Settled, Money)>,
    /// What was owed before the movements.
    pub opening: Option<Money>,
    /// Movements of a statement, invoices of a receipt.
    pub movements: Vec<Movement>,
    /// How a payment came.
    pub method: Option<String>,
    /// Usage.
    pub annex: Vec<Annex>,
}

/// Where the value of a credit note or payment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Back to prepaid credit.
    Prepaid,
    /// Off what was open.
    OffReceivable,
    /// Kept for the customer.
    ToBalance,
    /// Paid out.
    Refunded,
}

impl Model {
    /// A document without content.
    #[must_use]
    pub fn new(kind: Kind, number: String, currency: Currency, zone: Zone) -> Self {
        let none = Money::zero(currency);
        Self {
            kind,
            number,
            stamp: None,
            digest: None,
            issued_at: None,
            due_at: None,
            period: None,
            zone,
            language: None,
            currency,
            customer: String::new(),
            buyer: Party::default(),
            refers_to: None,
            reason: None,
            lines: Vec::new(),
            subtotal: none,
            credits: Vec::new(),
            taxes: Vec::new(),
            inclusive: false,
            untaxed: None,
            tax_note: None,
            tax: none,
            total: none,
            settled: Vec::new(),
            opening: None,
            movements: Vec::new(),
            method: None,
            annex: Vec::new(),
        }
    }

    /// Sum of prepaid credit used.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn credit(&self) -> Result<Money, DocumentError> {
        Ok(Money::sum(self.currency, self.credits.iter().map(|(_, amount)| *amount))?)
    }

    /// Holds every sum against its parts.
    ///
    /// # Errors
    /// [`DocumentError::Sum`] naming what differs.
    pub fn check(&self) -> Result<(), DocumentError> {
        match self.kind {
            Kind::Invoice | Kind::CreditNote => self.check_lines(),
            Kind::Receipt => same(
                "what the payment went to, and the payment",
                &Money::sum(
                    self.currency,
                    self.movements
                        .iter()
                        .map(|movement| movement.amount)
                        .chain(self.settled.iter().map(|(_, amount)| *amount)),
                )?,
                &self.total,
            ),
            Kind::Statement => {
                let mut owed = self.opening.unwrap_or(Money::zero(self.currency));
                for movement in &self.movements {
                    owed = owed.checked_add(movement.amount)?;
                    same(
                        &format!("the balance after {}", movement.reference),
                        &owed,
                        &movement.balance,
                    )?;
                }
                same("the last balance and the total", &owed, &self.total)
            }
        }
    }

    fn check_lines(&self) -> Result<(), DocumentError> {
        let currency = self.currency;
        for (number, line) in (1..).zip(&self.lines) {
            if !line.parts.is_empty() {
                let parts: Exact = line.parts.iter().map(|part| &part.amount).sum();
                if parts != line.rated.exact() {
                    return Err(DocumentError::Sum(format!(
                        "the parts of line {number} come to {parts}, the line says {}",
                        line.rated
                    )));
                }
            }
            let billed = line.already_billed.unwrap_or(Money::zero(currency));
            let left = line.rated.checked_sub(billed)?;
            same(&format!("line {number} less what was billed"), &left, &line.amount)?;
        }
        let sum = Money::sum(currency, self.lines.iter().map(|line| line.amount))?;
        same("lines and subtotal", &sum, &self.subtotal)?;
        let taxes = Money::sum(currency, self.taxes.iter().map(|tax| tax.amount))?;
        same("taxes and their sum", &taxes, &self.tax)?;
        for (at, tax) in self.taxes.iter().enumerate() {
            let none = Money::zero(currency);
            let shares = self.lines.iter().map(|line| line.taxes.get(at).copied().unwrap_or(none));
            same(&format!("shares of {}", tax.name), &Money::sum(currency, shares)?, &tax.amount)?;
        }
        let mut total = self.subtotal.checked_sub(self.credit()?)?;
        if !self.inclusive {
            total = total.checked_add(self.tax)?;
        }
        same("subtotal, credits and taxes, and the total", &total, &self.total)
    }
}

fn same(what: &str, one: &Money, other: &Money) -> Result<(), DocumentError> {
    if one == other {
        return Ok(());
    }
    Err(DocumentError::Sum(format!("{what} differ: {one} and {other}")))
}
