//! Scopes: what a key may do. Every operation names one; there is no operation without.

use serde::Serialize;

/// What an operation asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nothing: health and documents about the service itself.
    Public,
    /// Sending events.
    Ingest,
    /// Reading usage, customers, invoices.
    Read,
    /// Checking and consuming quotas and rate limits.
    Quota,
    /// Changing customers, subscriptions, price books, invoices; running months.
    Finance,
    /// Keys, audit log, settings, test clocks.
    Admin,
}

/// Scopes a key can have, widest last.
pub const SCOPES: [&str; 5] = ["ingest", "read", "quota", "finance", "admin"];

/// The scope of keys for one customer.
pub const CUSTOMER: &str = "customer";

impl Scope {
    /// As keys have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Quota => "quota",
            Self::Finance => "finance",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with these scopes may do it. `admin` may do all; `finance` may read.
    #[must_use]
    pub fn is_covered_by(self, scopes: &[String]) -> bool {
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        match self {
            Self::Public => true,
            Self::Read => has("read") || has("finance") || has("admin"),
            other => has(other.as_str()) || has("admin"),
        }
    }
}
