//! The tax port: who decides which taxes an invoice carries. The decision is written on the
//! invoice; what it comes to is computed by `invoicing`.

use async_trait::async_trait;
use counterfoil_invoicing::{Customer, TaxDecision};
use counterfoil_types::Timestamp;

use crate::EngineError;

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct TaxRequest<'a> {
    /// Whose usage is billed.
    pub customer: &'a Customer,
    /// Who pays; the recipient of the invoice for tax purposes.
    pub payer: &'a Customer,
    /// When the invoice falls due.
    pub at: Timestamp,
}

/// A source of tax decisions, for example a tax service.
#[async_trait]
pub trait TaxProvider: Send + Sync {
    /// The taxes of an invoice. The same request must be answered the same way until the invoice
    /// is finalized.
    ///
    /// # Errors
    /// When no decision can be had; the account is parked then, not billed without tax.
    async fn decide(&self, request: TaxRequest<'_>) -> Result<TaxDecision, EngineError>;
}

/// The rates, exemptions and tax numbers written on the payer itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnRates;

#[async_trait]
impl TaxProvider for OwnRates {
    async fn decide(&self, request: TaxRequest<'_>) -> Result<TaxDecision, EngineError> {
        Ok(TaxDecision::of(request.payer))
    }
}
