//! Customers.

use counterfoil_types::{Currency, CustomerId, Quantity, Zone};
use serde::{Deserialize, Serialize};

pub use counterfoil_rating::tax::TaxRate;

/// Someone who is billed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// The name events carry.
    pub id: CustomerId,
    /// Shown on invoices.
    pub name: String,
    /// Where invoices and alerts go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Currency of all its invoices.
    pub currency: Currency,
    /// Zone its billing periods are computed in.
    pub zone: Zone,
    /// Taxes on its invoices, each on the net amount.
    #[serde(default)]
    pub tax: Vec<TaxRate>,
}

impl Customer {
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
