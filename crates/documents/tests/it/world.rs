//! Invoices rated and assembled as the product does it, and a tenant that issues them.

use counterfoil_documents::{
    Branding, Model, Party, branding::PaymentDetails, build, model::Annex,
};
use counterfoil_invoicing::{
    CreditNote, Customer, Draft, GrantKind, Inputs, Invoice, InvoiceLine, InvoiceState, LineKind,
    OpenCredit, Subscription, TaxDecision, TaxMode, TaxRate, assemble,
    credit_note::{CreditScope, CreditedTax, credit_lines, value},
};
use counterfoil_rating::{Charge, ChargeSpec, RateContext, RatedLine, Usage, rate};
use counterfoil_types::{
    BookRef, Currency, Digest, Exact, Money, Period, Rounding, Timestamp, Zone,
};

pub(crate) fn exact(text: &str) -> Exact {
    Exact::parse(text).expect("a number")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) fn money(text: &str, currency: &str) -> Money {
    Money::from_exact(&exact(text), currency.parse().expect("a currency")).expect("an amount")
}

pub(crate) fn october() -> Period {
    Period::new(at("2026-10-01T00:00:00Z"), at("2026-11-01T00:00:00Z"))
}

/// A line: its name, the charge's keys as JSON, usage.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) charge: String,
    pub(crate) units: String,
    pub(crate) unit: Option<&'static str>,
    pub(crate) exempt: bool,
}

impl Item {
    pub(crate) fn new(name: &str, charge: &str, units: &str, unit: Option<&'static str>) -> Self {
        let (name, charge, units) = (name.to_owned(), charge.to_owned(), units.to_owned());
        Self { name, charge, units, unit, exempt: false }
    }
}

pub(crate) fn usual() -> Vec<Item> {
    vec![
        Item::new("Team plan", r#""model":"flat","amount":"49""#, "1", None),
        Item::new(
            "API requests",
            r#""model":"graduated","meter":"m","included":"10000","tiers":[{"up_to":"100000","unit_price":"0.0012"},{"up_to":"1000000","unit_price":"0.0008"},{"unit_price":"0.0004","flat_fee":"25"}]"#,
            "1250000",
            Some("requests"),
        ),
        Item::new(
            "Storage",
            r#""model":"per_unit","meter":"m","unit_price":"0.023""#,
            "431.7",
            Some("GB-months"),
        ),
    ]
}

pub(crate) fn rated(item: &Item, currency: Currency) -> RatedLine {
    let spec = format!(r#"{{"key":"u",{}}}"#, item.charge);
    let spec: ChargeSpec =
        serde_json::from_str(&spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let charge = Charge::try_from(&spec).expect("a charge");
    let context = RateContext::new(currency, Rounding::HalfAwayFromZero);
    rate(&charge, &Usage::units(exact(&item.units)), &context).expect("a line")
}

/// What is to be invoiced.
pub(crate) struct Order {
    pub(crate) items: Vec<Item>,
    pub(crate) currency: &'static str,
    pub(crate) tax: TaxDecision,
    pub(crate) prepaid: Option<&'static str>,
}

pub(crate) fn vat(percent: &str, mode: TaxMode) -> TaxDecision {
    let rate = TaxRate { name: "VAT".into(), percent: percent.parse().expect("a percentage") };
    TaxDecision { rates: vec![rate], mode, note: None }
}

impl Order {
    pub(crate) fn of(items: Vec<Item>) -> Self {
        Self { items, currency: "EUR", tax: vat("19", TaxMode::Exclusive), prepaid: None }
    }

    pub(crate) fn in_currency(self, currency: &'static str) -> Self {
        Self { currency, ..self }
    }

    pub(crate) fn taxed(self, tax: TaxDecision) -> Self {
        Self { tax, ..self }
    }

    pub(crate) fn invoice(&self) -> Invoice {
        let currency: Currency = self.currency.parse().expect("a currency");
        let line = |item: &Item| {
            let rated = rated(item, currency);
            InvoiceLine {
                kind: if item.unit.is_some() { LineKind::Usage } else { LineKind::FeeAdvance },
                charge: "u".into(),
                name: item.name.clone(),
                period: october(),
                book: BookRef { name: "b".into(), version: "1".into() },
                book_hash: Digest([7; 32]),
                plan: "team".parse().expect("a plan"),
                meter: None,
                unit: item.unit.map(str::to_owned),
                metered: item.unit.map(|_| exact(&item.units)),
                events: None,
                origin: None,
                phase: None,
                tax_exempt: item.exempt,
                already_billed: None,
                amount: rated.amount,
                rated,
            }
        };
        let credits = self.prepaid.iter().map(|amount| OpenCredit {
            grant: "welcome".into(),
            name: "Welcome credit".into(),
            kind: GrantKind::Paid,
            left: money(amount, self.currency),
        });
        let body = assemble(Draft {
            tenant: "acme-cloud".parse().expect("a tenant"),
            customer: "globex".parse().expect("a customer"),
            customer_name: "Globex GmbH".into(),
            payer: None,
            subscription: "globex-team".parse().expect("a subscription"),
            cycle: 9,
            revision: 0,
            part: 0,
            due_cycle_at: october().end,
            period: october(),
            zone: Zone::utc(),
            currency,
            rounding: Rounding::HalfAwayFromZero,
            lines: self.items.iter().map(line).collect(),
            granted: Vec::new(),
            inputs: Inputs {
                lane: 3,
                position: 120_734,
                engine: "2".into(),
                subscription: Subscription::new(
                    "globex-team".parse().expect("a subscription"),
                    "globex".parse().expect("a customer"),
                    "b",
                    "team".parse().expect("a plan"),
                    "2026-01-01".parse().expect("a day"),
                ),
                zone: Zone::utc(),
                tax: self.tax.clone(),
                late_events: None,
                until: None,
                compared: false,
                billed_by: Vec::new(),
                withdrawn: Vec::new(),
                credited_by: Vec::new(),
                credits: credits.collect(),
                grants: Vec::new(),
            },
        })
        .expect("an invoice");
        Invoice {
            state: InvoiceState::Pending,
            number: Some("INV-2026-000042".into()),
            issued_at: Some(at("2026-11-01T02:00:00Z")),
            due_at: Some(at("2026-11-15T02:00:00Z")),
            ..Invoice::draft(body).expect("a draft")
        }
    }

    pub(crate) fn model(&self) -> Model {
        self.model_for(&customer(), &details())
    }

    pub(crate) fn model_for(&self, customer: &Customer, party: &Party) -> Model {
        build::invoice(&self.invoice(), customer, party).expect("a model")
    }
}

pub(crate) fn customer() -> Customer {
    let id = "globex".parse().expect("a customer");
    let mut customer = Customer::new(id, "Globex GmbH", Currency::EUR, Zone::utc());
    customer.email = Some("accounts@globex.example".into());
    customer
}

pub(crate) fn details() -> Party {
    Party {
        street: vec!["Marktstraße 12".into()],
        postcode: Some("80331".into()),
        city: Some("München".into()),
        country: Some("DE".into()),
        tax_id: Some("DE129273398".into()),
        reference: Some("PO-4711".into()),
        ..Party::default()
    }
}

pub(crate) fn branding() -> Branding {
    Branding {
        seller: Party {
            name: "Acme Cloud B.V.".into(),
            street: vec!["Herengracht 1".into()],
            postcode: Some("1015 BA".into()),
            city: Some("Amsterdam".into()),
            country: Some("NL".into()),
            tax_id: Some("NL123456789B01".into()),
            registration: Some("KvK 12345678".into()),
            email: Some("billing@acme-cloud.example".into()),
            phone: Some("+31 20 123 4567".into()),
            reference: None,
        },
        logo: Some(counterfoil_documents::branding::Logo {
            media_type: "image/svg+xml".into(),
            // A cloud of three circles.
            data: "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCA0OCAzMiIgd2lkdGg9IjQ4IiBoZWlnaHQ9IjMyIj48ZyBmaWxsPSIjMDA3MmIyIj48Y2lyY2xlIGN4PSIxNCIgY3k9IjIwIiByPSIxMCIvPjxjaXJjbGUgY3g9IjI2IiBjeT0iMTQiIHI9IjEyIi8+PGNpcmNsZSBjeD0iMzciIGN5PSIyMSIgcj0iOSIvPjxyZWN0IHg9IjE0IiB5PSIyMCIgd2lkdGg9IjIzIiBoZWlnaHQ9IjEwIi8+PC9nPjwvc3ZnPg==".into(),
        }),
        payment: PaymentDetails {
            account_name: Some("Acme Cloud B.V.".into()),
            iban: Some("NL91 ABNA 0417 1643 00".into()),
            bic: Some("ABNANL2A".into()),
            text: None,
        },
        legal: Some("Acme Cloud B.V., Amsterdam. Registered with the chamber of commerce under 12345678.\nQuestions? Reply to this mail within 14 days.".into()),
        ..Branding::default()
    }
}

/// A credit note over `scope` of the order's invoice.
pub(crate) fn note(order: &Order, scope: &CreditScope) -> Model {
    let invoice = order.invoice();
    let lines = credit_lines(&invoice, &[], scope).expect("lines of a note");
    let currency = invoice.body.currency;
    let none = Money::zero(currency);
    let sum = |amounts: Vec<Money>| Money::sum(currency, amounts).expect("a sum");
    let taxes = invoice.body.taxes.iter().enumerate().map(|(at, tax)| CreditedTax {
        name: tax.name.clone(),
        percent: tax.percent,
        amount: sum(lines.iter().map(|line| line.taxes[at]).collect()),
    });
    let mode = invoice.body.inputs.tax.mode;
    let total = sum(lines.iter().map(|line| value(line, mode).expect("a value")).collect());
    let prepaid = sum(lines.iter().map(|line| line.prepaid).collect());
    let note = CreditNote {
        id: "cn-1".into(),
        invoice: invoice.id,
        invoice_number: "INV-2026-000042".into(),
        customer: customer().id,
        reason: "Outage on 12 October".into(),
        currency,
        taxes: taxes.collect(),
        lines,
        total,
        prepaid,
        off_receivable: total.checked_sub(prepaid).expect("the rest"),
        to_balance: none,
        refunded: none,
        corrects: Vec::new(),
    };
    let issued = (Some("CN-2026-000007".into()), at("2026-11-03T09:00:00Z"), Digest([9; 32]));
    build::credit_note(&note, issued, &invoice, &customer(), &details()).expect("a model")
}

/// Usage of October by day and by region.
pub(crate) fn annex() -> Annex {
    let day = |n: i64| october().start.plus_micros(n * 86_400_000_000);
    let usage =
        |n: i64| Exact::from(40_000 + (n * 7919) % 9_000 - if n % 7 > 4 { 22_000 } else { 0 });
    let days: Vec<(Timestamp, Exact)> = (0..31).map(|n| (day(n), usage(n))).collect();
    let sum: Exact = days.iter().map(|(_, value)| value).sum();
    let by = ["eu-west", "us-east"].map(|name| (name.to_owned(), exact("400000")));
    let rest = sum.sub(&exact("800000"));
    let by = by.into_iter().chain([(String::new(), rest)]).collect();
    Annex {
        name: "API requests".into(),
        unit: "requests".into(),
        days,
        by: Some(("region".into(), by)),
    }
}
