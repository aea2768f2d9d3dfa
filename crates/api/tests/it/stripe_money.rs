//! Money that Stripe tells of, in each shape, in any order, repeated: a payment is booked once, however
//! it came in; what goes back goes back once; the books add up afterwards.

#![cfg(test)]

use counterfoil_engine::{Engine, payments::Payment, postings};
use counterfoil_store::stripe::money;
use counterfoil_types::{Currency, CustomerId, Exact, InvoiceId, Money};
use serde_json::{Value, json};

use crate::{
    finance::billed,
    stripe::{event, send},
    world::World,
};

fn dollars(text: &str) -> Money {
    Money::from_exact(&Exact::parse(text).unwrap(), Currency::USD).unwrap()
}

/// A dollar, billed to acme, in a world of its own.
struct Case {
    world: World,
    engine: Engine,
    id: InvoiceId,
    number: String,
}

impl Case {
    async fn new() -> Self {
        let (world, number) = billed().await;
        let id = world.get(&format!("/v1/invoices/{number}")).await.is(200).at("/id");
        let engine = world.engine("home").await;
        Self { world, engine, id: id.parse().unwrap(), number }
    }

    async fn hears(&self, event: &Value) {
        assert_eq!(send(&self.world, event, "whsec_new", 0).await, 204, "{event}");
    }

    /// Paid, as versions since 2025-03-31 say it: nothing says how, and the charge is not named.
    fn paid_new(&self, id: &str) -> Value {
        let mut paid = event(id, "invoice.paid", Some(&self.id.to_string()), json!({}));
        paid["data"]["object"].as_object_mut().unwrap().remove("charge");
        paid
    }

    async fn pay_by_bank(&self) {
        let payment = Payment {
            id: "bank-1".to_owned(),
            customer: CustomerId::new("acme").unwrap(),
            amount: dollars("1"),
            invoices: vec![self.id],
            method: None,
            received_at: self.engine.now(),
        };
        self.engine.record_payment(&payment).await.unwrap();
    }

    async fn state(&self) -> String {
        self.world.get(&format!("/v1/invoices/{}", self.number)).await.is(200).at("/state")
    }

    async fn credit(&self) -> String {
        let name = postings::balance(&CustomerId::new("acme").unwrap(), Currency::USD);
        self.engine.money_on(&name, Currency::USD).await.unwrap().to_plain()
    }

    async fn back(&self) -> String {
        let name = postings::refunded(&self.id);
        self.engine.money_on(&name, Currency::USD).await.unwrap().to_plain()
    }

    /// Values of the credit notes, and what they say was paid out.
    async fn notes(&self) -> Vec<(String, String)> {
        let notes = self.engine.notes_on(&self.id).await.unwrap();
        let mut all: Vec<_> =
            notes.iter().map(|note| (note.total.to_plain(), note.refunded.to_plain())).collect();
        all.sort();
        all
    }

    async fn told(&self, kind: &str) -> usize {
        let effects = self.engine.store().effects(&self.engine.tenant().id, 0, 1_000).await;
        let of: Vec<_> = effects.unwrap().into_iter().filter(|one| one.kind == kind).collect();
        for effect in &of {
            let problems = crate::schema::data_problems(kind, &effect.body);
            assert_eq!(problems, Vec::<String>::new(), "{}", effect.body);
        }
        of.len()
    }

    async fn parked(&self) -> usize {
        money::parked(self.engine.store(), &self.engine.tenant().id).await.unwrap().len()
    }

    /// Reports and invariants hold.
    async fn holds(&self, when: &str) {
        let report = self.world.get("/v1/reports/reconciliation").await.is(200);
        let rows = report.body["table"]["rows"].as_array().or(report.body["rows"].as_array());
        for row in rows.unwrap() {
            assert!(!row.to_string().contains("\"differs\""), "{when}: {row}");
        }
        let verified = self.engine.verify().await.unwrap();
        assert_eq!(verified.problems, Vec::<String>::new(), "{when}");
    }
}

fn collected(id: &str, units: i64, kind: &str) -> Value {
    let object = json!({
        "id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "amount_paid": units,
        "currency": "usd", "status": "paid", "payment": {"type": kind, kind: "pi_1"},
    });
    json!({"id": id, "type": "invoice_payment.paid", "created": 1_793_700_100, "data": {"object": object}})
}

fn refund(event: &str, kind: &str, id: &str, units: i64, status: &str, charge: &Value) -> Value {
    let mut object = json!({
        "id": id, "object": "refund", "amount": units, "currency": "usd", "status": status,
        "created": 1_793_800_000,
    });
    for (name, value) in charge.as_object().unwrap() {
        object[name] = value.clone();
    }
    json!({"id": event, "type": kind, "created": 1_793_800_000, "data": {"object": object}})
}

fn dispute(event: &str, kind: &str, status: &str, units: i64) -> Value {
    let object = json!({
        "id": "dp_1", "object": "dispute", "amount": units, "currency": "usd", "status": status,
        "reason": "fraudulent", "charge": "ch_1", "payment_intent": "pi_1", "created": 1_793_800_000,
    });
    json!({"id": event, "type": kind, "created": 1_793_800_000, "data": {"object": object}})
}

/// What was paid elsewhere and told to Stripe never comes back as a credit, whatever the shape.
#[tokio::test]
async fn a_payment_elsewhere_is_not_booked_again_in_any_shape() {
    let record = json!({"data": [{"id": "inpay_0", "status": "paid", "amount_paid": 100,
        "payment": {"type": "payment_record", "payment_record": "pr_1"}}], "has_more": false});
    let shapes = [
        json!({"paid_out_of_band": true, "charge": null}),
        json!({"amount_paid_off_stripe": 100, "charge": null}),
        json!({"payments": record, "charge": null}),
        json!({"charge": null}),
        json!({"charge": null, "paid_out_of_band": false, "amount_paid_off_stripe": 100}),
    ];
    for more in shapes {
        let case = Case::new().await;
        case.pay_by_bank().await;
        let id = case.id.to_string();
        let paid = event("evt_1", "invoice.paid", Some(&id), more.clone());
        let twin = event("evt_2", "invoice.payment_succeeded", Some(&id), more.clone());
        // That of a payment elsewhere proves nothing.
        let record = collected("evt_3", 100, "payment_record");
        for event in [&twin, &paid, &record, &paid, &twin, &record] {
            case.hears(event).await;
            assert_eq!(
                (case.state().await, case.credit().await),
                ("paid".into(), "0.00".into()),
                "{more}"
            );
        }
        assert_eq!(case.told("payment.recorded").await, 1, "{more}");
        case.holds("elsewhere").await;
    }
}

/// What Stripe did collect is booked, even where somebody paid by bank as well: then it is a credit.
#[tokio::test]
async fn what_stripe_collected_is_booked_once_in_any_shape_and_order() {
    let own = json!({"data": [{"id": "inpay_1", "status": "paid", "amount_paid": 100,
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}], "has_more": false});
    for by_bank in [false, true] {
        for order in 0..6 {
            let case = Case::new().await;
            if by_bank {
                case.pay_by_bank().await;
            }
            let old = event("evt_1", "invoice.paid", Some(&case.id.to_string()), json!({}));
            let listed = json!({"payments": own, "charge": null});
            let listed = event("evt_2", "invoice.paid", Some(&case.id.to_string()), listed);
            let new = case.paid_new("evt_3");
            let proof = collected("evt_4", 100, "payment_intent");
            let events = match order {
                0 => vec![&old],
                1 => vec![&listed],
                2 => vec![&new, &proof],
                3 => vec![&proof, &new],
                4 => vec![&new, &old, &listed],
                _ => vec![&proof, &new, &new, &old],
            };
            for event in events.iter().chain(&events) {
                case.hears(event).await;
            }
            let credit = if by_bank { "1.00" } else { "0.00" };
            let found = (case.state().await, case.credit().await);
            assert_eq!(found, ("paid".into(), credit.into()), "order {order}, bank {by_bank}");
            let payments = 1 + usize::from(by_bank);
            assert_eq!(case.told("payment.recorded").await, payments, "order {order}");
            case.holds("collected").await;
        }
    }
}

/// Several refunds of one invoice, in every shape and order, before and after its payment is heard of.
#[tokio::test]
async fn refunds_are_booked_once_in_any_shape_and_order() {
    let charge = json!({"charge": "ch_1", "payment_intent": "pi_1"});
    let intent = json!({"charge": "ch_9", "payment_intent": "pi_1"});
    for order in 0..4 {
        let case = Case::new().await;
        let mut old = event("evt_1", "invoice.paid", Some(&case.id.to_string()), json!({}));
        old["data"]["object"]["payment_intent"] = json!("pi_1");
        let new = case.paid_new("evt_1");
        let proof = collected("evt_2", 100, "payment_intent");
        let first = refund("evt_3", "refund.created", "re_1", 30, "pending", &charge);
        let first_done = refund("evt_4", "refund.updated", "re_1", 30, "succeeded", &intent);
        let second = refund("evt_5", "refund.created", "re_2", 45, "succeeded", &intent);
        let whole = json!({"id": "evt_6", "type": "charge.refunded", "created": 1_793_800_000,
            "data": {"object": {"id": "ch_1", "amount_refunded": 75, "payment_intent": "pi_1",
                "invoice": "in_1", "refunds": {"data": [
                {"id": "re_1", "amount": 30, "currency": "usd", "status": "succeeded"},
                {"id": "re_2", "amount": 45, "currency": "usd", "status": "succeeded"}]}}}});
        let events = match order {
            0 => vec![&old, &first, &first_done, &second],
            1 => vec![&second, &first_done, &first, &old, &whole],
            2 => vec![&new, &first_done, &proof, &second, &first],
            _ => vec![&whole, &second, &proof, &first_done, &new],
        };
        for event in events.iter().chain(&events).chain(events.iter().rev()) {
            case.hears(event).await;
        }
        assert_eq!(case.back().await, "0.75", "order {order}");
        let expected = [("0.30", "0.30"), ("0.45", "0.45")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(case.notes().await, expected, "order {order}");
        assert_eq!((case.state().await, case.credit().await), ("paid".into(), "0.00".into()));
        assert_eq!((case.parked().await, case.told("refund.recorded").await), (0, 2));
        // What is heard of too early is told.
        let early = [0, 2, 1, 2][order];
        assert_eq!(case.told("stripe.parked").await, early, "order {order}");
        case.holds("refunded").await;
    }
}

/// A refund pays out what a credit note of ours promised, or gave as a credit: nothing twice.
#[tokio::test]
async fn a_refund_that_a_credit_note_told_of_is_not_booked_again() {
    let charge = json!({"charge": "ch_1", "payment_intent": "pi_1"});
    for by_refund in [false, true] {
        let case = Case::new().await;
        let paid = event("evt_1", "invoice.paid", Some(&case.id.to_string()), json!({}));
        case.hears(&paid).await;
        let note = json!({"invoice": case.number, "reason": "sorry", "refund": by_refund,
            "amount": {"amount": "0.40", "currency": "USD"}});
        case.world.post("/v1/credit-notes", note).await.is(201);
        for (number, units) in [(1, 25), (2, 25), (1, 25)] {
            let (event, id) = (format!("evt_2{number}"), format!("re_{number}"));
            case.hears(&refund(&event, "refund.created", &id, units, "succeeded", &charge)).await;
        }
        // Ten cents more than the note.
        let mut expected = vec![("0.10".to_owned(), "0.10".to_owned())];
        expected.push(("0.40".to_owned(), if by_refund { "0.40" } else { "0.00" }.to_owned()));
        assert_eq!(case.notes().await, expected);
        assert_eq!((case.credit().await, case.back().await), ("0.00".into(), "0.50".into()));
        case.holds("by a note").await;
    }
}

/// A dispute is booked when it is lost, whichever of its messages comes first; a won one never.
#[tokio::test]
async fn a_lost_dispute_is_booked_once() {
    for lost in [false, true] {
        let case = Case::new().await;
        let paid = event("evt_1", "invoice.paid", Some(&case.id.to_string()), json!({}));
        let status = if lost { "lost" } else { "won" };
        let closed = dispute("evt_2", "charge.dispute.closed", status, 100);
        let taken = dispute("evt_3", "charge.dispute.funds_withdrawn", "needs_response", 100);
        let given = dispute("evt_4", "charge.dispute.funds_reinstated", status, 100);
        for event in [&closed, &taken, &paid, &closed, &given, &taken, &closed] {
            case.hears(event).await;
        }
        let back = if lost { "1.00" } else { "0.00" };
        assert_eq!((case.back().await, case.notes().await.len()), (back.into(), lost.into()));
        assert_eq!((case.parked().await, case.told("invoice.disputed").await), (0, 3));
        case.holds("disputed").await;
    }
}

/// What cannot be booked is told and parked: a stranger's, more than came in, one that failed.
#[tokio::test]
async fn what_cannot_be_booked_is_parked_and_told_once() {
    let case = Case::new().await;
    let paid = event("evt_1", "invoice.paid", Some(&case.id.to_string()), json!({}));
    case.hears(&paid).await;
    let charge = json!({"charge": "ch_1", "payment_intent": null});
    let other = json!({"charge": "ch_2", "payment_intent": "pi_2"});
    let stranger = refund("evt_2", "refund.created", "re_1", 10, "succeeded", &other);
    let much = refund("evt_3", "refund.created", "re_2", 101, "succeeded", &charge);
    for event in [&stranger, &much, &stranger, &much, &paid] {
        case.hears(event).await;
    }
    assert_eq!((case.parked().await, case.told("stripe.parked").await), (2, 2));
    assert_eq!((case.back().await, case.notes().await.len()), ("0.00".into(), 0));
    // One that came back is not booked, whatever is heard of it later; of a booked one it is told.
    for event in [
        refund("evt_4", "refund.failed", "re_3", 20, "failed", &charge),
        refund("evt_5", "refund.created", "re_3", 20, "succeeded", &charge),
        refund("evt_6", "refund.created", "re_4", 20, "succeeded", &charge),
        refund("evt_7", "refund.updated", "re_4", 20, "failed", &charge),
    ] {
        case.hears(&event).await;
        case.hears(&event).await;
    }
    assert_eq!((case.back().await, case.told("invoice.differs").await), ("0.20".into(), 1));
    case.holds("parked").await;
}
