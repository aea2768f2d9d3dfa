//! Invoices at a Stripe that others wrote (`seahaven-stripe-world`): it keeps state, checks fields,
//! has its own life cycle of invoices and its own memory of idempotency keys.

#![cfg(test)]

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{
    credit_notes::{CreditRequest, PaidBack},
    payments::Payment,
};
use counterfoil_invoicing::{
    Customer, Grant, GrantKind, GrantUnit, Invoice, Subscription, TaxRate, credit_note::CreditScope,
};
use counterfoil_store::{
    Commit, DeliveryState, Write,
    stripe::{self, Link, Mode},
};
use counterfoil_stripe::{client::Form, setup};
use counterfoil_types::{Currency, Exact, Money};
use serde_json::Value;

use crate::{
    proxy::Cut,
    server::KEY,
    world::{World, at, id, on_both},
};

/// The Python that has the server; made where it is not there.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("COUNTERFOIL_TEST_PYTHON") {
        return python.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/setup-tests");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/setup-tests failed");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The server; it stops with the test.
struct Real {
    child: Child,
    address: SocketAddr,
    accounts: AtomicU32,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stripe_world.py");
        let mut child = Command::new(python())
            .arg(script)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
        let server = Self { child, address, accounts: AtomicU32::new(0) };
        for _ in 0..600 {
            if TcpStream::connect(address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The world with an account of its own there, a year ago: the server has the clock of this
    /// machine, and no invoice there may seem older than ours.
    async fn account(&self, world: World) -> World {
        let number = self.accounts.fetch_add(1, Ordering::Relaxed);
        world.clock.set(at("2025-10-05T10:00:00Z"));
        world.at(self.address, &format!("/worlds/account-{number}/"), KEY).await
    }
}

const BOOK: &str = r#"
[book]
name = "BOOK"
version = "1"
currency = "CURRENCY"
effective_from = "2025-01-01"
[[meter]]
key = "CURRENCY_calls"
event_type = "call"
aggregation = "sum"
[[plan]]
key = "p"
interval = "month"
[[plan.discounts]]
name = "Friends"
percent = "10"
[[plan.charge]]
key = "fee"
model = "flat"
amount = "1000"
billing = "arrears"
[[plan.charge]]
key = "calls"
meter = "CURRENCY_calls"
model = "per_unit"
unit_price = "7"
"#;

fn money(text: &str, currency: Currency) -> Money {
    Money::from_exact(&Exact::parse(text).unwrap(), currency).unwrap()
}

/// A customer with tax, a discount, a line below zero and a prepaid credit, in a currency, and its
/// invoice of October, not yet pushed.
async fn billed(world: &World, code: &str) -> Invoice {
    let currency: Currency = code.parse().unwrap();
    let name = code.to_ascii_lowercase();
    let book = BOOK.replace("BOOK", &name).replace("CURRENCY_", &format!("{name}_"));
    let book = book.replace("CURRENCY", code);
    world.engine.publish(&PriceBook::parse("real.toml", &book).unwrap()).await.unwrap();
    let tax = TaxRate { name: "VAT".to_owned(), percent: "19".parse().unwrap() };
    let zone = "UTC".parse().unwrap();
    let customer = Customer { tax: vec![tax], ..Customer::new(id(&name), "Zoë", currency, zone) };
    world.engine.put_customer(&customer).await.unwrap();
    let subscription = Subscription::new(
        name.parse().unwrap(),
        id(&name),
        name.as_str(),
        "p".parse().unwrap(),
        "2025-10-01".parse().unwrap(),
    );
    world.engine.start_subscription(&subscription).await.unwrap();
    let grant = Grant {
        id: format!("{name}-welcome"),
        customer: id(&name),
        name: "Welcome".to_owned(),
        kind: GrantKind::Promotional,
        unit: GrantUnit::Currency(currency),
        amount: "50".parse().unwrap(),
        priority: 0,
        from: at("2025-10-01T00:00:00Z"),
        expires: None,
        renewal: None,
        renews: None,
    };
    world.engine.grant(&grant).await.unwrap();
    world.ingest(&name, &format!("{name}-1"), "10", "2025-10-05T09:00:00Z").await;
    let link = Link::new(Mode::Invoices, "n".to_owned());
    let theirs = setup::customer(&world.client, world.tenant(), &link, &customer).await.unwrap();
    let mut commit = Commit::of(link.kept().unwrap());
    let key = format!("{}{name}", stripe::CUSTOMERS);
    commit.writes.push(Write::Set { key, value: Some(theirs) });
    world.engine.commit(&commit).await.unwrap();
    world.clock.set(at("2025-11-02T10:00:00Z"));
    let all = world.bill("2025-10").await;
    let ours = all.into_iter().find(|one| one.body.customer == id(&name)).unwrap();
    // 1070 less a tenth, of which 50 are prepaid, and tax.
    assert!(ours.body.lines.iter().any(|line| line.amount.exact().is_negative()));
    assert!(!ours.body.taxes.is_empty() && !ours.body.credit().unwrap().is_zero());
    ours
}

async fn there(world: &World) -> Vec<Value> {
    let query = Form::new().with("limit", "100");
    let answer = world.client.get("v1/invoices", &query).await.unwrap();
    answer.body["data"].as_array().unwrap().clone()
}

fn stands(invoice: &Value) -> (&str, i64, i64) {
    let number = |name: &str| invoice[name].as_i64().unwrap();
    (invoice["status"].as_str().unwrap(), number("total"), number("amount_remaining"))
}

/// The amount in Stripe's unit.
fn units(amount: Money) -> i64 {
    let factor = if amount.currency().code() == "ISK" { 100 } else { 1 };
    i64::try_from(amount.minor_units()).unwrap() * factor
}

/// Delivers all there is; nothing is parked.
async fn settle(world: &World) {
    for _ in 0..12 {
        world.deliver().await;
        if world.deliveries(DeliveryState::Due).await.is_empty() {
            break;
        }
        world.later(3_600);
    }
    let parked = world.deliveries(DeliveryState::Parked).await;
    assert!(parked.is_empty(), "{parked:?}");
}

/// F16: whatever step is cut before or after its effect, and whoever is killed in between, there is
/// one invoice with our total, with tax, discount, credits and a line below zero.
#[tokio::test]
async fn a_real_server_has_one_invoice_whatever_step_is_cut() {
    let real = Real::start();
    let steps = ["POST /invoices", "POST /invoiceitems", "POST /finalize"];
    for step in steps {
        for cut in [Cut::Before, Cut::After] {
            on_both(async |world: World| {
                let world = real.account(world).await;
                let ours = billed(&world, "EUR").await;
                world.proxy.cut(step, cut);
                let report = world.deliver().await;
                assert!(world.proxy.is_done(), "{step} was not asked for: {report:?}");
                assert_eq!(report.retried, 1, "{step} {cut:?}: {report:?}");
                world.later(3_600);
                // Every relay is another process as far as its state goes.
                settle(&world).await;
                let found = there(&world).await;
                let total = units(ours.body.total);
                assert_eq!(found.len(), 1, "{step} {cut:?}: {found:?}");
                assert_eq!(stands(&found[0]), ("open", total, total), "{step} {cut:?}");
            })
            .await;
        }
    }
}

/// Pushing, crediting, paying and voiding in currencies of two, no and three decimals.
#[tokio::test]
async fn a_real_server_follows_in_every_kind_of_currency() {
    let real = Real::start();
    for code in ["USD", "JPY", "KWD", "ISK"] {
        on_both(async |world: World| {
            let world = real.account(world).await;
            let ours = billed(&world, code).await;
            settle(&world).await;
            let total = units(ours.body.total);
            assert_eq!(stands(&there(&world).await[0]), ("open", total, total), "{code}");
            let currency = ours.body.currency;
            // A part of it need not end in a whole ten of thousandths, which is all Stripe takes.
            let scope = match code {
                "KWD" => CreditScope::Full,
                _ => CreditScope::Amount(money("100", currency)),
            };
            let credit = CreditRequest {
                id: "cn-1".to_owned(),
                invoice: ours.id,
                scope,
                reason: "an outage".to_owned(),
                paid_back: PaidBack::Balance,
                corrects: Vec::new(),
            };
            let note = world.engine.credit(&credit).await.unwrap();
            settle(&world).await;
            let open = world.engine.money_on(&format!("receivable/{}", ours.id), currency).await;
            let open = open.unwrap();
            assert!(open.exact() < ours.body.total.exact(), "{note:?}");
            let found = there(&world).await;
            assert_eq!(stands(&found[0]).2, units(open), "{code}");
            if open.is_zero() {
                return;
            }
            assert_eq!(stands(&found[0]), ("open", total, units(open)), "{code}");
            let payment = Payment {
                id: "bank-1".to_owned(),
                customer: ours.body.customer.clone(),
                amount: open,
                invoices: vec![ours.id],
                method: None,
                received_at: at("2025-11-03T00:00:00Z"),
            };
            world.engine.record_payment(&payment).await.unwrap();
            settle(&world).await;
            let found = there(&world).await;
            assert_eq!(found.len(), 1);
            assert_eq!((stands(&found[0]).0, stands(&found[0]).2), ("paid", 0), "{code}");
        })
        .await;
    }
}

/// What is voided here is void there, pushed or not.
#[tokio::test]
async fn a_real_server_voids_what_is_voided_here() {
    let real = Real::start();
    on_both(async |world: World| {
        let world = real.account(world).await;
        let ours = billed(&world, "EUR").await;
        settle(&world).await;
        world.engine.void_invoice(&ours.id, "a mistake").await.unwrap();
        world.proxy.cut("POST /void", Cut::After);
        let report = world.deliver().await;
        assert!(world.proxy.is_done(), "{report:?}");
        world.later(3_600);
        settle(&world).await;
        let found = there(&world).await;
        assert_eq!((found.len(), stands(&found[0]).0), (1, "void"));
    })
    .await;
}
