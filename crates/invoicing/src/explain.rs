//! An invoice in sentences: for each line where its units came from, what each part costs, and
//! where it was rounded.

use counterfoil_rating::{Part, PartKind};
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
    for tax in &body.taxes {
        let exact = tax.base.exact().mul(&tax.percent.exact()).mul(&Exact::unit(2));
        text.push(format!(
            "{} {} % of {} = {} exactly, rounded to {}",
            tax.name, tax.percent, tax.base, exact, tax.amount
        ));
    }
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
    if let (Some(meter), Some(metered)) = (&line.meter, &line.metered) {
        let unit = line.unit.as_deref().unwrap_or("units");
        text.push(format!("   meter {meter}: {metered} {unit}"));
    }
    if let Some(events) = line.events {
        text.push(format!("   from {events} events"));
    }
    for part in &line.rated.parts {
        text.push(format!("   · {}", explain_part(part, line.amount.currency())));
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

/// One part in words: `tier 2: 90000 × 0.01 = 900`.
#[must_use]
pub fn explain_part(part: &Part, currency: Currency) -> String {
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
    let product = match part.price {
        Some(price) if part.kind == PartKind::Percentage => {
            format!("{} × {price} % = ", part.quantity)
        }
        Some(price) => format!("{} × {price} = ", part.quantity),
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
