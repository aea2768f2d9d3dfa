//! Resolving a plan: currencies, units, phases, overrides; mistakes are found at their key.

#![cfg(test)]

use counterfoil_rating::{
    LatePolicy, Overrides, PartKind, Plan, PlanSpec, RateContext, Rates, Terms, Usage, rate,
};
use counterfoil_types::{Currency, Exact, Period, Rounding, Timestamp, Zone};
use serde_json::{Value, json};

const MODE: Rounding = Rounding::HalfAwayFromZero;

fn gbp() -> Currency {
    "GBP".parse().unwrap()
}

/// Euro at a rate, pound without one; a credit is a cent.
fn rates() -> Rates {
    Rates {
        units: [("credits".to_owned(), "0.01".parse().unwrap())].into(),
        currencies: vec![(Currency::EUR, Some("0.92".parse().unwrap())), (gbp(), None)],
    }
}

fn plan_json() -> Value {
    json!({
        "key": "pro", "interval": "month", "minimum": "10", "bill_at": "500",
        "discounts": [{"percent": "5"}, {"amount": "3"}],
        "commitment": {"amount": "12000", "interval": "year"},
        "in": {"GBP": {"minimum": "8", "bill_at": "400", "discounts": [],
                       "commitment": {"amount": "9000", "interval": "year"}}},
        "phase": [
            {"key": "trial", "days": 14, "trial": true},
            {"key": "intro", "months": 3, "discounts": [{"percent": "50", "name": "Welcome"}]},
            {"key": "ramp", "months": 6,
             "charges": {"calls": {"unit_price": "0.005", "in": {"GBP": {"unit_price": "0.004"}}}}},
        ],
        "charge": [
            {"key": "calls", "meter": "calls", "model": "per_unit", "unit_price": "0.01",
             "in": {"GBP": {"unit_price": "0.008"}}},
            {"key": "seats", "licensed": true, "model": "per_unit", "unit_price": "20", "included": 1,
             "in": {"GBP": {"unit_price": "16"}}},
            {"key": "tokens", "meter": "tokens", "model": "per_unit", "unit_price": "2",
             "minimum": "150", "priced_in": "credits",
             "in": {"GBP": {"unit_price": "0.015", "minimum": "1"}}},
        ],
    })
}

fn spec(value: Value) -> PlanSpec {
    serde_json::from_value(value).unwrap()
}

fn overrides(value: Value) -> Overrides {
    serde_json::from_value(value).unwrap()
}

fn resolved(
    value: Value,
    currency: Option<Currency>,
    phase: Option<&str>,
    over: Value,
) -> Result<Plan, String> {
    let (rates, over) = (rates(), overrides(over));
    let terms = Terms { currency, rates: &rates, phase, overrides: &over };
    spec(value).resolve(&terms).map_err(|error| error.to_string())
}

/// What `units` of a charge of the plan come to.
fn amount(plan: &Plan, key: &str, units: i64, currency: Currency) -> String {
    let charge = plan.charges.iter().find(|charge| charge.key == key).unwrap();
    let context = RateContext::new(currency, MODE);
    rate(charge, &Usage::units(Exact::from(units)), &context).unwrap().amount.to_string()
}

#[test]
fn currencies_and_units_are_exact_factors_or_own_prices() {
    let none = json!({});
    let usd = resolved(plan_json(), None, None, none.clone()).unwrap();
    assert_eq!(amount(&usd, "calls", 1000, Currency::USD), "10.00 USD");
    assert_eq!(amount(&usd, "tokens", 100, Currency::USD), "2.00 USD");
    assert_eq!(amount(&usd, "tokens", 1, Currency::USD), "1.50 USD", "150 credits at least");
    let eur = resolved(plan_json(), Some(Currency::EUR), None, none.clone()).unwrap();
    assert_eq!(amount(&eur, "calls", 1000, Currency::EUR), "9.20 EUR");
    assert_eq!(amount(&eur, "seats", 3, Currency::EUR), "36.80 EUR");
    assert_eq!(amount(&eur, "tokens", 1, Currency::EUR), "1.38 EUR", "150 × 0.01 × 0.92");
    assert_eq!(eur.charges[2].factor.to_string(), "0.0092");
    assert_eq!(eur.minimum.unwrap().to_string(), "9.2");
    assert_eq!(eur.bill_at.unwrap().to_string(), "460");
    assert_eq!(eur.commitment.unwrap().amount.to_string(), "11040");
    let gbp_plan = resolved(plan_json(), Some(gbp()), None, none).unwrap();
    assert_eq!(amount(&gbp_plan, "calls", 1000, gbp()), "8.00 GBP");
    assert_eq!(amount(&gbp_plan, "tokens", 100, gbp()), "1.50 GBP", "pounds, not credits");
    assert!(gbp_plan.charges.iter().all(|charge| charge.factor == Exact::ONE));
    assert_eq!(gbp_plan.minimum.unwrap().to_string(), "8");
    assert!(gbp_plan.discounts.is_empty());
}

#[test]
fn phases_change_prices_and_trials_cost_nothing() {
    let none = json!({});
    let trial = resolved(plan_json(), None, Some("trial"), none.clone()).unwrap();
    assert!(trial.is_trial() && trial.minimum.is_none() && trial.bill_at.is_none());
    let context = RateContext::new(Currency::USD, MODE);
    for units in [-7i64, 0, 1, 9000] {
        for charge in &trial.charges {
            let line = rate(charge, &Usage::units(Exact::from(units)), &context).unwrap();
            assert!(line.amount.is_zero() && line.exact.is_zero(), "{} of {units}", charge.key);
            let raised = line.parts.iter().any(|part| part.kind == PartKind::MinimumTopUp);
            assert!(!raised, "no minimum in a trial");
        }
    }
    let shown = rate(&trial.charges[0], &Usage::units(Exact::from(1000i64)), &context).unwrap();
    let last = shown.parts.last().unwrap();
    assert_eq!((last.label.as_str(), last.amount.to_string().as_str()), ("Trial", "-10"));
    let intro = resolved(plan_json(), None, Some("intro"), none.clone()).unwrap();
    assert_eq!(amount(&intro, "calls", 1000, Currency::USD), "5.00 USD");
    assert_eq!(amount(&intro, "tokens", 1, Currency::USD), "0.75 USD");
    let ramp = resolved(plan_json(), Some(Currency::EUR), Some("ramp"), none.clone()).unwrap();
    assert_eq!(amount(&ramp, "calls", 1000, Currency::EUR), "4.60 EUR");
    let ramp = resolved(plan_json(), Some(gbp()), Some("ramp"), none.clone()).unwrap();
    assert_eq!(amount(&ramp, "calls", 1000, gbp()), "4.00 GBP");
    let error = resolved(plan_json(), None, Some("later"), none).unwrap_err();
    assert!(error.contains("trial, intro, ramp"), "{error}");
}

#[test]
fn overrides_patch_charges_and_the_plan() {
    let over = json!({
        "calls": {"unit_price": "0.002", "included": 100},
        "tokens": {"minimum": null},
        "plan": {"minimum": null, "maximum": "700", "late_events": "credit_note",
                 "commitment": {"amount": "6000", "interval": "quarter", "overage_factor": "1.5"}},
    });
    let plan = resolved(plan_json(), None, None, over.clone()).unwrap();
    assert_eq!(amount(&plan, "calls", 1100, Currency::USD), "2.00 USD");
    assert_eq!(amount(&plan, "tokens", 1, Currency::USD), "0.02 USD");
    assert_eq!((plan.minimum, plan.maximum.unwrap().to_string()), (None, "700".to_owned()));
    assert_eq!(plan.late_events, LatePolicy::CreditNote);
    let commitment = plan.commitment.unwrap();
    assert_eq!(
        commitment.for_part(&Exact::ONE).settle(&Exact::from(7000i64)).amount.to_string(),
        "7500"
    );
    let eur = resolved(plan_json(), Some(Currency::EUR), None, over.clone()).unwrap();
    assert_eq!(amount(&eur, "calls", 1100, Currency::EUR), "1.84 EUR", "the rate applies");
    assert_eq!(eur.maximum.unwrap().to_string(), "644");
    let pound = resolved(plan_json(), Some(gbp()), None, over).unwrap();
    assert_eq!(amount(&pound, "calls", 1100, gbp()), "2.00 GBP", "read in the charge's currency");
    let own = json!({"calls": {"in": {"EUR": {"unit_price": "0.003"}}}});
    let eur = resolved(plan_json(), Some(Currency::EUR), None, own).unwrap();
    assert_eq!(amount(&eur, "calls", 1000, Currency::EUR), "3.00 EUR");
    // Phase and override together: the override is the last word.
    let over = json!({"calls": {"unit_price": "0.003"}});
    let ramp = resolved(plan_json(), None, Some("ramp"), over).unwrap();
    assert_eq!(amount(&ramp, "calls", 1000, Currency::USD), "3.00 USD");
}

#[test]
fn mistakes_in_overrides_name_their_key() {
    for (over, says) in [
        (json!({"call": {"unit_price": "1"}}), "overrides.call: there is no charge"),
        (json!({"calls": {"unitprice": "1"}}), "overrides.calls.unitprice: unknown field"),
        (json!({"calls": {"unitprice": null}}), "overrides.calls.unitprice: unknown field"),
        (json!({"calls": {"unit_price": 0.01}}), "in quotes"),
        (json!({"calls": {"unit_price": null}}), "overrides.calls.unit_price: is missing"),
        (
            json!({"calls": {"unit_price": "-1"}}),
            "overrides.calls.unit_price: must not be negative",
        ),
        (json!({"calls": {"package_size": "5"}}), "overrides.calls.package_size: is not used"),
        (json!({"calls": {"key": "x"}}), "overrides.calls.key: a charge keeps"),
        (json!({"calls": {"model": null}}), "overrides.calls.model: missing field"),
        (json!({"calls": {"priced_in": "tokens"}}), "overrides.calls.priced_in: there is no"),
        (json!({"calls": {"in": {"CHF": {}}}}), "overrides.calls.in.CHF: there is no"),
        (json!({"calls": {"in": {"EUR": "1"}}}), "overrides.calls.in.EUR: must be a table"),
        (json!({"calls": {"in": "EUR"}}), "overrides.calls.in: must be a table"),
        (json!({"plan": {"interval": "year"}}), "overrides.plan.interval: cannot be overridden"),
        (json!({"plan": {"minimum": "x"}}), "overrides.plan.minimum"),
        (json!({"plan": {"maximum": "1"}}), "overrides.plan.maximum: lies below"),
        (json!({"plan": {"commitment": {"amount": "1", "interval": "week"}}}), "no whole multiple"),
    ] {
        let error = resolved(plan_json(), None, None, over.clone()).unwrap_err();
        assert!(error.contains(says), "{over}\n  said: {error}");
    }
    let chf = Some("CHF".parse().unwrap());
    let error = resolved(plan_json(), chf, None, json!({})).unwrap_err();
    assert!(error.contains("no prices in CHF (other currencies: EUR, GBP)"), "{error}");
}

/// Changes one value of the plan, at a JSON pointer, and says what is wrong then.
fn broken(pointer: &str, value: Value, currency: Option<Currency>, phase: Option<&str>) -> String {
    let mut plan = plan_json();
    let (table, key) = pointer.rsplit_once('/').unwrap();
    match plan.pointer_mut(pointer) {
        Some(old) => *old = value,
        None => plan.pointer_mut(table).unwrap()[key] = value,
    }
    resolved(plan, currency, phase, json!({})).unwrap_err()
}

#[test]
fn no_amount_is_read_in_another_currency_than_it_was_written_in() {
    let says = |pointer: &str, value: Value, phase: Option<&str>, says: &str| {
        let error = broken(pointer, value, Some(gbp()), phase);
        assert!(error.contains(says), "{pointer} said: {error}");
    };
    // An amount that the pound prices do not restate would be read as pounds.
    says(
        "/charge/0/minimum",
        json!("5"),
        None,
        "charge[0].in.GBP: `minimum` must be stated in GBP",
    );
    says("/charge/0/discounts", json!([{"amount": "5"}]), None, "`discounts` must be stated");
    says("/charge/0/in", json!({}), None, "charge[0].in: GBP has no rate");
    says("/in", json!({}), None, "in: GBP has no rate");
    says("/maximum", json!("900"), None, "in.GBP: `maximum` must be stated in GBP");
    let ramp = json!({"calls": {"unit_price": "0.005"}});
    says(
        "/phase/2/charges",
        ramp,
        Some("ramp"),
        "phase[2].charges.calls.unit_price: `unit_price` must",
    );
    says("/charge/2/in/GBP/priced_in", json!("credits"), None, "charge[2].in.GBP.priced_in");
    let fixed = json!([{"amount": "2"}]);
    says("/phase/1/discounts", fixed, Some("intro"), "phase[1].discounts[0].amount");
    // Percentages are the same in every currency.
    let mut plan = plan_json();
    plan["charge"][0]["discounts"] = json!([{"percent": "10"}]);
    assert!(resolved(plan, Some(gbp()), None, json!({})).is_ok());
}

#[test]
fn mistakes_in_plans_name_their_key() {
    for (pointer, value, says) in [
        ("/billing_day", json!(5), "billing_day: is used with"),
        ("/alignment", json!("billing_day"), "billing_day: is missing"),
        ("/bill_at", json!("0"), "bill_at: must be above zero"),
        ("/maximum", json!("9"), "maximum: lies below"),
        ("/maximum", json!("-9"), "maximum: must not be negative"),
        ("/discounts", json!([{"percent": "101"}]), "discounts[0].percent"),
        ("/commitment/interval", json!("day"), "commitment.interval: day is no whole multiple"),
        ("/commitment/overage_factor", json!("-1"), "commitment.overage_factor"),
        ("/phase/0/months", json!(1), "phase[0].months: a phase has one length"),
        ("/phase/0/days", json!(0), "phase[0].days"),
        ("/phase/1/months", Value::Null, "phase[1]: only the last phase"),
        ("/phase/1/key", json!("trial"), "phase[1].key"),
        ("/phase/2/charges", json!({"x": {}}), "phase[2].charges.x: there is no charge"),
        ("/charge/1/meter", json!("m"), "charge[1].meter: a licensed charge"),
        ("/charge/1/conversion", json!({"divide": "2"}), "charge[1].conversion"),
        ("/charge/1/prorate_units", json!(true), "charge[1].prorate_units"),
        ("/charge/0/prorate_units", json!(true), "charge[0].prorate_units: has no effect"),
        ("/charge/0/interval", json!("year"), "charge[0].interval"),
        ("/charge/1/interval", json!("week"), "charge[1].interval: week is no whole multiple"),
        ("/charge/1/interval_count", json!(2), "charge[1].interval_count: goes with"),
        ("/charge/2/priced_in", json!("stars"), "charge[2].priced_in: there is no [[unit]]"),
        ("/charge/0/in/CHF", json!({}), "charge[0].in.CHF: there is no [[currency]]"),
    ] {
        let error = broken(pointer, value, None, None);
        assert!(error.contains(says), "{pointer} said: {error}");
    }
    let licensed = json!({"key": "s", "licensed": true, "model": "percentage", "rate": "1"});
    let error = broken("/charge/1", licensed, None, None);
    assert!(error.contains("charge[1].licensed"), "{error}");
    let once = json!({"key": "s", "model": "flat", "amount": "1", "recurrence": "once", "interval": "year"});
    assert!(broken("/charge/1", once, None, None).contains("charge[1].interval"));
    let phase = json!({"key": "later", "days": 1, "charges": {"calls": {"unit_price": "x"}}});
    let error = broken("/phase/2", phase, None, Some("later"));
    assert!(error.contains("phase[2].charges.calls.unit_price"), "{error}");
    for (extra, says) in [
        (
            json!({"alignment": "anniversary", "first_period": "long"}),
            "first_period: has no effect",
        ),
        (json!({"alignment": "billing_day", "billing_day": 32}), "billing_day: must lie"),
        (
            json!({"alignment": "billing_day", "billing_day": 3, "interval": "week",
                "commitment": null}),
            "alignment: a billing day",
        ),
    ] {
        let mut plan = plan_json();
        plan.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let error = resolved(plan, None, None, json!({})).unwrap_err();
        assert!(error.contains(says), "{extra} said: {error}");
    }
}

#[test]
fn phases_run_from_the_first_day() {
    let plan = resolved(plan_json(), None, None, json!({})).unwrap();
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    let start: Timestamp = "2026-01-17T00:00:00+01:00".parse().unwrap();
    let shown = |plan: &Plan, start| -> Vec<String> {
        let periods = plan.phase_periods(start, &zone).unwrap();
        let day = |period: &Period| zone.civil(period.end).unwrap().date().to_string();
        periods.iter().map(|(period, phase)| format!("{} {}", phase.key, day(period))).collect()
    };
    // Fourteen days, then from the 31st on three and six months together: 30 April does not stay.
    assert_eq!(shown(&plan, start), ["trial 2026-01-31", "intro 2026-04-30", "ramp 2026-10-31"]);
    let at = |text: &str| {
        let phase = plan.phase_at(start, text.parse().unwrap(), &zone).unwrap();
        phase.map(|phase| phase.key.clone())
    };
    assert_eq!(at("2026-01-16T22:59:59Z"), None);
    assert_eq!(at("2026-01-30T22:59:59Z").as_deref(), Some("trial"));
    assert_eq!(at("2026-01-30T23:00:00Z").as_deref(), Some("intro"));
    assert_eq!(at("2026-10-30T23:00:00Z"), None, "the plain plan");
    let mut open = plan_json();
    open["phase"] = json!([{"key": "all", "charges": {"calls": {"unit_price": "0.001", "in": {"GBP": {"unit_price": "1"}}}}}]);
    let open = resolved(open, None, None, json!({})).unwrap();
    let periods = open.phase_periods(start, &zone).unwrap();
    assert_eq!(periods[0].0, Period::new(start, Timestamp::MAX));
}

#[test]
fn a_licence_is_priced_whole_and_then_prorated() {
    let plan = resolved(
        plan_json(),
        None,
        None,
        json!({"seats": {
        "model": "graduated", "unit_price": null, "maximum": "100",
        "tiers": [{"up_to": 3, "unit_price": "20", "flat_fee": "5"}, {"unit_price": "10"}]}}),
    )
    .unwrap();
    let seats = &plan.charges[1];
    assert!(seats.licensed && !seats.is_metered());
    let context = RateContext::new(Currency::USD, MODE);
    let usage = Usage::units(Exact::from(5i64));
    let full = rate(seats, &usage, &context).unwrap();
    assert_eq!(full.exact.to_string(), "65", "5 + 2 × 20 + 2 × 10");
    let part = Exact::ratio(17, 31).unwrap();
    let line = rate(seats, &usage, &context.clone().prorated(part.clone())).unwrap();
    assert_eq!(line.exact, Exact::from(65i64).mul(&part));
    assert_eq!(line.amount.to_string(), "35.65 USD");
    for part in &line.parts {
        if let Some(price) = part.price {
            assert_eq!(part.quantity.mul(&price.exact()), part.exact, "each part explains itself");
        }
    }
    assert_eq!(line.parts[0].kind, PartKind::Included);
    assert_eq!(line.parts[0].quantity, Exact::ONE, "the included seat stays one");
    let many = rate(seats, &Usage::units(Exact::from(50i64)), &context.prorated(part)).unwrap();
    assert_eq!(many.amount.to_string(), "54.84 USD", "the maximum shrinks too");
}

#[test]
fn units_shrink_with_the_period_and_prices_do_not() {
    let of = |value: Value| -> counterfoil_rating::Charge {
        let mut value = value;
        value["key"] = json!("c");
        value["meter"] = json!("m");
        value["prorate_units"] = json!(true);
        let spec: counterfoil_rating::ChargeSpec = serde_json::from_value(value).unwrap();
        counterfoil_rating::Charge::try_from(&spec).unwrap()
    };
    let half = RateContext::new(Currency::USD, MODE).prorated(Exact::ratio(1, 2).unwrap());
    let third = RateContext::new(Currency::USD, MODE).prorated(Exact::ratio(1, 3).unwrap());
    let exact = |charge: &counterfoil_rating::Charge, units: i64, context: &RateContext| {
        rate(charge, &Usage::units(Exact::from(units)), context).unwrap().exact.to_string()
    };
    let tiers = json!([{"up_to": 10, "unit_price": "2", "flat_fee": "7"}, {"unit_price": "1"}]);
    let graduated = of(json!({"model": "graduated", "tiers": tiers}));
    assert_eq!(exact(&graduated, 8, &half), "20", "7 + 5 × 2 + 3 × 1");
    assert_eq!(exact(&graduated, 10, &third), "61/3", "7 + 10/3 × 2 + 20/3 × 1");
    let volume = of(json!({"model": "volume", "tiers": tiers}));
    assert_eq!(exact(&volume, 5, &half), "17", "the bound itself is in the tier");
    assert_eq!(exact(&volume, 6, &half), "6");
    let package =
        of(json!({"model": "package", "package_size": 4, "package_price": "3", "included": 10}));
    assert_eq!(exact(&package, 10, &half), "6", "5 free; a package keeps its size");
    let capacity =
        of(json!({"model": "capacity", "amount": "100", "capacity": 10, "unit_price": "2"}));
    assert_eq!(exact(&capacity, 8, &half), "56", "50 + 3 × 2");
    let blocks = of(json!({"model": "tiered_block", "tiers": [
        {"block_size": 2, "max_blocks": 4, "block_price": "5"}, {"block_size": 2, "block_price": "1"}]}));
    assert_eq!(exact(&blocks, 8, &half), "12", "4 units in two blocks, 4 units in two more");
}

fn tokens(maximum: &str) -> counterfoil_rating::Charge {
    let mut plan = plan_json();
    plan["charge"][2] = json!({"key": "tokens", "meter": "tokens", "model": "per_unit",
        "unit_price": "2", "maximum": maximum, "priced_in": "credits"});
    plan["in"] = json!({});
    plan["charge"][0]["in"] = json!({});
    plan["charge"][1]["in"] = json!({});
    plan["phase"] = json!([]);
    resolved(plan, Some(Currency::EUR), None, json!({})).unwrap().charges.remove(2)
}

#[test]
fn a_cap_in_credits_counts_the_money_billed_before() {
    use counterfoil_rating::{Position, price_part};
    // 100 credits are 0.92 euro; 30 tokens are 60 credits, 0.552 euro.
    let charge = tokens("100");
    let of = |units: i64| Usage::units(Exact::from(units));
    let first =
        price_part(&charge, &of(0), &of(30), Position::First, &Exact::ZERO, &Exact::ONE).unwrap();
    assert_eq!(first.exact.to_string(), "0.552");
    let last =
        price_part(&charge, &of(30), &of(90), Position::Last, &first.exact, &Exact::ONE).unwrap();
    assert_eq!(last.exact.to_string(), "0.368", "the 40 credits that were left");
    assert_eq!(last.factor, Some(charge.factor.clone()));
}

#[test]
fn a_difference_of_lines_keeps_a_factor_only_where_both_have_it() {
    let charge = tokens("100000");
    let context = RateContext::new(Currency::EUR, MODE);
    let line = |charge: &counterfoil_rating::Charge, units: i64| {
        rate(charge, &Usage::units(Exact::from(units)), &context).unwrap()
    };
    let late = counterfoil_rating::delta(&line(&charge, 500), &line(&charge, 300)).unwrap();
    assert_eq!(late.factor, Some(charge.factor.clone()));
    let part = &late.parts[0];
    let product = part.quantity.mul(&part.price.unwrap().exact()).mul(&charge.factor);
    assert_eq!(product, part.exact);
    let mut other = charge.clone();
    other.factor = Exact::ONE;
    let mixed = counterfoil_rating::delta(&line(&charge, 500), &line(&other, 300)).unwrap();
    assert!(mixed.factor.is_none() && mixed.parts.iter().all(|part| part.price.is_none()));
    assert_eq!(mixed.exact, mixed.parts.iter().map(|part| &part.exact).sum());
}

#[test]
fn usage_below_zero_that_counts_as_zero_prices_no_cells() {
    use counterfoil_rating::{Cell, Charge, ChargeSpec};
    let spec: ChargeSpec =
        serde_json::from_value(json!({"key": "x", "meter": "m", "model": "matrix",
        "negative_usage": "clamp_to_zero", "default_unit_price": "1",
        "rates": [{"when": {"k": "a"}, "unit_price": "5"}]}))
        .unwrap();
    let charge = Charge::try_from(&spec).unwrap();
    let cell = |value: &str, units: i64| Cell {
        dimensions: [("k".to_owned(), value.to_owned())].into(),
        units: units.into(),
    };
    let usage = Usage::cells(vec![cell("a", -3), cell("b", 2)]);
    let line = rate(&charge, &usage, &RateContext::new(Currency::USD, MODE)).unwrap();
    assert!(line.amount.is_zero(), "{}", line.amount);
}
