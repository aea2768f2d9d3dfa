//! Prepaid credits and grants as an invoice uses them.
//!
//! A grant is an amount of money or of a meter's units that a customer has before it uses it. The
//! order of use is: lowest priority number first, then the one that expires first, then the older
//! one. Money is used on the invoice, before tax; units are taken off the front of what a charge
//! bills.

use std::cmp::Ordering;

use counterfoil_types::{
    Currency, CustomerId, Exact, Interval, MeterKey, Money, Quantity, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Where a grant came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// The customer paid for it: what is left is owed to it.
    Paid,
    /// Given away.
    Promotional,
}

impl GrantKind {
    /// The name used in storage and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Promotional => "promotional",
        }
    }
}

/// What a grant is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantUnit {
    /// Money.
    Currency(Currency),
    /// Units of a meter.
    Meter(MeterKey),
}

impl GrantUnit {
    /// Currency code or meter key.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Currency(currency) => currency.code(),
            Self::Meter(meter) => meter.as_str(),
        }
    }
}

/// What comes back with each window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Renewal {
    /// Length of a window.
    pub every: Interval,
    /// Most that is carried over from the window before; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover: Option<Quantity>,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Name given by the tenant.
    pub id: String,
    /// Whose.
    pub customer: CustomerId,
    /// Shown on invoices.
    pub name: String,
    /// Where it came from.
    pub kind: GrantKind,
    /// What it is in.
    pub unit: GrantUnit,
    /// How much.
    pub amount: Quantity,
    /// Lower is used first.
    pub priority: i64,
    /// From when it can be used.
    pub from: Timestamp,
    /// From when it cannot be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it comes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// The grant of the window before, for one that came again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
}

impl Grant {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// A sentence naming the field.
    pub fn check(&self) -> Result<(), String> {
        if self.id.trim().is_empty() || self.id.contains('/') {
            return Err("a grant's id must not be empty or hold a slash".to_owned());
        }
        if self.amount.is_zero() || self.amount.is_negative() {
            return Err(format!("grant {}: the amount must be above zero", self.id));
        }
        if self.expires.is_some_and(|expires| expires <= self.from) {
            return Err(format!("grant {}: it must expire after it begins", self.id));
        }
        if let GrantUnit::Currency(currency) = &self.unit
            && Money::from_exact(&self.amount.exact(), *currency).is_err()
        {
            return Err(format!(
                "grant {}: {} has more decimals than {currency}",
                self.id, self.amount
            ));
        }
        if self.renewal.is_some() && self.expires.is_none() {
            return Err(format!("grant {}: one that comes again must expire", self.id));
        }
        Ok(())
    }

    /// Whether it can be used at an instant.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.from <= at && self.expires.is_none_or(|expires| at < expires)
    }

    /// Order of use: priority, then earliest expiry, then age.
    #[must_use]
    pub fn before(&self, other: &Self) -> Ordering {
        let expiry = |grant: &Self| grant.expires.unwrap_or(Timestamp::MAX);
        (self.priority, expiry(self), self.from, &self.id).cmp(&(
            other.priority,
            expiry(other),
            other.from,
            &other.id,
        ))
    }
}

/// Money that is open for an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OpenCredit {
    /// The grant.
    pub grant: String,
    /// Shown on the invoice.
    pub name: String,
    /// Where it came from.
    pub kind: GrantKind,
    /// What is left of it.
    pub left: Money,
}

/// Money an invoice uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreditUse {
    /// The grant.
    pub grant: String,
    /// Shown on the invoice.
    pub name: String,
    /// Where it came from.
    pub kind: GrantKind,
    /// How much.
    pub amount: Money,
}

/// Units that are open for an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnitGrant {
    /// The grant.
    pub grant: String,
    /// Shown on the invoice.
    pub name: String,
    /// The meter.
    pub meter: MeterKey,
    /// What is left of it.
    pub left: Quantity,
    /// From when it can be used.
    pub from: Timestamp,
    /// From when it cannot be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Units an invoice takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GrantUse {
    /// The grant.
    pub grant: String,
    /// The meter.
    pub meter: MeterKey,
    /// How many units.
    pub units: Quantity,
}

/// Uses open credits in order on a subtotal; nothing on a subtotal of zero or below.
///
/// # Errors
/// When an amount does not fit.
pub fn use_credits(
    subtotal: Money,
    open: &[OpenCredit],
) -> Result<Vec<CreditUse>, counterfoil_types::MoneyError> {
    let mut left: Exact = subtotal.exact();
    let mut used = Vec::new();
    for credit in open.iter().filter(|credit| credit.left.currency() == subtotal.currency()) {
        let amount = left.at_most(&credit.left.exact());
        if !amount.is_positive() {
            continue;
        }
        left = left.sub(&amount);
        used.push(CreditUse {
            grant: credit.grant.clone(),
            name: credit.name.clone(),
            kind: credit.kind,
            amount: Money::from_exact(&amount, subtotal.currency())?,
        });
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: &str, priority: i64, from: &str, expires: Option<&str>) -> Grant {
        Grant {
            id: id.into(),
            customer: "c".parse().unwrap(),
            name: id.into(),
            kind: GrantKind::Paid,
            unit: GrantUnit::Currency(Currency::USD),
            amount: 10.into(),
            priority,
            from: format!("{from}T00:00:00Z").parse().unwrap(),
            expires: expires.map(|day| format!("{day}T00:00:00Z").parse().unwrap()),
            renewal: None,
            renews: None,
        }
    }

    #[test]
    fn grants_are_used_by_priority_then_expiry_then_age() {
        let mut grants = [
            grant("young", 1, "2026-02-01", None),
            grant("old", 1, "2026-01-01", None),
            grant("soon", 1, "2026-03-01", Some("2026-04-01")),
            grant("first", 0, "2026-03-01", None),
        ];
        grants.sort_by(Grant::before);
        let order: Vec<&str> = grants.iter().map(|grant| grant.id.as_str()).collect();
        assert_eq!(order, ["first", "soon", "old", "young"]);
    }

    #[test]
    fn credits_never_take_more_than_is_owed() {
        let usd =
            |text: &str| Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap();
        let open = |grant: &str, left: &str| OpenCredit {
            grant: grant.into(),
            name: grant.into(),
            kind: GrantKind::Promotional,
            left: usd(left),
        };
        let used = use_credits(usd("12"), &[open("a", "10"), open("b", "10")]).unwrap();
        assert_eq!(used.iter().map(|one| one.amount).collect::<Vec<_>>(), [usd("10"), usd("2")]);
        assert!(use_credits(usd("-5"), &[open("a", "10")]).unwrap().is_empty());
        let euros = OpenCredit { left: Money::zero(Currency::EUR), ..open("e", "10") };
        let used = use_credits(usd("10"), &[euros, open("a", "10"), open("b", "10")]).unwrap();
        assert_eq!(used.iter().map(|one| one.grant.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_serde_cannot_check_is_refused_by_name() {
        let refused = |spoil: fn(&mut Grant)| {
            let mut grant = grant("g", 1, "2026-01-01", Some("2026-02-01"));
            spoil(&mut grant);
            grant.check().err().unwrap_or_default()
        };
        let renewal = || {
            let every = Interval::one(counterfoil_types::IntervalUnit::Month);
            Some(Renewal { every, rollover: None })
        };
        assert_eq!(refused(|_| {}), "");
        assert_eq!(grant("g", 1, "2026-01-01", None).check(), Ok(()));
        assert!(refused(|grant| grant.id = " ".into()).contains("must not be empty"));
        assert!(refused(|grant| grant.id = "a/b".into()).contains("slash"));
        assert!(refused(|grant| grant.amount = Quantity::ZERO).contains("above zero"));
        assert!(refused(|grant| grant.amount = "-1".parse().unwrap()).contains("above zero"));
        assert!(refused(|grant| grant.expires = Some(grant.from)).contains("expire after"));
        let before = refused(|grant| grant.expires = Some(grant.from.plus_micros(-1)));
        assert!(before.contains("expire after"));
        assert_eq!(refused(|grant| grant.expires = Some(grant.from.plus_micros(1))), "");
        let decimals = refused(|grant| grant.amount = "0.001".parse().unwrap());
        assert!(decimals.contains("more decimals than USD"));
        let units = GrantUnit::Meter("calls".parse().unwrap());
        let thousandth = Grant {
            amount: "0.001".parse().unwrap(),
            unit: units.clone(),
            renewal: renewal(),
            ..grant("g", 1, "2026-01-01", Some("2026-02-01"))
        };
        assert_eq!(thousandth.check(), Ok(()));
        let endless = Grant { expires: None, ..thousandth };
        assert!(endless.check().unwrap_err().contains("must expire"));
        assert_eq!(units.name(), "calls");
        assert_eq!(GrantUnit::Currency(Currency::USD).name(), "USD");
    }

    #[test]
    fn a_grant_is_open_from_its_first_instant_to_before_its_expiry() {
        let grant = grant("g", 1, "2026-01-01", Some("2026-02-01"));
        let expires = grant.expires.unwrap();
        assert!(!grant.is_open(grant.from.plus_micros(-1)) && grant.is_open(grant.from));
        assert!(grant.is_open(expires.plus_micros(-1)) && !grant.is_open(expires));
        let endless = Grant { expires: None, ..grant };
        assert!(endless.is_open(Timestamp::MAX) && !endless.is_open(Timestamp::MIN));
    }

    #[test]
    fn kinds_are_named_as_they_are_stored() {
        for (kind, name) in [(GrantKind::Paid, "paid"), (GrantKind::Promotional, "promotional")] {
            assert_eq!(kind.as_str(), name);
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
    }
}
