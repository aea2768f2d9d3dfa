//! What follows an invoice: payments, credit notes, voids, write-offs, dunning, grants, parts,
//! consolidation. Each worked by hand.

use counterfoil_engine::{
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
    run::Month,
};
use counterfoil_invoicing::{
    CreditNote, Customer, Grant, GrantKind, GrantUnit, Invoice, InvoiceState, TaxMode, TaxRate,
    credit::Renewal, credit_note::CreditScope,
};
use counterfoil_rating::LatePolicy;
use counterfoil_store::DocumentFilter;
use counterfoil_types::{Currency, Interval, IntervalUnit, Money, Zone, timestamp::DAY_MICROS};

use crate::{
    contracts::{BOOK, used},
    world::{World, at, dollars, event, id, subscription},
};

/// Ann, taxed at 20 %, with October's invoice over 100 × 0.10 + 100 + 20 % = 132.
async fn october() -> (World, Invoice) {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("ann", "UTC", Some("20")).await;
    world.subscribe("ann", "b", "small", "2026-09-01").await;
    used(&world, "ann", "2026-10-02T00:00:00Z", "200").await;
    world.set_clock("2026-10-03T00:00:00Z");
    world.bill("2026-09").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let invoice = world.invoice("ann", 2).await.unwrap();
    assert_eq!(invoice.body.total, dollars("132"));
    (world, invoice)
}

fn payment(world: &World, name: &str, amount: &str, invoices: &[&Invoice]) -> Payment {
    Payment {
        id: name.to_owned(),
        customer: id("ann"),
        amount: dollars(amount),
        invoices: invoices.iter().map(|invoice| invoice.id).collect(),
        method: None,
        received_at: world.engine.now(),
    }
}

async fn open(world: &World, invoice: &Invoice) -> String {
    let account = format!("receivable/{}", invoice.id);
    world.engine.money_on(&account, invoice.body.currency).await.unwrap().to_plain()
}

async fn in_credit(world: &World, customer: &str) -> String {
    let account = format!("balance/{customer}/USD");
    world.engine.money_on(&account, Currency::USD).await.unwrap().to_plain()
}

async fn state(world: &World, invoice: &Invoice) -> InvoiceState {
    world.engine.invoice(&invoice.id).await.unwrap().state
}

fn credit(name: &str, invoice: &Invoice, scope: CreditScope) -> CreditRequest {
    CreditRequest {
        id: name.to_owned(),
        invoice: invoice.id,
        scope,
        reason: "goodwill".to_owned(),
        paid_back: PaidBack::Balance,
        corrects: Vec::new(),
    }
}

#[tokio::test]
async fn payments_are_partial_surplus_and_counted_once() {
    let (world, invoice) = october().await;
    let first = payment(&world, "p1", "100", &[&invoice]);
    for _ in 0..3 {
        let applied = world.engine.record_payment(&first).await.unwrap();
        assert_eq!(applied.to_invoices, [(invoice.id, dollars("100"))]);
        assert_eq!(open(&world, &invoice).await, "32.00");
        assert_eq!(state(&world, &invoice).await, InvoiceState::Pending);
    }
    let other = Payment { amount: dollars("101"), ..first };
    let error = world.engine.record_payment(&other).await.unwrap_err().to_string();
    assert!(error.contains("another id"), "{error}");
    let applied = world.engine.record_payment(&payment(&world, "p2", "50", &[&invoice])).await;
    assert_eq!(applied.unwrap().to_balance, dollars("18"));
    assert_eq!(state(&world, &invoice).await, InvoiceState::Paid);
    // September's fees are open: what is in credit goes there, when asked.
    let september = world.invoice("ann", 0).await.unwrap();
    assert_eq!(open(&world, &september).await, "120.00");
    assert_eq!(world.engine.use_balances(None).await.unwrap(), [(september.id, dollars("18"))]);
    assert!(world.engine.use_balances(None).await.unwrap().is_empty());
    assert_eq!(
        (open(&world, &september).await, in_credit(&world, "ann").await),
        ("102.00".into(), "0.00".into())
    );
    // Without an invoice named, the longest due one comes first.
    let applied = world.engine.record_payment(&payment(&world, "p3", "110", &[])).await.unwrap();
    assert_eq!(applied.to_invoices[0], (september.id, dollars("102")));
    assert_eq!(applied.to_invoices.len(), 2);
    let wrong = Payment { amount: dollars("0"), ..payment(&world, "p4", "1", &[]) };
    assert!(world.engine.record_payment(&wrong).await.is_err());
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn credit_notes_mirror_allocations_and_never_exceed_what_is_left() {
    let (world, invoice) = october().await;
    let engine = &world.engine;
    // A third of the usage line: 4 of 12, split 3.33 net and 0.67 tax.
    let part = CreditScope::Lines(vec![(0, Some(dollars("4")))]);
    let note = engine.credit(&credit("c1", &invoice, part.clone())).await.unwrap();
    assert_eq!((note.total, note.off_receivable), (dollars("4"), dollars("4")));
    assert_eq!((note.lines[0].amount, note.lines[0].taxes[0]), (dollars("3.33"), dollars("0.67")));
    assert_eq!(engine.credit(&credit("c1", &invoice, part)).await.unwrap(), note, "issued once");
    let rest = CreditScope::Lines(vec![(0, None)]);
    let note = engine.credit(&credit("c2", &invoice, rest.clone())).await.unwrap();
    assert_eq!((note.total, note.lines[0].taxes[0]), (dollars("8"), dollars("1.33")));
    let error = engine.credit(&credit("c3", &invoice, rest)).await.unwrap_err().to_string();
    assert!(error.contains("nothing is left"), "{error}");
    let too_much = CreditScope::Amount(dollars("120.01"));
    let error = engine.credit(&credit("c4", &invoice, too_much)).await.unwrap_err().to_string();
    assert!(error.contains("120.00 USD is left"), "{error}");
    assert_eq!(open(&world, &invoice).await, "120.00");
    engine.record_payment(&payment(&world, "p", "120", &[&invoice])).await.unwrap();
    let refund = CreditRequest {
        paid_back: PaidBack::Refund,
        ..credit("c5", &invoice, CreditScope::Amount(dollars("20")))
    };
    let note = engine.credit(&refund).await.unwrap();
    assert_eq!((note.refunded, note.to_balance), (dollars("20"), dollars("0")));
    let note = engine.credit(&credit("c6", &invoice, CreditScope::Full)).await.unwrap();
    assert_eq!((note.total, note.to_balance), (dollars("100"), dollars("100")));
    assert_eq!(in_credit(&world, "ann").await, "100.00");
    let documents = engine
        .store()
        .documents(&engine.tenant().id, "credit_note", &DocumentFilter::default(), None, 100)
        .await
        .unwrap();
    let mut numbers: Vec<_> =
        documents.iter().map(|document| document.number.clone().unwrap()).collect();
    numbers.sort();
    let gap_free: Vec<String> = (1..=4).map(|n| format!("CN-2026-{n:06}")).collect();
    assert_eq!(numbers, gap_free);
    let tax: Vec<CreditNote> = engine.notes_on(&invoice.id).await.unwrap();
    let given = Money::sum(Currency::USD, tax.iter().map(|note| note.taxes[0].amount)).unwrap();
    assert_eq!(given, dollars("22"), "all of the tax, to the cent");
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn a_void_keeps_what_was_paid_and_a_reissue_knows_more() {
    let (world, invoice) = october().await;
    let engine = &world.engine;
    engine.record_payment(&payment(&world, "p", "32", &[&invoice])).await.unwrap();
    used(&world, "ann", "2026-10-20T00:00:00Z", "100").await;
    assert!(engine.void_invoice(&invoice.id, " ").await.is_err(), "a reason is needed");
    for _ in 0..2 {
        let void = engine.void_invoice(&invoice.id, "wrong address").await.unwrap();
        assert_eq!(void.state, InvoiceState::Void);
    }
    assert_eq!(
        (open(&world, &invoice).await, in_credit(&world, "ann").await),
        ("0.00".into(), "32.00".into())
    );
    let again = engine.reissue_invoice(&invoice.id, &world.options).await.unwrap();
    assert_eq!((again.body.revision, again.body.total), (1, dollars("144")));
    assert_eq!(again.number.as_deref(), Some("INV-2026-000004"));
    assert_eq!(engine.reissue_invoice(&invoice.id, &world.options).await.unwrap().id, again.id);
    // What she has in credit went to the longest due one, September's.
    assert_eq!(in_credit(&world, "ann").await, "0.00");
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let next = world.invoice("ann", 3).await.unwrap();
    assert!(next.body.lines.iter().all(|line| line.origin.is_none()), "nothing is late any more");
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn a_void_that_is_not_reissued_is_not_billed_by_the_back_door() {
    let (world, invoice) = october().await;
    world.engine.void_invoice(&invoice.id, "agreed").await.unwrap();
    used(&world, "ann", "2026-10-20T00:00:00Z", "500").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let next = world.invoice("ann", 3).await.unwrap();
    assert!(next.body.lines.iter().all(|line| line.origin.is_none()));
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn overdue_dunning_and_writing_off_are_facts() {
    let (world, invoice) = october().await;
    let engine = &world.engine;
    assert!(engine.dun().await.unwrap().overdue.len() < 3, "October's is not due yet");
    world.clock.set(invoice.due_at.unwrap().plus_micros(15 * DAY_MICROS));
    let done = engine.dun().await.unwrap();
    assert!(done.overdue.contains(&invoice.id));
    let steps: Vec<&str> = done
        .steps
        .iter()
        .filter(|(id, _)| *id == invoice.id)
        .map(|(_, step)| step.as_str())
        .collect();
    assert_eq!(steps, ["reminder", "second reminder"]);
    assert_eq!(engine.dun().await.unwrap(), counterfoil_engine::overdue::Dunned::default());
    let gone = engine.write_off(&invoice.id, "insolvent").await.unwrap();
    assert_eq!(gone.state, InvoiceState::Uncollectible);
    assert_eq!(open(&world, &invoice).await, "132.00", "what is open stays on record");
    engine.record_payment(&payment(&world, "late", "132", &[&invoice])).await.unwrap();
    assert_eq!(state(&world, &invoice).await, InvoiceState::Paid);
    let september = world.invoice("ann", 0).await.unwrap();
    let error = engine.write_off(&invoice.id, "x").await.unwrap_err().to_string();
    assert!(error.contains("only an overdue one"), "{error}");
    assert_eq!(state(&world, &september).await, InvoiceState::Overdue);
    assert!(world.problems().await.is_empty());
}

fn grant(name: &str, amount: &str, unit: GrantUnit) -> Grant {
    Grant {
        id: name.to_owned(),
        customer: id("ann"),
        name: name.to_owned(),
        kind: GrantKind::Paid,
        unit,
        amount: amount.parse().unwrap(),
        priority: 0,
        from: at("2026-10-01T00:00:00Z"),
        expires: None,
        renewal: None,
        renews: None,
    }
}

#[tokio::test]
async fn prepaid_credit_is_used_before_tax_and_never_twice() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("ann", "UTC", Some("20")).await;
    let money = || GrantUnit::Currency(Currency::USD);
    let promo = Grant {
        kind: GrantKind::Promotional,
        expires: Some(at("2026-12-01T00:00:00Z")),
        ..grant("promo", "30", money())
    };
    for _ in 0..2 {
        world.engine.grant(&grant("paid", "100", money())).await.unwrap();
        world.engine.grant(&promo).await.unwrap();
    }
    // Two subscriptions draw on the same credit in one run.
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    let mut second = subscription("second", "b", "support", "2026-10-01");
    second.customer = id("ann");
    world.engine.start_subscription(&second).await.unwrap();
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let opening = world.invoice("ann", 0).await.unwrap();
    let uses: Vec<(String, String)> = opening
        .body
        .credits
        .iter()
        .map(|used| (used.grant.clone(), used.amount.to_plain()))
        .collect();
    // The opening falls due at the instant the grants begin: they are open from then on.
    let all: Vec<Invoice> = world.invoices().await;
    let mut taken = counterfoil_types::Exact::ZERO;
    for invoice in &all {
        taken = taken.add(&invoice.body.credit().unwrap().exact());
    }
    assert_eq!(taken.to_string(), "130", "{uses:?}");
    let left = world.engine.grants(Some(&id("ann"))).await.unwrap();
    assert!(left.iter().all(|status| status.left.is_zero()));
    for invoice in &all {
        let net = invoice.body.subtotal.exact().sub(&invoice.body.credit().unwrap().exact());
        let fifth = net.mul(&"0.2".parse::<counterfoil_types::Quantity>().unwrap().exact());
        assert_eq!(invoice.body.tax.exact(), fifth, "tax on what credit left");
    }
    assert!(world.problems().await.is_empty());
    // A credit note gives prepaid credit back to its grants.
    let with = all.iter().find(|invoice| !invoice.body.credits.is_empty()).unwrap();
    let note = world.engine.credit(&credit("back", with, CreditScope::Full)).await.unwrap();
    assert_eq!(note.prepaid, with.body.credit().unwrap());
    let left = world.engine.grants(Some(&id("ann"))).await.unwrap();
    let sum = left.iter().fold(counterfoil_types::Exact::ZERO, |sum, s| sum.add(&s.left.exact()));
    assert_eq!(sum, note.prepaid.exact());
}

#[tokio::test]
async fn granted_units_burn_by_event_and_come_again_with_rollover() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("ann", "UTC", None).await;
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    let pack = Grant {
        expires: Some(at("2026-11-01T00:00:00Z")),
        renewal: Some(Renewal {
            every: Interval::one(IntervalUnit::Month),
            rollover: Some(40.into()),
        }),
        ..grant("pack", "300", GrantUnit::Meter("calls".parse().unwrap()))
    };
    world.engine.grant(&pack).await.unwrap();
    used(&world, "ann", "2026-10-02T00:00:00Z", "100").await;
    used(&world, "ann", "2026-10-09T00:00:00Z", "150").await;
    let burns = world.engine.burn_down("pack").await.unwrap();
    let told: Vec<(String, String)> =
        burns.iter().map(|burn| (burn.units.to_string(), burn.left.to_string())).collect();
    // The clock stands at the last event, which is not past yet.
    assert_eq!(told, [("100".to_owned(), "200".to_owned())]);
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let invoice = world.invoice("ann", 1).await.unwrap();
    assert_eq!(invoice.body.granted[0].units, 250.into());
    assert_eq!(invoice.body.lines[0].amount, dollars("0"), "all of it was granted");
    assert_eq!(invoice.body.lines[0].metered.as_ref().unwrap().to_string(), "250");
    let done = world.engine.renew_grants(0).await.unwrap();
    assert_eq!(done.expired, [("pack".to_owned(), 50.into())]);
    assert_eq!(done.granted, ["pack.2"]);
    assert_eq!(world.engine.renew_grants(0).await.unwrap().granted, Vec::<String>::new());
    let next = world.engine.grants(Some(&id("ann"))).await.unwrap();
    let next = next.iter().find(|status| status.grant.id == "pack.2").unwrap();
    assert_eq!(next.left, 340.into(), "300 and what may be carried over");
    assert_eq!(next.grant.expires, Some(at("2026-12-01T00:00:00Z")));
    // Late usage of October is not granted any more: it is priced, after the 100 included.
    used(&world, "ann", "2026-10-30T00:00:00Z", "120").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let late = world.invoice("ann", 2).await.unwrap();
    let late = late.body.lines.iter().find(|line| line.origin.is_some()).unwrap().clone();
    assert_eq!(late.amount, dollars("2"));
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn parts_of_a_cycle_sum_to_the_whole() {
    let world = World::new(2).await;
    world
        .publish(&BOOK.replace(
            "key = \"seats\"\ninterval = \"month\"",
            "key = \"seats\"\ninterval = \"month\"\nbill_at = \"20\"",
        ))
        .await;
    world.customer("ann", "UTC", Some("7")).await;
    let mut start = subscription("ann", "b", "seats", "2026-10-01");
    start.quantities.insert("seats".to_owned(), 1.into());
    world.engine.start_subscription(&start).await.unwrap();
    used(&world, "ann", "2026-10-02T00:00:00Z", "9.33").await;
    assert!(
        world.engine.bill_thresholds(&world.options).await.unwrap().billed.is_empty(),
        "below the threshold"
    );
    used(&world, "ann", "2026-10-03T00:00:00Z", "40.01").await;
    world.set_clock("2026-10-04T00:00:00Z");
    let parts = world.engine.bill_thresholds(&world.options).await.unwrap().billed;
    assert_eq!(parts.len(), 1);
    assert!(world.engine.bill_thresholds(&world.options).await.unwrap().billed.is_empty(), "once");
    // What is out of bounds is held, as in a run; the series is the tenant's.
    used(&world, "ann", "2026-10-05T00:00:00Z", "100").await;
    world.set_clock("2026-10-06T00:00:00Z");
    let mut strict = world.options.clone();
    strict.bounds.max_total = 1.into();
    let held = world.engine.bill_thresholds(&strict).await.unwrap();
    assert!(held.billed.is_empty() && held.held[0].1.contains("above the bound"), "{held:?}");
    used(&world, "ann", "2026-10-20T00:00:00Z", "1.5").await;
    world.set_clock("2026-10-21T00:00:00Z");
    let second = world.engine.bill_now(&"ann".parse().unwrap(), &world.options).await.unwrap();
    assert_eq!(second.body.part, 2);
    assert!(second.number.unwrap().starts_with("INV-2026-"));
    used(&world, "ann", "2026-10-30T00:00:00Z", "3.3").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let invoices = world.invoices().await;
    let usage: Vec<Money> = invoices
        .iter()
        .filter(|invoice| invoice.body.cycle == 1)
        .flat_map(|invoice| &invoice.body.lines)
        .filter(|line| line.charge == "calls")
        .map(|line| line.amount)
        .collect();
    assert_eq!(usage.len(), 3);
    // 10 × 1 + 144.14 × 0.5
    assert_eq!(Money::sum(Currency::USD, usage).unwrap(), dollars("82.07"));
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn a_parent_pays_for_its_children_on_one_document() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("holding", "UTC", Some("20")).await;
    for name in ["north", "south"] {
        let child = Customer {
            parent: Some(id("holding")),
            ..Customer::new(id(name), name, Currency::USD, Zone::utc())
        };
        world.engine.put_customer(&child).await.unwrap();
        world.subscribe(name, "b", "support", "2026-10-01").await;
    }
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let month: Month = "2026-10".parse().unwrap();
    let documents = world.engine.consolidate(&month).await.unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].number.as_deref(), Some("CON-2026-000001"));
    assert!(world.engine.consolidate(&month).await.unwrap().is_empty());
    // Two openings and two closings, each 62 and the tax of who pays.
    assert_eq!(
        documents[0].body["total"]["amount"]
            .as_str()
            .or(documents[0].body["total"].as_str())
            .map(|text| text.starts_with("297.6")),
        Some(true)
    );
    let paid = Payment { customer: id("holding"), ..payment(&world, "all", "297.60", &[]) };
    let applied = world.engine.record_payment(&paid).await.unwrap();
    assert_eq!(applied.to_invoices.len(), 4);
    assert!(applied.to_balance.is_zero());
    let orphan = Customer {
        parent: Some(id("north")),
        ..Customer::new(id("west"), "west", Currency::USD, Zone::utc())
    };
    assert!(world.engine.put_customer(&orphan).await.is_err(), "a parent has no parent");
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn inclusive_tax_exemption_and_reverse_charge() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    let vat = || vec![TaxRate { name: "VAT".to_owned(), percent: "19".parse().unwrap() }];
    let new = |name: &str| Customer {
        tax: vat(),
        ..Customer::new(id(name), name, Currency::USD, Zone::utc())
    };
    let customers = [
        Customer { tax_mode: TaxMode::Inclusive, ..new("gross") },
        Customer { tax_exempt: Some("charity".to_owned()), ..new("exempt") },
        Customer { reverse_charge: Some("ATU1".to_owned()), ..new("reverse") },
    ];
    for customer in &customers {
        world.engine.put_customer(customer).await.unwrap();
        world.subscribe(customer.id.as_str(), "b", "small", "2026-10-01").await;
    }
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let told = async |name: &str| {
        let body = world.invoice(name, 0).await.unwrap().body;
        (body.total.to_plain(), body.tax.to_plain(), body.inputs.tax.note.is_some())
    };
    assert_eq!(told("gross").await, ("100.00".into(), "15.97".into(), false));
    assert_eq!(told("exempt").await, ("100.00".into(), "0.00".into(), true));
    assert_eq!(told("reverse").await, ("100.00".into(), "0.00".into(), true));
    let gross = world.invoice("gross", 0).await.unwrap();
    let note = world.engine.credit(&credit("n", &gross, CreditScope::Amount(dollars("50")))).await;
    let note = note.unwrap();
    assert_eq!((note.total, note.taxes[0].amount), (dollars("50"), dollars("7.98")));
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn late_credits_become_credit_notes_where_the_customer_wants_them() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    let wants = Customer {
        late_events: Some(LatePolicy::CreditNote),
        tax: vec![TaxRate { name: "VAT".to_owned(), percent: "10".parse().unwrap() }],
        ..Customer::new(id("ann"), "Ann", Currency::USD, Zone::utc())
    };
    world.engine.put_customer(&wants).await.unwrap();
    world.subscribe("ann", "b", "small", "2026-10-01").await;
    used(&world, "ann", "2026-10-02T00:00:00Z", "300").await;
    world.set_clock("2026-11-02T00:00:00Z");
    world.bill("2026-10").await;
    let october = world.invoice("ann", 1).await.unwrap();
    // A correction of −120 calls: 12 less, and the tax with it.
    used(&world, "ann", "2026-10-03T00:00:00Z", "-120").await;
    world.set_clock("2026-12-02T00:00:00Z");
    world.bill("2026-11").await;
    let notes = world.engine.notes_on(&october.id).await.unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!((notes[0].total, notes[0].taxes[0].amount), (dollars("13.2"), dollars("1.2")));
    let november = world.invoice("ann", 2).await.unwrap();
    assert!(november.body.lines.iter().all(|line| line.origin.is_none()));
    assert!(world.engine.credit_late(&"ann".parse().unwrap()).await.unwrap().is_empty());
    // What gets dearer stands on the next invoice, on top of what was given back.
    used(&world, "ann", "2026-10-04T00:00:00Z", "50").await;
    world.set_clock("2027-01-02T00:00:00Z");
    world.bill("2026-12").await;
    let december = world.invoice("ann", 3).await.unwrap();
    let late = december.body.lines.iter().find(|line| line.origin.is_some()).unwrap();
    assert_eq!(late.amount, dollars("5"));
    assert!(world.problems().await.is_empty());
}

#[tokio::test]
async fn a_test_clock_moves_one_customer_and_never_back() {
    let world = World::new(2).await;
    world.publish(BOOK).await;
    world.customer("ann", "UTC", None).await;
    world.customer("bob", "UTC", None).await;
    let engine = &world.engine;
    engine.set_test_clock(Some(&id("ann")), Some(at("2027-01-01T00:00:00Z"))).await.unwrap();
    assert_eq!(engine.now_of(&id("ann")), engine.now(), "only loaded in test mode");
    let engine = engine.clone().with_test_clocks().await.unwrap();
    assert_eq!(engine.now_of(&id("ann")), at("2027-01-01T00:00:00Z"));
    assert_eq!(engine.now_of(&id("bob")), at("2026-10-01T00:00:00Z"));
    // The window of events moves with the clock of their customer, and of no other.
    let event = |name: &str| event(name, name, "call", at("2027-01-01T00:00:00Z"));
    let options = counterfoil_engine::ingest::IngestOptions { backfill: false };
    let receipts = engine.ingest(vec![event("ann"), event("bob")], options).await.unwrap();
    assert!(matches!(receipts[0], counterfoil_ledger::Receipt::Inserted { .. }), "{receipts:?}");
    assert!(matches!(receipts[1], counterfoil_ledger::Receipt::Rejected(_)), "{receipts:?}");
    let back = engine.set_test_clock(Some(&id("ann")), Some(at("2026-12-31T00:00:00Z"))).await;
    assert!(back.unwrap_err().to_string().contains("cannot go back"));
    engine.set_test_clock(Some(&id("ann")), None).await.unwrap();
    let engine = engine.with_test_clocks().await.unwrap();
    assert_eq!(engine.now_of(&id("ann")), at("2026-10-01T00:00:00Z"));
}
