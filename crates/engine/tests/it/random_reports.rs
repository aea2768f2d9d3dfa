//! Whatever happens to contracts, usage and money, reports add up and the books reconcile.

use counterfoil_engine::{
    contracts::Effective,
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
    reports::{By, Kind, Range, Wanted},
};
use counterfoil_invoicing::{
    ChangeKind, Customer, Grant, GrantKind, GrantUnit, Invoice, InvoiceState, TaxMode, TaxRate,
    credit_note::CreditScope,
};
use counterfoil_ledger::Event;
use counterfoil_store::stripe::money::{Back, PaidThere};
use counterfoil_types::{Currency, Exact, Money, Quantity, timestamp::HOUR_MICROS};

use crate::{
    random::Random,
    reports::{BOOKS, report, rows},
    world::{With, World, at, event, id, subscription},
};

/// Customer, plan, and whether its prices contain tax.
const WHO: [(&str, &str, bool); 4] = [
    ("una", "basic", false),
    ("ines", "pro", true),
    ("kid", "basic", true),
    ("wim", "weekly", false),
];
const MONTHS: [(&str, &str); 4] = [
    ("2026-09", "2026-10-02T00:00:00Z"),
    ("2026-10", "2026-11-02T00:00:00Z"),
    ("2026-11", "2026-12-02T00:00:00Z"),
    ("2026-12", "2027-01-02T00:00:00Z"),
];

async fn begun(random: &mut Random) -> World {
    let mut world = World::new(2).await;
    let weekly = r#"
[[plan]]
key = "weekly"
interval = "week"
late_events = "credit_note"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "9.99"
billing = "arrears"
[[plan.charge]]
key = "calls"
meter = "calls"
model = "graduated"
tiers = [ { up_to = 20, unit_price = "0.335" }, { unit_price = "0.1" } ]
"#;
    world.publish(&format!("{}{weekly}", BOOKS[0])).await;
    world.customer("payer", "UTC", None).await;
    world.set_clock("2026-09-01T12:00:00Z");
    for (name, plan, inclusive) in WHO {
        let customer = Customer {
            tax: vec![TaxRate { name: "VAT".to_owned(), percent: "19".parse().unwrap() }],
            tax_mode: if inclusive { TaxMode::Inclusive } else { TaxMode::Exclusive },
            parent: (name == "kid").then(|| id("payer")),
            late_events: (inclusive && random.chance(50))
                .then_some(counterfoil_rating::LatePolicy::CreditNote),
            ..Customer::new(id(name), name, Currency::USD, "Europe/Berlin".parse().unwrap())
        };
        world.engine.put_customer(&customer).await.unwrap();
        let mut contract = subscription(name, "fin", plan, "2026-09-01");
        if plan == "pro" {
            contract.quantities.insert("seats".to_owned(), 3.into());
        }
        world.engine.start_subscription(&contract).await.unwrap();
        world.options.accept.push(name.parse().unwrap());
    }
    for (number, (unit, amount)) in [
        (GrantUnit::Currency(Currency::USD), "40.05"),
        (GrantUnit::Meter("calls".parse().unwrap()), "33"),
    ]
    .into_iter()
    .enumerate()
    {
        let grant = Grant {
            id: format!("grant-{number}"),
            customer: id(random.pick(&WHO[..3]).0),
            name: "Grant".to_owned(),
            kind: GrantKind::Paid,
            unit,
            amount: amount.parse().unwrap(),
            priority: 0,
            from: at("2026-08-01T00:00:00Z"),
            expires: None,
            renewal: None,
            renews: None,
        };
        world.engine.grant(&grant).await.unwrap();
    }
    world
}

fn cents(amount: i64) -> Money {
    let exact = Exact::ratio(i128::from(amount), 100).unwrap();
    Money::from_exact(&exact, Currency::USD).unwrap()
}

/// Usage up to now, some of it late, some of it corrected.
async fn use_some(world: &World, random: &mut Random, sent: &mut Vec<Event>, now: &str) {
    let from = at("2026-09-01T00:00:00Z");
    let hours = (at(now).micros() - from.micros()) / HOUR_MICROS;
    let mut batch = Vec::new();
    for _ in 0..random.below(15) {
        let name = random.pick(&WHO).0;
        let number = format!("e{}", random.below(i64::MAX));
        let time = from.plus_micros(random.below(hours) * HOUR_MICROS);
        let count = random.below(90).to_string();
        let own: Vec<&Event> = sent.iter().filter(|e| e.customer.as_str() == name).collect();
        if !own.is_empty() && random.chance(30) {
            let target = random.pick(&own);
            let again = Event { id: number, ..target.clone() };
            batch.push(again.quantity(&count).amends(&target.id));
        } else {
            batch.push(event(&number, name, "call", time).quantity(&count));
        }
    }
    let fresh = batch.iter().filter(|event| event.correction.is_none()).cloned();
    sent.extend(fresh.collect::<Vec<_>>());
    world.ingest(batch).await;
}

/// Something somebody may do; what is refused is refused.
async fn act(world: &World, random: &mut Random, number: usize) {
    let engine = &world.engine;
    let (name, ..) = random.pick(&WHO);
    let contract = name.parse().unwrap();
    let invoices: Vec<Invoice> = world.invoices().await;
    let finalized: Vec<Invoice> =
        invoices.into_iter().filter(|invoice| invoice.state != InvoiceState::Draft).collect();
    let invoice = (!finalized.is_empty()).then(|| random.pick(&finalized));
    let reason = "because";
    match (random.below(13), invoice) {
        (0, _) => {
            let seats = Quantity::from(u32::try_from(random.below(6)).unwrap());
            let what = ChangeKind::Quantity { charge: "seats".to_owned(), quantity: seats };
            let _ = engine.change_subscription(&contract, Effective::Now, what).await;
        }
        (1, _) => {
            let plan = random.pick(&["basic", "pro"]).parse().unwrap();
            let what = ChangeKind::Plan { plan, book: None, pinned: None };
            let _ = engine.change_subscription(&contract, Effective::Now, what).await;
        }
        (2, _) => {
            let what = random.pick(&[ChangeKind::Pause, ChangeKind::Resume]);
            let _ = engine.change_subscription(&contract, Effective::Now, what).await;
        }
        (3, _) => {
            let _ = engine.bill_now(&contract, &world.options).await;
        }
        (4 | 5, Some(invoice)) => {
            let amount = cents(1 + random.below(4_000));
            let count = i64::try_from(invoice.body.lines.len()).unwrap();
            let line = random.below(count.max(1));
            let scope = random.pick(&[
                CreditScope::Full,
                CreditScope::Amount(amount),
                CreditScope::Lines(vec![(usize::try_from(line).unwrap(), None)]),
                CreditScope::Lines(vec![(usize::try_from(line).unwrap(), Some(amount))]),
            ]);
            let request = CreditRequest {
                id: format!("note-{number}"),
                invoice: invoice.id,
                scope,
                reason: reason.to_owned(),
                paid_back: random.pick(&[PaidBack::Balance, PaidBack::Refund]),
                corrects: Vec::new(),
            };
            let _ = engine.credit(&request).await;
        }
        (6 | 7, Some(invoice)) => {
            let payment = Payment {
                id: format!("payment-{number}"),
                customer: invoice.body.paid_by().clone(),
                amount: cents(1 + random.below(20_000)),
                invoices: if random.chance(50) { vec![invoice.id] } else { Vec::new() },
                method: None,
                received_at: engine.now(),
            };
            engine.record_payment(&payment).await.unwrap();
        }
        (8, Some(invoice)) => {
            let _ = engine.void_invoice(&invoice.id, reason).await;
            if random.chance(60) {
                let _ = engine.reissue_invoice(&invoice.id, &world.options).await;
            }
        }
        (9, Some(invoice)) => {
            engine.dun().await.unwrap();
            let _ = engine.write_off(&invoice.id, reason).await;
        }
        // At Stripe: paid in some shape, refunded before or after that.
        (10 | 11, Some(invoice)) => {
            let theirs = format!("in_{number}");
            let claimed = cents(1 + random.below(20_000));
            let some = cents(1 + random.below(20_000));
            let paid = PaidThere {
                invoice: invoice.id,
                theirs: theirs.clone(),
                claimed,
                collected: random.pick(&[None, Some(claimed)]),
                at: engine.now(),
                charges: Vec::new(),
            };
            let back = |part: i64| Back {
                id: format!("re_{number}_{part}"),
                amount: cents(part),
                at: engine.now(),
                charges: vec![format!("pi_{number}")],
                reason: reason.to_owned(),
            };
            let parts = [back(1 + random.below(3_000)), back(3_001 + random.below(5_000))];
            let charges = [format!("pi_{number}")];
            for _ in 0..6 {
                match random.below(4) {
                    0 => engine.paid_at_stripe(&paid).await.unwrap(),
                    1 => engine
                        .collected_at_stripe(&theirs, "inpay_1", some, &charges)
                        .await
                        .unwrap(),
                    2 => engine.given_back_at_stripe(&parts[0]).await.unwrap(),
                    _ => engine.given_back_at_stripe(&parts[1]).await.unwrap(),
                }
            }
        }
        (_, Some(invoice)) => {
            let refund = cents(1 + random.below(3_000));
            let id = format!("refund-{number}");
            let _ = engine.refund_balance(&id, invoice.body.paid_by(), refund).await;
            engine.use_balances(None).await.unwrap();
        }
        _ => {}
    }
}

async fn holds(world: &World, when: &str) {
    for kind in [
        Kind::Manifest,
        Kind::Mrr,
        Kind::Ageing,
        Kind::Rounding,
        Kind::Late,
        Kind::Unbilled,
        Kind::Growth,
        Kind::Deferred,
        Kind::Usage,
    ] {
        if let Err(error) = world.engine.report(kind, &Wanted::default()).await {
            panic!("{when}: {kind:?}: {error}");
        }
    }
    // Costs of usage are those of the lines before plan bounds; that bills are taken apart without a
    // rest is checked by the report itself.
    let ranges = [("2026-09", "2026-10"), ("2026-10", "2026-11"), ("2026-09", "2026-12")];
    for (customer, ..) in WHO {
        for (from, to) in ranges {
            let range = Range::parse(Some(from), Some(to)).unwrap();
            let wanted = Wanted { range, customer: Some(id(customer)), ..Wanted::default() };
            if let Err(error) = world.engine.report(Kind::Changes, &wanted).await {
                panic!("{when}: why {customer}'s bill changed from {from} to {to}: {error}");
            }
        }
    }
    let mut told = Vec::new();
    for by in [By::Month, By::Plan, By::Meter, By::Customer] {
        let wanted = Wanted { by: Some(by), ..Wanted::default() };
        told.push(world.engine.report(Kind::Revenue, &wanted).await.unwrap().totals);
    }
    assert!(told.iter().all(|totals| *totals == told[0]), "{when}: {told:#?}");
    let books = report(world, Kind::Reconciliation).await;
    let differing: Vec<String> =
        rows(&books).into_iter().filter(|row| row.ends_with("differs")).collect();
    assert_eq!(differing, Vec::<String>::new(), "{when}");
    assert_eq!(world.problems().await, Vec::<String>::new(), "{when}");
}

#[tokio::test]
async fn reports_add_up_whatever_happens() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let world = begun(&mut random).await;
        let mut sent = Vec::new();
        let mut number = 0;
        for (month, now) in MONTHS {
            world.set_clock(now);
            use_some(&world, &mut random, &mut sent, now).await;
            let review = world.compute(month).await;
            if random.chance(30) {
                use_some(&world, &mut random, &mut sent, now).await;
            }
            world.finalize(review).await;
            holds(&world, &format!("seed {seed}, {month} billed")).await;
            for _ in 0..8 {
                number += 1;
                act(&world, &mut random, number).await;
            }
            holds(&world, &format!("seed {seed}, after {month}")).await;
        }
    }
}
