//! The invoice: an immutable body made from named inputs, and the state around it.

use counterfoil_rating::{LatePolicy, RatedLine};
use counterfoil_types::{
    BookRef, Currency, CustomerId, Digest, Exact, InvoiceId, MeterKey, Money, Period, PlanKey,
    SubscriptionId, TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    credit::{CreditUse, GrantUse, OpenCredit, UnitGrant},
    cycle::CycleNumber,
    subscription::Subscription,
    tax::{TaxAmount, TaxDecision},
};

/// Version of the calculation, noted on every invoice: an invoice is rebuilt by the same rules.
pub const ENGINE_VERSION: &str = "2";

/// Where an invoice is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    /// Being computed; may change freely and has no number.
    Draft,
    /// Finalized and owed. From here on the lines never change.
    Pending,
    /// Paid in full.
    Paid,
    /// Owed beyond its terms.
    Overdue,
    /// Given up.
    Uncollectible,
    /// Withdrawn.
    Void,
}

impl InvoiceState {
    /// The name used in storage and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Overdue => "overdue",
            Self::Uncollectible => "uncollectible",
            Self::Void => "void",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Pending, Self::Paid, Self::Overdue, Self::Uncollectible, Self::Void]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Whether an invoice may go from this state to `next` (DESIGN §3, I1).
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use InvoiceState::{Draft, Overdue, Paid, Pending, Uncollectible, Void};
        matches!(
            (self, next),
            (Draft, Pending)
                | (Pending, Paid | Overdue | Void)
                | (Overdue, Paid | Uncollectible | Void)
                | (Uncollectible, Paid)
        )
    }
}

/// Why a line is on the invoice.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Usage of the period that ended.
    Usage,
    /// A fee in arrears for the period that ended.
    FeeArrears,
    /// A fee in advance for the period that begins.
    FeeAdvance,
    /// Usage of an earlier period that arrived after its invoice.
    LateUsage,
    /// What was missing to the plan's minimum.
    PlanMinimum,
    /// What the plan's charges came to above its maximum.
    PlanMaximum,
    /// A discount on the invoice.
    Discount,
    /// What was missing to the commitment of a contract term.
    Commitment,
    /// A correction of something else than usage that was invoiced before: the contract changed.
    Adjustment,
}

/// What a correcting line corrects.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub struct Origin {
    /// The cycle.
    pub cycle: CycleNumber,
    /// The kind of the lines there.
    pub kind: LineKind,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InvoiceLine {
    /// Why it is there.
    pub kind: LineKind,
    /// Charge of the plan.
    pub charge: String,
    /// Shown to the customer.
    pub name: String,
    /// The period it is for.
    pub period: Period,
    /// The price book it was rated with.
    pub book: BookRef,
    /// Its hash.
    pub book_hash: Digest,
    /// The plan.
    pub plan: PlanKey,
    /// The meter, for usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterKey>,
    /// Unit of the meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The meter's value before conversion by the charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<Exact>,
    /// Events of the lane, up to the watermark in the invoice's inputs, that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// What it corrects; none for what this cycle bills itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The phase of the plan it was rated in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether it is not taxed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tax_exempt: bool,
    /// What other invoices and credit notes billed for the same (corrections and parts only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub already_billed: Option<Money>,
    /// The calculation.
    pub rated: RatedLine,
    /// What the line adds to the invoice.
    pub amount: Money,
}

/// What an invoice was computed from: with the same inputs its body comes out the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Inputs {
    /// The customer's lane.
    pub lane: i64,
    /// Ledger events up to this position of the lane were looked at.
    pub position: u64,
    /// Rules of calculation.
    pub engine: String,
    /// The subscription as it stood.
    pub subscription: Subscription,
    /// The customer's zone as it stood.
    pub zone: counterfoil_types::Zone,
    /// The tax decision.
    pub tax: TaxDecision,
    /// Late policy of the customer, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_events: Option<LatePolicy>,
    /// Up to where usage was looked at, for a part of a cycle that is still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether what was billed before was compared with what is known now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compared: bool,
    /// The invoices whose lines counted as billed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billed_by: Vec<InvoiceId>,
    /// Cycles that were left alone: withdrawn, or billed by an invoice of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<CycleNumber>,
    /// The late-usage credit notes that counted as given back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credited_by: Vec<String>,
    /// Prepaid credits that were open, in order of use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<OpenCredit>,
    /// Grants of units that were open, in order of use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<UnitGrant>,
}

/// The immutable part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InvoiceBody {
    /// Tenant.
    pub tenant: TenantId,
    /// Who pays.
    pub customer: CustomerId,
    /// Name of the customer when it was computed.
    pub customer_name: String,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The billing cycle.
    pub cycle: CycleNumber,
    /// 0, or higher after a void and reissue.
    pub revision: u32,
    /// 0, or the number of the part of a cycle that is billed before it closes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u32,
    /// Who pays, where it is another customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<CustomerId>,
    /// When the cycle fell due.
    pub due_cycle_at: Timestamp,
    /// The period that ended, if one did; else the one that begins.
    pub period: Period,
    /// Zone of its dates.
    pub zone: counterfoil_types::Zone,
    /// Currency.
    pub currency: Currency,
    /// The lines.
    pub lines: Vec<InvoiceLine>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// Prepaid credits used, before tax.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credits: Vec<CreditUse>,
    /// Units taken from grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<GrantUse>,
    /// Share of the credits in each line, in line order; empty without credits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credited: Vec<Money>,
    /// Taxes by rate.
    pub taxes: Vec<TaxAmount>,
    /// Sum of the taxes.
    pub tax: Money,
    /// What is owed.
    pub total: Money,
    /// What it was computed from.
    pub inputs: Inputs,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The id of the invoice of a cycle, revision and part.
#[must_use]
pub fn invoice_id(
    tenant: &TenantId,
    subscription: &SubscriptionId,
    cycle: CycleNumber,
    revision: u32,
    part: u32,
) -> InvoiceId {
    let (cycle, revision, part) = (cycle.to_string(), revision.to_string(), part.to_string());
    let mut names = vec![tenant.as_str(), subscription.as_str(), &cycle, &revision];
    if part != "0" {
        names.push(&part);
    }
    InvoiceId::derive(&names)
}

impl InvoiceBody {
    /// The invoice's id: the same for every computation of the same cycle.
    #[must_use]
    pub fn id(&self) -> InvoiceId {
        invoice_id(&self.tenant, &self.subscription, self.cycle, self.revision, self.part)
    }

    /// Who pays.
    #[must_use]
    pub fn paid_by(&self) -> &CustomerId {
        self.payer.as_ref().unwrap_or(&self.customer)
    }

    /// Sum of the credits used.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn credit(&self) -> Result<Money, counterfoil_types::MoneyError> {
        Money::sum(self.currency, self.credits.iter().map(|credit| credit.amount))
    }

    /// The canonical text of the body: JSON with fields in declaration order.
    ///
    /// # Errors
    /// Never for values made by this crate; the error of the JSON writer otherwise.
    pub fn canonical(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// An invoice as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Invoice {
    /// Id.
    pub id: InvoiceId,
    /// State.
    pub state: InvoiceState,
    /// Number, from finalization on.
    pub number: Option<String>,
    /// When it was finalized.
    pub issued_at: Option<Timestamp>,
    /// When it must be paid.
    pub due_at: Option<Timestamp>,
    /// SHA-256 of the canonical body.
    pub digest: Digest,
    /// The body.
    pub body: InvoiceBody,
}

impl Invoice {
    /// A draft around `body`.
    ///
    /// # Errors
    /// As [`InvoiceBody::canonical`].
    pub fn draft(body: InvoiceBody) -> Result<Self, serde_json::Error> {
        let digest = Digest::of(body.canonical()?.as_bytes());
        let id = body.id();
        let state = InvoiceState::Draft;
        Ok(Self { id, state, number: None, issued_at: None, due_at: None, digest, body })
    }
}
