//! Price books: publishing them, and finding the version that prices a period.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use counterfoil_catalog::PriceBook;
use counterfoil_invoicing::{InvoiceState, Patch, Rhythm, Subscription, Terms};
use counterfoil_metering::{Aggregation, EVENTS_METER, Meter, MeterSpec};
use counterfoil_rating::Plan;
use counterfoil_store::{BookRow, Commit, InvoiceFilter, MeterRow, Write};
use counterfoil_types::{
    BookRef, Currency, MeterKey, PlanKey, SubscriptionId, Timestamp, Zone, civil::Date,
};

use crate::{Engine, EngineError, accounts::PAGE};

/// All published books and registered meters, parsed: a snapshot to work with.
#[derive(Clone, Debug)]
pub struct Books {
    /// Versions by name, in order of effective date.
    books: BTreeMap<String, Vec<Arc<PriceBook>>>,
    /// Meters by key.
    meters: BTreeMap<MeterKey, Meter>,
    /// Plans resolved before: a run asks for the same few again and again.
    resolved: Arc<Mutex<HashMap<ResolvedKey, Arc<Plan>>>>,
}

/// Book, plan, currency, phase and the customer's own terms as text.
type ResolvedKey = (BookRef, PlanKey, Currency, Option<String>, String);

impl Books {
    /// All meters.
    #[must_use]
    pub fn meters(&self) -> &BTreeMap<MeterKey, Meter> {
        &self.meters
    }

    /// The same snapshot with the meters of another book added, and its definitions preferred:
    /// for trying a book that is not published.
    #[must_use]
    pub fn with_meters_of(&self, book: &PriceBook) -> Self {
        let mut meters = self.meters.clone();
        meters.extend(book.meters.iter().map(|meter| (meter.key.clone(), meter.clone())));
        Self { books: self.books.clone(), meters, resolved: Arc::default() }
    }

    /// Whether all meters of a book are registered as the book defines them.
    #[must_use]
    pub fn knows_meters_of(&self, book: &PriceBook) -> bool {
        book.meters.iter().all(|meter| self.meters.get(&meter.key) == Some(meter))
    }

    /// All books.
    pub fn all(&self) -> impl Iterator<Item = &Arc<PriceBook>> {
        self.books.values().flatten()
    }

    /// A book by name and version.
    #[must_use]
    pub fn exact(&self, reference: &BookRef) -> Option<&Arc<PriceBook>> {
        let versions = self.books.get(&reference.name)?;
        versions.iter().find(|book| book.reference == *reference)
    }

    /// The same snapshot in which a book is priced by `tried` alone, whatever the day; its meters
    /// are added, its definitions preferred.
    #[must_use]
    pub fn trying(&self, tried: &PriceBook) -> Self {
        let mut books = self.with_meters_of(tried);
        let mut tried = tried.clone();
        tried.effective_from = Date::MIN;
        books.books.insert(tried.reference.name.clone(), vec![Arc::new(tried)]);
        books
    }

    /// The version that prices what begins on `day`: the last one effective then, or the one the
    /// terms are pinned to. Subscriptions move to a new version at the first period that starts
    /// under it, never within a period.
    ///
    /// # Errors
    /// When no version is in force on that day.
    pub fn version(&self, terms: &Terms, day: Date) -> Result<&Arc<PriceBook>, EngineError> {
        let name = &terms.book;
        let versions = self.books.get(name).ok_or_else(|| {
            EngineError::not_found(
                "price book",
                name,
                "; publish it with `counterfoil pricing publish FILE`",
            )
        })?;
        if let (Some(pinned), true) = (&terms.pinned, versions.len() > 1) {
            let found = versions.iter().find(|book| book.reference.version == *pinned);
            return found.ok_or_else(|| {
                EngineError::not_found("version", pinned, &format!(" of price book {name}"))
            });
        }
        versions.iter().rev().find(|book| book.effective_from <= day).ok_or_else(|| {
            EngineError::refused(format!("no version of price book {name:?} is in force on {day}"))
        })
    }

    /// A plan of a book, as the file states it.
    ///
    /// # Errors
    /// When the book has no such plan.
    pub fn plan<'a>(&self, book: &'a PriceBook, plan: &PlanKey) -> Result<&'a Plan, EngineError> {
        book.plan(plan).ok_or_else(|| {
            EngineError::not_found("plan", plan, &format!(" in price book {}", book.reference))
        })
    }

    /// Book and plan of a subscription on the day that holds `at`.
    ///
    /// # Errors
    /// When the book or plan does not exist on that day.
    pub fn plan_at(
        &self,
        subscription: &Subscription,
        at: Timestamp,
        zone: &Zone,
    ) -> Result<(&Arc<PriceBook>, &Plan), EngineError> {
        let day = zone.civil(at)?.date();
        let terms = subscription.terms_on(day);
        let book = self.version(&terms, day)?;
        Ok((book, self.plan(book, &terms.plan)?))
    }

    /// A plan for a customer's currency, in a phase, under its own terms.
    ///
    /// # Errors
    /// When the plan has no price in the currency, or an override is wrong.
    pub fn resolved(
        &self,
        book: &Arc<PriceBook>,
        plan: &PlanKey,
        currency: Currency,
        phase: Option<&str>,
        overrides: &BTreeMap<String, Patch>,
    ) -> Result<Arc<Plan>, EngineError> {
        // What an override says about a charge of another plan is not this plan's.
        let known = book.spec.plans.iter().find(|spec| spec.key == *plan);
        let overrides: BTreeMap<String, Patch> = overrides
            .iter()
            .filter(|(charge, _)| {
                charge.as_str() == "plan"
                    || known
                        .is_some_and(|spec| spec.charges.iter().any(|known| known.key == **charge))
            })
            .map(|(charge, patch)| (charge.clone(), patch.clone()))
            .collect();
        let text =
            if overrides.is_empty() { String::new() } else { serde_json::to_string(&overrides)? };
        let key =
            (book.reference.clone(), plan.clone(), currency, phase.map(ToOwned::to_owned), text);
        // A panic elsewhere cannot leave the map half-changed: entries are only added.
        let lock = || self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().get(&key) {
            return Ok(found.clone());
        }
        let resolved = book.resolve(plan, currency, phase, &overrides).map_err(|error| {
            EngineError::refused(format!(
                "plan {plan} of price book {} cannot be priced for this customer: {error}",
                book.reference
            ))
        })?;
        let resolved = Arc::new(resolved);
        lock().insert(key, resolved.clone());
        Ok(resolved)
    }
}

/// The engine's own meter that counts all events by type.
///
/// # Errors
/// Never; the key is a constant that passes its check.
pub fn events_meter() -> Result<Meter, EngineError> {
    let refused = |error: String| EngineError::refused(error);
    Ok(Meter {
        key: MeterKey::new(EVENTS_METER).map_err(|error| refused(error.to_string()))?,
        name: "All events".to_owned(),
        event_type: String::new(),
        aggregation: Aggregation::Count,
        value: None,
        filters: Vec::new(),
        group_by: vec!["@type".to_owned()],
        unit: "events".to_owned(),
        factor: counterfoil_types::Exact::ONE,
        rounding: None,
        per: counterfoil_metering::PerTime::Hour,
    })
}

impl Engine {
    /// Loads all books and meters.
    ///
    /// # Errors
    /// When the store fails or a published book no longer parses.
    pub async fn books(&self) -> Result<Books, EngineError> {
        let mut books: BTreeMap<String, Vec<Arc<PriceBook>>> = BTreeMap::new();
        for row in self.store.books(&self.tenant.id).await? {
            let book = PriceBook::parse(&row.reference.to_string(), &row.text)?;
            if book.digest != row.digest {
                return Err(EngineError::refused(format!(
                    "price book {} is damaged in the store: its text has hash {}, it was published with {}",
                    row.reference, book.digest, row.digest
                )));
            }
            books.entry(row.reference.name).or_default().push(Arc::new(book));
        }
        for versions in books.values_mut() {
            versions.sort_by_key(|book| (book.effective_from, book.reference.version.clone()));
        }
        let mut meters = BTreeMap::new();
        for row in self.store.meters(&self.tenant.id).await? {
            let meter = Meter::try_from(&row.spec).map_err(|error| {
                EngineError::refused(format!("meter {}: {error}", row.spec.key))
            })?;
            meters.insert(meter.key.clone(), meter);
        }
        Ok(Books { books, meters, resolved: Arc::default() })
    }

    /// Publishes a price book. Publishing the same content again changes nothing.
    ///
    /// # Errors
    /// The same version with other content, a meter defined otherwise, or a plan whose period
    /// changes between versions.
    pub async fn publish(&self, book: &PriceBook) -> Result<Published, EngineError> {
        let known = self.books().await?;
        if let Some(stored) = known.exact(&book.reference) {
            if stored.digest == book.digest {
                return Ok(Published::Already);
            }
            return Err(EngineError::refused(format!(
                "price book {} is published with hash {}, but the file has hash {}; a published version never changes: give the new prices a new version",
                book.reference, stored.digest, book.digest
            )));
        }
        for other in known.books.get(&book.reference.name).into_iter().flatten() {
            same_rhythm(book, other)?;
        }
        self.refuse_rewriting_history(&known, book).await?;
        let now = self.now();
        let mut commit = Commit::default();
        for spec in &book.spec.meters {
            self.check_meter(&known, spec)?;
            let definition = spec.definition_hash();
            commit.writes.push(Write::RegisterMeter(MeterRow { spec: spec.clone(), definition }));
        }
        commit.writes.push(Write::PublishBook(BookRow {
            reference: book.reference.clone(),
            digest: book.digest,
            effective_from: book.effective_from.to_string(),
            text: book.text.clone(),
            published_at: now,
        }));
        let commit = commit.fact(
            "price_book.published",
            format!("price_book.published/{}", book.reference),
            now,
            serde_json::json!({"book": book.reference, "sha256": book.digest}),
        );
        self.commit(&commit).await?;
        Ok(Published::Now)
    }

    /// A new version may not reach back to periods that are invoiced: they would have been priced
    /// by it, and their invoices could not be derived again.
    async fn refuse_rewriting_history(
        &self,
        known: &Books,
        book: &PriceBook,
    ) -> Result<(), EngineError> {
        if !known.books.contains_key(&book.reference.name) {
            return Ok(());
        }
        let mut on_book: BTreeMap<SubscriptionId, bool> = BTreeMap::new();
        let mut after = None;
        loop {
            let filter = InvoiceFilter::default();
            let page = self.store.invoices(&self.tenant.id, &filter, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.due_cycle_at, last.id));
            for invoice in page.iter().filter(|invoice| invoice.state != InvoiceState::Draft) {
                let day = Zone::utc().civil(invoice.due_cycle_at)?.date();
                // A day's grace covers every zone.
                if day.tomorrow().unwrap_or(day) < book.effective_from {
                    continue;
                }
                let id = &invoice.subscription;
                if !on_book.contains_key(id) {
                    let subscription = self.subscription(id).await?;
                    let day = Zone::utc().civil(invoice.due_cycle_at)?.date();
                    let terms = subscription.terms_on(day);
                    let touched = terms.book == book.reference.name && terms.pinned.is_none();
                    on_book.insert(id.clone(), touched);
                }
                if on_book.get(id) == Some(&true) {
                    return Err(EngineError::refused(format!(
                        "price book {} is effective from {}, but invoice {} of that time is finalized; choose a later effective_from",
                        book.reference,
                        book.effective_from,
                        invoice.number.as_deref().unwrap_or_default()
                    )));
                }
            }
        }
    }

    fn check_meter(&self, known: &Books, spec: &MeterSpec) -> Result<(), EngineError> {
        let meter = Meter::try_from(spec)
            .map_err(|error| EngineError::refused(format!("meter {}: {error}", spec.key)))?;
        match known.meters.get(&spec.key) {
            Some(stored)
                if Meter {
                    name: stored.name.clone(),
                    unit: stored.unit.clone(),
                    ..meter.clone()
                } != *stored =>
            {
                Err(EngineError::refused(format!(
                    "meter {} is registered with another definition; usage measured under it would change. Give the new definition another key",
                    spec.key
                )))
            }
            _ => Ok(()),
        }
    }
}

/// What publishing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The book is published now.
    Now,
    /// It was published before, with the same content.
    Already,
}

fn same_rhythm(book: &PriceBook, other: &PriceBook) -> Result<(), EngineError> {
    for plan in &book.plans {
        let Some(before) = other.plan(&plan.key) else { continue };
        if Rhythm::of(before) != Rhythm::of(plan) {
            return Err(EngineError::refused(format!(
                "plan {} is billed every {} in {} and every {} in {}; its periods would overlap. Give the plan with the new period another key",
                plan.key, before.interval, other.reference, plan.interval, book.reference
            )));
        }
    }
    if other.currency != book.currency {
        return Err(EngineError::refused(format!(
            "price book {} is in {}, {} in {}; give the book in another currency another name",
            other.reference, other.currency, book.reference, book.currency
        )));
    }
    Ok(())
}
