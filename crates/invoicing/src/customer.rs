//! Customers.

use counterfoil_rating::LatePolicy;
use counterfoil_types::{Currency, CustomerId, Quantity, Zone};
use serde::{Deserialize, Serialize};

pub use counterfoil_rating::tax::{TaxMode, TaxRate};

/// Someone who is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// The name events carry.
    pub id: CustomerId,
    /// Shown on invoices.
    pub name: String,
    /// Where invoices and alerts go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Language of its mails, such as `de` or `de-AT`; English when absent or not spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Currency of all its invoices.
    pub currency: Currency,
    /// Zone its billing periods are computed in.
    pub zone: Zone,
    /// Taxes on its invoices, each on the net amount.
    #[serde(default)]
    pub tax: Vec<TaxRate>,
    /// Whether prices contain the tax.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tax_mode: TaxMode,
    /// Why no tax is charged, where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_exempt: Option<String>,
    /// Its tax number, where it owes the tax itself (reverse charge).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_charge: Option<String>,
    /// Who pays its invoices, where it does not itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CustomerId>,
    /// Days it has to pay; the tenant's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_days: Option<u32>,
    /// What happens to its late events; the plan's policy when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_events: Option<LatePolicy>,
}

fn is_default(mode: &TaxMode) -> bool {
    *mode == TaxMode::default()
}

impl Customer {
    /// A customer without anything special.
    #[must_use]
    pub fn new(id: CustomerId, name: impl Into<String>, currency: Currency, zone: Zone) -> Self {
        Self {
            id,
            name: name.into(),
            email: None,
            language: None,
            currency,
            zone,
            tax: Vec::new(),
            tax_mode: TaxMode::default(),
            tax_exempt: None,
            reverse_charge: None,
            parent: None,
            terms_days: None,
            late_events: None,
        }
    }

    /// Checks what serde cannot.
    ///
    /// # Errors
    /// A sentence naming the field.
    pub fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("customer name must not be empty".to_owned());
        }
        if let Some(email) = &self.email {
            let plausible = email.split_once('@').is_some_and(|(name, host)| {
                !name.is_empty() && host.contains('.') && !host.starts_with('.')
            });
            if !plausible || email.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(format!("email {email:?} is not an e-mail address"));
            }
        }
        if self.parent.as_ref() == Some(&self.id) {
            return Err(format!("customer {} cannot be its own parent", self.id));
        }
        for (field, text) in
            [("tax_exempt", &self.tax_exempt), ("reverse_charge", &self.reverse_charge)]
        {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return Err(format!("{field} must say something, or be left out"));
            }
        }
        if self.terms_days.is_some_and(|days| days > 3660) {
            return Err("terms_days must lie between 0 and 3660".to_owned());
        }
        for rate in &self.tax {
            if rate.percent.is_negative() || rate.percent > Quantity::from(100) {
                return Err(format!(
                    "tax rate {} must lie between 0 and 100 percent",
                    rate.percent
                ));
            }
        }
        Ok(())
    }
}
