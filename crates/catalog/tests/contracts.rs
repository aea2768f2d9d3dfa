//! Units, currencies, phases and windows in a whole book: mistakes are found at load with their
//! line, and a plan is resolved for each customer.

#![cfg(test)]

use counterfoil_catalog::PriceBook;
use counterfoil_rating::Overrides;
use counterfoil_types::{Currency, PlanKey};

fn text() -> String {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pricing");
    std::fs::read_to_string(dir.join("contract-toolkit.toml")).unwrap()
}

#[test]
fn every_combination_of_phase_and_currency_is_checked_at_load() {
    let good = text();
    PriceBook::parse("book.toml", &good).unwrap();
    for (from, to, at, says) in [
        // Only euro customers in their pilot would have met this one.
        (
            "charges = { licence = { amount = \"0\" } }",
            "charges = { licence = { amount = \"0\", in = { EUR = { amont = \"0\" } } } }",
            "amont",
            "unknown field `amont`",
        ),
        (
            "charges = { licence = { amount = \"0\" } }",
            "charges = { license = { amount = \"0\" } }",
            "license = {",
            "no charge \"license\"",
        ),
        ("years = 2", "years = 2\nmonths = 3", "years = 2", "one length"),
        ("amount = \"0\"", "amount = 0.5", "amount = 0.5", "in quotes"),
        ("priced_in = \"credits\"", "priced_in = \"credit\"", "priced_in", "no [[unit]]"),
        ("price = \"0.01\"", "price = \"0\"", "price = \"0\"", "above zero"),
        ("rate = \"0.92\"", "rate = \"-1\"", "rate = \"-1\"", "above zero"),
        ("\nrate = \"0.92\"", "", "plan.charge", "EUR has no rate"),
        ("code = \"EUR\"", "code = \"USD\"", "code = \"USD\"", "stands twice"),
        (
            "from = \"22:00\"",
            "from = \"19:00\"",
            "{ name = \"night\"",
            "\"peak\" and \"night\" overlap",
        ),
        ("{ tiers = [{ up_to", "{ tier = [{ up_to", "{ tier =", "in.EUR"),
        ("minimum = \"900\"\n", "", "[plan.in.EUR]", "`minimum` must be stated in EUR"),
        (
            "event_type = \"charger.delivered\"\naggregation = \"sum\"",
            "event_type = \"charger.delivered\"\naggregation = \"max\"",
            "meter = \"charging_kwh\"",
            "`sum` or `count`",
        ),
        ("phase = \"trial\"", "phase = \"tryal\"", "phase = \"tryal\"", "no phase \"tryal\""),
        ("fraction = \"17/31\"", "fraction = \"17/0\"", "fraction", "such as 17/31"),
        (
            "currency = \"EUR\"\nquantities = { seats",
            "currency = \"EUR\"\nquantities = { seat",
            "{ seat =",
            "no licensed charge \"seat\"",
        ),
        (
            "currency = \"EUR\"\nusage",
            "currency = \"CHF\"\nusage",
            "currency = \"CHF\"",
            "no prices in CHF",
        ),
    ] {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good, "{from}");
        let error = PriceBook::parse("book.toml", &broken).unwrap_err();
        assert!(error.to_string().contains(says), "{from} said: {error}");
        let line = broken.lines().nth(error.line - 1).unwrap();
        assert!(line.contains(at), "{from} was found at line {}: {line}", error.line);
    }
}

#[test]
fn a_book_resolves_its_plans_for_each_customer() {
    let book = PriceBook::parse("book.toml", &text()).unwrap();
    assert_eq!(book.currencies(), [Currency::USD, Currency::EUR]);
    let key: PlanKey = "contract".parse().unwrap();
    let none = Overrides::new();
    let plain = book.resolve(&key, Currency::USD, None, &none).unwrap();
    assert_eq!(&plain, book.plan(&key).unwrap());
    let euro = book.resolve(&key, Currency::EUR, None, &none).unwrap();
    assert_eq!(euro.minimum.unwrap().to_string(), "900");
    assert_eq!(euro.charges[0].factor.to_string(), "0.92");
    let over: Overrides = serde_json::from_str(r#"{"calls": {"meter": "calls"}}"#).unwrap();
    let error = book.resolve(&key, Currency::USD, None, &over).unwrap_err().to_string();
    assert!(error.contains("no meter \"calls\""), "{error}");
    let gold: PlanKey = "gold".parse().unwrap();
    for error in [
        book.resolve(&gold, Currency::USD, None, &none).unwrap_err(),
        book.resolve(&gold, Currency::EUR, None, &none).unwrap_err(),
    ] {
        assert!(error.to_string().contains("no plan \"gold\""), "{error}");
    }
    assert!(book.resolve(&key, "CHF".parse().unwrap(), None, &none).is_err());
}
