//! Subscriptions: a customer on a plan of a price book, from a local day on, and how that changed.
//!
//! The terms at a day are a fold over the changes up to it; nothing is overwritten, so an invoice
//! can be derived again from the subscription as it stood.

use std::collections::BTreeMap;

use counterfoil_types::{CustomerId, PlanKey, Quantity, SubscriptionId, Zone};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Keys of a charge that differ for one customer; `null` removes a key.
pub type Patch = serde_json::Map<String, serde_json::Value>;

/// A customer on a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Name given by the tenant.
    pub id: SubscriptionId,
    /// Who pays.
    pub customer: CustomerId,
    /// Name of the price book; each period uses the version in force on its first local day.
    pub book: String,
    /// The plan within it.
    pub plan: PlanKey,
    /// First local day.
    pub start: Date,
    /// First local day it no longer covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Date>,
    /// The version it stays on, whatever is published later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// Local days from the start that cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u32>,
    /// Units of licensed charges, by charge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quantities: BTreeMap<String, Quantity>,
    /// What differs from the price book for this customer, by charge; `plan` for plan-level keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Patch>,
    /// Changes in order of their day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Zone it began in, once the customer's zone has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// A dated change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// First local day it holds.
    pub on: Date,
    /// What changes.
    #[serde(flatten)]
    pub what: ChangeKind,
}

/// What changes in a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChangeKind {
    /// Another plan, perhaps of another book.
    Plan {
        /// The plan.
        plan: PlanKey,
        /// The book, where it is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        book: Option<String>,
        /// The version it stays on from here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pinned: Option<String>,
    },
    /// Other units of a licensed charge.
    Quantity {
        /// The charge.
        charge: String,
        /// Its units.
        quantity: Quantity,
    },
    /// Other prices for this customer.
    Override {
        /// The charge, or `plan`.
        charge: String,
        /// What differs; empty for nothing any more.
        patch: Patch,
    },
    /// A plan of the same book on top.
    AddOn {
        /// The plan.
        plan: PlanKey,
    },
    /// An add-on ends.
    DropAddOn {
        /// The plan.
        plan: PlanKey,
    },
    /// Nothing is billed from here.
    Pause,
    /// Billing goes on.
    Resume,
    /// The customer's zone is another one from the next billing period on.
    Zone {
        /// The zone.
        zone: Zone,
    },
}

/// An add-on with the day it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddOn {
    /// The plan.
    pub plan: PlanKey,
    /// First local day.
    pub since: Date,
}

/// What holds on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Name of the price book.
    pub book: String,
    /// The plan.
    pub plan: PlanKey,
    /// First local day on this plan.
    pub since: Date,
    /// The version it stays on.
    pub pinned: Option<String>,
    /// Units of licensed charges.
    pub quantities: BTreeMap<String, Quantity>,
    /// What differs for this customer.
    pub overrides: BTreeMap<String, Patch>,
    /// Plans on top.
    pub add_ons: Vec<AddOn>,
    /// Whether billing is paused.
    pub paused: bool,
}

impl Subscription {
    /// A subscription without anything special.
    #[must_use]
    pub fn new(
        id: SubscriptionId,
        customer: CustomerId,
        book: impl Into<String>,
        plan: PlanKey,
        start: Date,
    ) -> Self {
        Self {
            id,
            customer,
            book: book.into(),
            plan,
            start,
            end: None,
            pinned: None,
            trial_days: None,
            quantities: BTreeMap::new(),
            overrides: BTreeMap::new(),
            changes: Vec::new(),
            zone: None,
        }
    }

    /// Whether the two cover a common local day.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.end.is_none_or(|end| other.start < end) && other.end.is_none_or(|end| self.start < end)
    }

    /// The terms at the start of a local day.
    #[must_use]
    pub fn terms_on(&self, day: Date) -> Terms {
        let mut terms = Terms {
            book: self.book.clone(),
            plan: self.plan.clone(),
            since: self.start,
            pinned: self.pinned.clone(),
            quantities: self.quantities.clone(),
            overrides: self.overrides.clone(),
            add_ons: Vec::new(),
            paused: false,
        };
        for change in self.changes.iter().take_while(|change| change.on <= day) {
            terms.apply(change);
        }
        terms
    }

    /// Adds a change, keeping the order; of one day, later ones come later.
    pub fn change(&mut self, change: Change) {
        let at = self.changes.partition_point(|other| other.on <= change.on);
        self.changes.insert(at, change);
    }

    /// Whether nothing but its start was ever said about it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.changes.is_empty() && self.end.is_none()
    }

    /// The zones it was in: each with the local day it was named on, the first at the start.
    pub fn zones<'a>(&'a self, customer: &'a Zone) -> impl Iterator<Item = (Date, &'a Zone)> {
        let first = self.zone.as_ref().unwrap_or(customer);
        let later = self.changes.iter().filter_map(|change| match &change.what {
            ChangeKind::Zone { zone } => Some((change.on, zone)),
            _ => None,
        });
        std::iter::once((self.start, first)).chain(later)
    }

    /// The local days on which terms change. Its end is none of them: periods are cut there anyway.
    pub fn cuts(&self) -> impl Iterator<Item = Date> {
        self.changes
            .iter()
            .filter(|change| !matches!(change.what, ChangeKind::Zone { .. }))
            .map(|change| change.on)
    }
}

impl Terms {
    fn apply(&mut self, change: &Change) {
        match &change.what {
            ChangeKind::Plan { plan, book, pinned } => {
                self.plan.clone_from(plan);
                if let Some(book) = book {
                    self.book.clone_from(book);
                    // Add-ons belong to the book they came from.
                    self.add_ons.clear();
                }
                self.pinned.clone_from(pinned);
                self.since = change.on;
            }
            ChangeKind::Quantity { charge, quantity } => {
                self.quantities.insert(charge.clone(), *quantity);
            }
            ChangeKind::Override { charge, patch } => {
                if patch.is_empty() {
                    self.overrides.remove(charge);
                } else {
                    self.overrides.insert(charge.clone(), patch.clone());
                }
            }
            ChangeKind::AddOn { plan } => {
                if !self.add_ons.iter().any(|other| other.plan == *plan) {
                    self.add_ons.push(AddOn { plan: plan.clone(), since: change.on });
                }
            }
            ChangeKind::DropAddOn { plan } => self.add_ons.retain(|other| other.plan != *plan),
            ChangeKind::Pause => self.paused = true,
            ChangeKind::Resume => self.paused = false,
            ChangeKind::Zone { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn terms_are_the_fold_of_the_changes_up_to_a_day() {
        let mut subscription = Subscription::new(
            "s".parse().unwrap(),
            "c".parse().unwrap(),
            "b",
            "small".parse().unwrap(),
            day("2026-01-01"),
        );
        let seats = |n: u32| ChangeKind::Quantity { charge: "seats".into(), quantity: n.into() };
        let plan = ChangeKind::Plan { plan: "big".parse().unwrap(), book: None, pinned: None };
        subscription.change(Change { on: day("2026-03-10"), what: seats(7) });
        subscription.change(Change { on: day("2026-02-01"), what: seats(5) });
        subscription.change(Change { on: day("2026-03-10"), what: plan });
        subscription.change(Change { on: day("2026-04-01"), what: ChangeKind::Pause });
        assert!(subscription.terms_on(day("2026-01-31")).quantities.is_empty());
        assert_eq!(subscription.terms_on(day("2026-02-01")).quantities["seats"], 5.into());
        let march = subscription.terms_on(day("2026-03-10"));
        assert_eq!((march.plan.as_str(), march.since), ("big", day("2026-03-10")));
        assert_eq!(march.quantities["seats"], 7.into());
        assert!(subscription.terms_on(day("2026-04-02")).paused && !march.paused);
        let text = serde_json::to_string(&subscription).unwrap();
        assert_eq!(serde_json::from_str::<Subscription>(&text).unwrap(), subscription);
    }

    fn started(start: &str, end: Option<&str>) -> Subscription {
        let (id, customer) = ("s".parse().unwrap(), "c".parse().unwrap());
        let plan = "small".parse().unwrap();
        let end = end.map(day);
        Subscription { end, ..Subscription::new(id, customer, "b", plan, day(start)) }
    }

    #[test]
    fn two_that_touch_do_not_overlap() {
        let january = started("2026-01-01", Some("2026-02-01"));
        let february = started("2026-02-01", Some("2026-03-01"));
        let open = started("2026-01-31", None);
        assert!(!january.overlaps(&february) && !february.overlaps(&january));
        assert!(january.overlaps(&open) && open.overlaps(&january));
        assert!(february.overlaps(&open) && open.overlaps(&open));
        assert!(!started("2026-02-01", None).overlaps(&january));
    }

    #[test]
    fn only_one_that_nothing_was_said_about_is_plain() {
        assert!(started("2026-01-01", None).is_plain());
        assert!(!started("2026-01-01", Some("2026-02-01")).is_plain());
        let mut changed = started("2026-01-01", None);
        changed.change(Change { on: day("2026-02-01"), what: ChangeKind::Pause });
        assert!(!changed.is_plain());
    }

    #[test]
    fn zones_cut_nothing_and_all_else_does() {
        let (berlin, tokyo): (Zone, Zone) =
            ("Europe/Berlin".parse().unwrap(), "Asia/Tokyo".parse().unwrap());
        let mut subscription = started("2026-01-01", None);
        let what = ChangeKind::Zone { zone: tokyo.clone() };
        subscription.change(Change { on: day("2026-02-01"), what });
        subscription.change(Change { on: day("2026-03-01"), what: ChangeKind::Pause });
        assert_eq!(subscription.cuts().collect::<Vec<_>>(), [day("2026-03-01")]);
        let zones: Vec<(Date, &Zone)> = subscription.zones(&berlin).collect();
        assert_eq!(zones, [(day("2026-01-01"), &berlin), (day("2026-02-01"), &tokyo)]);
        subscription.zone = Some(Zone::utc());
        assert_eq!(subscription.zones(&berlin).next().unwrap().1, &Zone::utc());
    }

    #[test]
    fn each_kind_of_change_does_what_it_says() {
        let mut subscription = started("2026-01-01", None);
        let add = |plan: &str| ChangeKind::AddOn { plan: plan.parse().unwrap() };
        let over = |text: &str| ChangeKind::Override {
            charge: "seats".into(),
            patch: serde_json::from_str(text).unwrap(),
        };
        let plan = |book: Option<&str>| ChangeKind::Plan {
            plan: "big".parse().unwrap(),
            book: book.map(str::to_owned),
            pinned: Some("7".into()),
        };
        let changes = [
            ("2026-02-01", add("support")),
            ("2026-02-01", over(r#"{"unit_price":1}"#)),
            ("2026-02-02", add("backup")),
            ("2026-02-03", add("support")),
            ("2026-02-04", ChangeKind::DropAddOn { plan: "backup".parse().unwrap() }),
            ("2026-02-05", over("{}")),
            ("2026-02-06", ChangeKind::Pause),
            ("2026-02-07", ChangeKind::Resume),
            ("2026-02-08", plan(None)),
            ("2026-02-09", plan(Some("other"))),
        ];
        for (on, what) in changes {
            subscription.change(Change { on: day(on), what });
        }
        let on = |text: &str| subscription.terms_on(day(text));
        let since = |text: &str| -> Vec<(String, Date)> {
            on(text).add_ons.iter().map(|one| (one.plan.to_string(), one.since)).collect()
        };
        let support = ("support".to_owned(), day("2026-02-01"));
        let backup = ("backup".to_owned(), day("2026-02-02"));
        assert_eq!(since("2026-02-03"), [support.clone(), backup], "added twice is added once");
        assert_eq!(since("2026-02-04"), std::slice::from_ref(&support));
        assert_eq!(on("2026-02-04").overrides["seats"]["unit_price"], 1);
        assert!(on("2026-02-05").overrides.is_empty(), "an empty patch ends the override");
        assert!(on("2026-02-06").paused && !on("2026-02-07").paused);
        let same_book = on("2026-02-08");
        assert_eq!((same_book.book.as_str(), same_book.pinned.as_deref()), ("b", Some("7")));
        assert_eq!(since("2026-02-08"), [support], "add-ons stay within their book");
        assert_eq!(on("2026-02-09").book, "other");
        assert!(since("2026-02-09").is_empty());
    }
}
