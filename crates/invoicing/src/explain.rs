//! An invoice in sentences: for each line where its units came from, what each part costs, and
//! where it was rounded.

use counterfoil_rating::{Part, PartKind, TaxMode};
use counterfoil_types::{Currency, Exact, Money};

use crate::invoice::{Invoice, InvoiceLine, LineKind};

/// The explanation, line by line of text.
#[must_use]
pub fn explain(invoice: &Invoice) -> Vec<String> {
    let body = &invoice.body;
    let mut text = vec![
        format!(
            "Invoice {} of {} ({}), subscription {}, cycle {}",
            invoice.number.as_deref().unwrap_or("(draft)"),
            body.customer_name,
            body.customer,
            body.subscription,
            body.cycle,
        ),
        format!("Period {} in {}", body.period, body.zone),
        format!(
            "Computed from lane {} of the ledger up to position {}, rules version {}",
            body.inputs.lane, body.inputs.position, body.inputs.engine
        ),
    ];
    for (number, line) in (1..).zip(&body.lines) {
        text.push(String::new());
        text.extend(explain_line(number, line));
    }
    text.push(String::new());
    text.push(format!("Lines sum to {}", body.subtotal));
    for used in &body.granted {
        text.push(format!(
            "{} units of {} were taken from grant {}",
            used.units, used.meter, used.grant
        ));
    }
    for used in &body.credits {
        let kind = used.kind.as_str();
        text.push(format!(
            "{} of {kind} credit {} ({}) is used",
            used.amount, used.name, used.grant
        ));
    }
    for tax in &body.taxes {
        if body.inputs.tax.mode == TaxMode::Inclusive {
            text.push(format!(
                "{} {} % contained in {}: {}",
                tax.name, tax.percent, tax.base, tax.amount
            ));
            continue;
        }
        let exact = tax.base.exact().mul(&tax.percent.exact()).mul(&Exact::unit(2));
        text.push(format!(
            "{} {} % of {} = {} exactly, rounded to {}",
            tax.name, tax.percent, tax.base, exact, tax.amount
        ));
    }
    text.extend(body.inputs.tax.note.clone());
    text.push(format!("Total {}", body.total));
    text.push(format!("SHA-256 of the invoice body: {}", invoice.digest));
    text
}

fn explain_line(number: usize, line: &InvoiceLine) -> Vec<String> {
    let why = match line.kind {
        LineKind::Usage => "usage of the period",
        LineKind::FeeArrears => "fee for the period that ended",
        LineKind::FeeAdvance => "fee for the period that begins",
        LineKind::LateUsage => "usage of an earlier period that arrived late",
        LineKind::PlanMinimum => "minimum of the plan",
        LineKind::PlanMaximum => "maximum of the plan",
        LineKind::Discount => "discount on the invoice",
        LineKind::Commitment => "commitment of the term",
        LineKind::Adjustment => "correction of an earlier invoice",
    };
    let mut text = vec![format!("{number}. {}: {} ({why})", line.name, line.amount)];
    text.push(format!("   for {}", line.period));
    text.push(format!(
        "   price book {} (sha256 {}…), plan {}, charge {}",
        line.book,
        line.book_hash.short(),
        line.plan,
        line.charge
    ));
    if let Some(phase) = &line.phase {
        text.push(format!("   phase {phase}"));
    }
    if let Some(origin) = line.origin {
        text.push(format!("   corrects cycle {}", origin.cycle));
    }
    if let (Some(meter), Some(metered)) = (&line.meter, &line.metered) {
        let unit = line.unit.as_deref().unwrap_or("units");
        text.push(format!("   meter {meter}: {metered} {unit}"));
    }
    if let Some(events) = line.events {
        text.push(format!("   from {events} events"));
    }
    for part in &line.rated.parts {
        text.push(format!(
            "   · {}",
            explain_part(part, line.rated.factor.as_ref(), line.amount.currency())
        ));
    }
    text.push(format!(
        "   exactly {}, rounded once to {}",
        line.rated.exact,
        line.rated.amount.to_plain()
    ));
    if let Some(billed) = line.already_billed {
        text.push(format!(
            "   less {} billed before = {}",
            billed.to_plain(),
            line.amount.to_plain()
        ));
    }
    text
}

/// One part in words: `tier 2: 90000 × 0.01 = 900`, with the factor of its line where it has one:
/// `tier 2: 90000 × 0.01 × 0.92 = 828`.
#[must_use]
pub fn explain_part(part: &Part, factor: Option<&Exact>, currency: Currency) -> String {
    let what = match part.kind {
        PartKind::Included => "included units".to_owned(),
        PartKind::Units if part.label.is_empty() => "units".to_owned(),
        PartKind::Units if part.label.bytes().all(|b| b.is_ascii_digit()) => {
            format!("tier {}", part.label)
        }
        PartKind::Units => part.label.clone(),
        PartKind::TierFee => format!("fee for entering tier {}", part.label),
        PartKind::Packages if part.label.is_empty() => "packages".to_owned(),
        PartKind::Packages => format!("blocks of tier {}", part.label),
        PartKind::Flat => "fixed amount".to_owned(),
        PartKind::Percentage => "percent".to_owned(),
        PartKind::TransactionFee => "transactions".to_owned(),
        PartKind::TransactionBounds => "floors and caps per transaction".to_owned(),
        PartKind::MinimumTopUp => "raised to the minimum".to_owned(),
        PartKind::MaximumCap => "lowered to the maximum".to_owned(),
        PartKind::Discount => part.label.clone(),
        PartKind::Clamped => "usage below zero counts as zero".to_owned(),
        PartKind::AlreadyBilled => "already billed".to_owned(),
    };
    let times = factor.map_or_else(String::new, |factor| format!(" × {factor}"));
    let product = match part.price {
        Some(price) if part.kind == PartKind::Percentage => {
            format!("{} × {price} %{times} = ", part.quantity)
        }
        Some(price) => format!("{} × {price}{times} = ", part.quantity),
        None => String::new(),
    };
    let settled = if part.exact == part.amount {
        String::new()
    } else {
        // Settled parts lie on the minor unit, so this always is an amount.
        let shown = Money::from_exact(&part.amount, currency);
        shown.map_or_else(|_| String::new(), |shown| format!(" (shown as {})", shown.to_plain()))
    };
    format!("{what}: {product}{}{settled}", part.exact)
}

#[cfg(test)]
mod tests {
    use counterfoil_rating::{Charge, ChargeSpec, RateContext, Usage, rate};
    use counterfoil_types::Rounding;

    use super::*;

    /// Reads the sentences of a line back: each product must be what it says, and their sum the
    /// line's exact amount.
    #[test]
    fn an_explanation_with_a_factor_adds_up_again() {
        let spec: ChargeSpec = serde_json::from_str(
            r#"{"key":"a","meter":"m","model":"graduated","included":5,"minimum":20,
                "tiers":[{"up_to":10,"unit_price":"0.013","flat_fee":"3"},{"unit_price":"0.007"}],
                "discounts":[{"percent":"10"},{"amount":"1"}]}"#,
        )
        .unwrap();
        let mut charge = Charge::try_from(&spec).unwrap();
        charge.factor = Exact::parse("0.92").unwrap();
        let context = RateContext::new(Currency::EUR, Rounding::HalfAwayFromZero);
        let line = rate(&charge, &Usage::units(Exact::from(1234i64)), &context).unwrap();
        let mut sum = Exact::ZERO;
        for part in &line.parts {
            let text = explain_part(part, line.factor.as_ref(), Currency::EUR);
            let formula = text.split(": ").last().unwrap().split(" (shown").next().unwrap();
            let (factors, result) = formula.split_once(" = ").unwrap_or(("", formula));
            let result = Exact::parse(result).unwrap();
            if !factors.is_empty() {
                assert!(factors.ends_with(" × 0.92"), "{text}");
                let product = factors.split(" × ").fold(Exact::ONE, |product, factor| {
                    product.mul(&Exact::parse(factor).unwrap())
                });
                assert_eq!(product, result, "{text}");
            }
            sum = sum.add(&result);
        }
        assert_eq!(sum, line.exact);
        assert_eq!(line.exact.to_string(), "15.64", "(20 × 0.9 − 1) × 0.92");
    }
}
