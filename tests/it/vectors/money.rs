//! Rounding, splitting, discounts, tax and whole invoices.

use counterfoil_rating::{
    CreditOrder, Discount, DiscountOrder, TaxMode, TaxRate, TotalRules,
    commitment::{UsageRounding, true_up},
    discount::{ScopedDiscount, apply_in_order, apply_to_lines, distribute},
    spec::DiscountSpec,
    tax::tax as tax_on,
    totals,
};
use counterfoil_types::{
    Exact, Quantity, Rounding, SplitError, split_back_to_front, split_largest_remainder,
};
use serde_json::{Value, json};

use super::case::{
    Answer, Case, Miss, as_text, exact, exacts, fail, integer, optional, rounding, shown, shown_all,
};

const MONEY: Rounding = Rounding::HalfAwayFromZero;

pub(super) fn round(case: &Case) -> Answer {
    let value = exact(case.need("value")?)?;
    let rounded = value.round(case.dp()?, rounding(case.param("mode"))?);
    Ok(json!({"amount": shown(&rounded), "value": shown(&rounded)}))
}

/// Each line is rounded, then added.
pub(super) fn sum_rounded(case: &Case) -> Answer {
    let (dp, mode) = (case.dp()?, rounding(case.param("mode"))?);
    let mut lines = Vec::new();
    for line in case.list("lines_in") {
        let count = optional(line.get("count"))?.unwrap_or(Exact::ONE);
        lines.push(line_amount(&line)?.round(dp, mode).mul(&count));
    }
    Ok(json!({"amount": shown(&lines.iter().sum()), "lines": shown_all(&lines)}))
}

/// `amount`, or `quantity` × `unit_price`.
pub(super) fn line_amount(line: &Value) -> Result<Exact, Miss> {
    let quantity = optional(line.get("quantity"))?.unwrap_or(Exact::ONE);
    let price = ["amount", "unit_price", "price"].iter().find_map(|key| line.get(key));
    Ok(exact(price.unwrap_or(line))?.mul(&quantity))
}

pub(super) fn allocate(case: &Case) -> Answer {
    let (whole, dp) = (exact(case.need("amount")?)?, case.dp()?);
    let weights = exacts(&case.list("weights"))?;
    let parts = match case.param_text("method") {
        "largest_remainder_by_key" => by_key(case, &whole, &weights, dp)?,
        "largest_remainder" | "" if case.list("keys").is_empty() => {
            split_largest_remainder(&whole, &weights, dp)
        }
        "largest_remainder" => by_key(case, &whole, &weights, dp)?,
        "remaining_back_to_front" => split_back_to_front(&whole, &weights, dp),
        other => return Err(Miss::Skip(format!("allocation {other}"))),
    };
    Ok(json!({"allocations": shown_all(&parts.map_err(fail)?)}))
}

/// Ties go to the smaller key: the items are split in the order of their keys and put back.
fn by_key(
    case: &Case,
    whole: &Exact,
    weights: &[Exact],
    dp: i32,
) -> Result<Result<Vec<Exact>, SplitError>, Miss> {
    let keys = case.list("keys");
    let keys = keys.iter().map(as_text).collect::<Result<Vec<_>, _>>()?;
    if keys.len() != weights.len() {
        return Err(Miss::Skip("allocation by key without keys".to_owned()));
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|at| keys[*at]);
    let sorted: Vec<Exact> = order.iter().map(|at| weights[*at].clone()).collect();
    Ok(split_largest_remainder(whole, &sorted, dp).map(|parts| {
        let mut back = vec![Exact::ZERO; parts.len()];
        for (at, part) in order.into_iter().zip(parts) {
            back[at] = part;
        }
        back
    }))
}

/// `{type, value}` as the engine's discount; a percentage above 100 takes everything.
fn discount_of(value: &Value) -> Result<Discount, Miss> {
    let number = value.get("value").or_else(|| value.get("amount")).or_else(|| value.get("rate"));
    let number = exact(number.ok_or_else(|| fail("a discount has no value"))?)?;
    let percent = match as_text(&value["type"])? {
        "percentage" | "percent" => true,
        "fixed" | "amount" | "fixed_amount" => false,
        other => return Err(Miss::Skip(format!("discount type {other}"))),
    };
    let number = if percent { number.at_most(&Exact::from(100i64)) } else { number };
    let number = Quantity::try_from(&number).map_err(fail)?;
    let spec = DiscountSpec {
        percent: percent.then_some(number),
        amount: (!percent).then_some(number),
        name: None,
    };
    Discount::check(&spec).map_err(fail)
}

fn discounts(case: &Case) -> Result<Vec<Discount>, Miss> {
    case.list("discounts").iter().map(discount_of).collect()
}

fn discount_order(case: &Case) -> DiscountOrder {
    let named = case.param_text("order") == "percentage_first";
    if named || case.requires("discount_order:percentage_first") {
        DiscountOrder::PercentFirst
    } else {
        DiscountOrder::AsGiven
    }
}

fn tax_rates(case: &Case) -> Result<Vec<TaxRate>, Miss> {
    let rates = match case.any(&["rates", "tax_rates", "tax_rate"]) {
        Some(Value::Array(rates)) => rates.clone(),
        Some(rate) => vec![rate.clone()],
        None => Vec::new(),
    };
    let rate = |value: &Value| -> Result<TaxRate, Miss> {
        let percent = value.get("rate").or_else(|| value.get("value")).unwrap_or(value);
        let percent = Quantity::try_from(&exact(percent)?).map_err(fail)?;
        Ok(TaxRate { name: "tax".to_owned(), percent })
    };
    rates.iter().map(rate).collect()
}

fn tax_mode(case: &Case) -> TaxMode {
    let inclusive = case.any(&["inclusive", "tax_inclusive"]) == Some(&Value::Bool(true));
    let named = ["mode", "behavior"].iter().any(|key| case.param_text(key) == "inclusive");
    if inclusive || named { TaxMode::Inclusive } else { TaxMode::Exclusive }
}

/// The amount of the case, or the sum of its lines.
fn amount(case: &Case) -> Result<Exact, Miss> {
    match case.any(&["amount"]) {
        Some(amount) => exact(amount),
        None => Ok(lines(case)?.iter().sum()),
    }
}

fn lines(case: &Case) -> Result<Vec<Exact>, Miss> {
    let given = [case.list("line_amounts"), case.list("lines_in")].concat();
    given.iter().map(line_amount).collect()
}

pub(super) fn discount(case: &Case) -> Answer {
    let (dp, amount) = (case.dp()?, amount(case)?);
    let done = apply_in_order(&amount, &discounts(case)?, discount_order(case), dp, MONEY);
    let taxed = tax_on(&done.amount, &tax_rates(case)?, tax_mode(case), dp, MONEY).map_err(fail)?;
    Ok(json!({
        "discount": shown(&done.discount), "amount": shown(&done.amount),
        "discounts": shown_all(&done.each), "breakdown": shown_all(&done.each),
        "tax": shown(&taxed.tax), "total": shown(&taxed.gross),
    }))
}

/// These cases count minor units throughout, also where they do not say so.
pub(super) fn distribute_discount(case: &Case) -> Answer {
    let dp = case.param("dp").map_or(Ok(0), integer)?;
    let lines = lines(case)?;
    let discount = exact(case.any(&["discount", "amount"]).ok_or_else(|| fail("no discount"))?)?;
    let taken = distribute(&discount, &lines, dp).map_err(fail)?;
    let net: Vec<Exact> = lines.iter().zip(&taken).map(|(line, off)| line.sub(off)).collect();
    Ok(json!({
        "net_lines": shown_all(&net), "discounts": shown_all(&taken),
        "discount": shown(&taken.iter().sum()), "amount": shown(&net.iter().sum()),
    }))
}

/// Discounts on lines, each spread over what the earlier ones left.
pub(super) fn coupon_breakdown(case: &Case) -> Answer {
    let (dp, lines) = (case.dp()?, lines(case)?);
    if lines.is_empty() {
        return discount(case);
    }
    let scoped = |value: &Value| -> Result<ScopedDiscount, Miss> {
        let scope = ["lines", "applies_to"].iter().find_map(|key| value.get(key));
        let scope = scope.and_then(Value::as_array);
        let scope =
            scope.map(|list| list.iter().map(integer::<usize>).collect::<Result<Vec<_>, _>>());
        Ok(ScopedDiscount { discount: discount_of(value)?, lines: scope.transpose()? })
    };
    let scoped = case.list("discounts").iter().map(scoped).collect::<Result<Vec<_>, _>>()?;
    let done = apply_to_lines(&lines, &scoped, dp, MONEY).map_err(fail)?;
    let each: Vec<Exact> = done.each.iter().map(|row| row.iter().sum()).collect();
    Ok(json!({
        "net_lines": shown_all(&done.net_lines), "amount": shown(&done.net_lines.iter().sum()),
        "discount": shown(&each.iter().sum()), "discounts": shown_all(&each),
        "breakdown": shown_all(&each),
    }))
}

pub(super) fn tax(case: &Case) -> Answer {
    let (dp, amount, rates) = (case.dp()?, amount(case)?, tax_rates(case)?);
    let taxed = tax_on(&amount, &rates, tax_mode(case), dp, MONEY).map_err(fail)?;
    Ok(json!({
        "taxes": shown_all(&taxed.each), "tax": shown(&taxed.tax), "total": shown(&taxed.gross),
        "net": shown(&taxed.net), "amount": shown(&taxed.net),
    }))
}

/// Lines are rounded one by one, then discounts, tax and credits follow.
pub(super) fn invoice(case: &Case) -> Answer {
    let dp = case.dp()?;
    let mut lines: Vec<Exact> = Vec::new();
    for line in case.list("lines_in") {
        lines.push(invoice_line(&line, &lines, dp)?);
    }
    let credits = match case.any(&["credits"]) {
        Some(Value::Array(credits)) => exacts(credits)?,
        Some(credit) => vec![exact(credit)?],
        None => Vec::new(),
    };
    let before = case.requires("credits_before_tax");
    let rules = TotalRules {
        discounts: discounts(case)?,
        discount_order: discount_order(case),
        credits,
        // Invoices of the sources list credits after tax, as a wallet pays.
        credit_order: if before { CreditOrder::BeforeTax } else { CreditOrder::AfterTax },
        tax: tax_rates(case)?,
        tax_mode: tax_mode(case),
        ..TotalRules::plain(dp, MONEY)
    };
    let sums = totals(&lines, &rules).map_err(fail)?;
    Ok(json!({
        "lines": shown_all(&lines), "subtotal": shown(&sums.subtotal),
        "discount": shown(&sums.discount), "tax": shown(&sums.tax), "taxes": shown_all(&sums.taxes),
        "credits": shown(&sums.credits), "total": shown(&sums.total),
        "net_lines": shown_all(&sums.net_lines),
    }))
}

/// One line, rounded; a true-up looks at the lines before it.
fn invoice_line(line: &Value, before: &[Exact], dp: i32) -> Result<Exact, Miss> {
    let fraction = match (line.get("days"), line.get("of_days")) {
        (Some(days), Some(of)) => exact(days)?.div(&exact(of)?).map_err(fail)?,
        _ => Exact::ONE,
    };
    let amount = if line["kind"] == "true_up" {
        let minimum = ["commitment", "amount"].iter().find_map(|key| line.get(key));
        let minimum = exact(minimum.ok_or_else(|| fail("a true-up has no commitment"))?)?;
        let usage = ["usage_amount", "usage"].iter().find_map(|key| line.get(key));
        let usage = usage.map_or_else(|| Ok(before.iter().sum()), exact)?;
        true_up(&minimum, &fraction, &usage, UsageRounding::First, dp, MONEY).amount
    } else {
        line_amount(line)?.mul(&fraction).round(dp, MONEY)
    };
    Ok(if line["sign"] == "-" { amount.neg() } else { amount })
}
