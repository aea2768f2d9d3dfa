//! `backtest`: what a price book would have billed over real history. Nothing is written.

use counterfoil_engine::{Engine, run::Month};

use counterfoil_exports::{Cell, csv};

use super::Verdict;
use crate::{args::Backtest, error::CliError, output::Out};

pub(super) async fn run(
    engine: &Engine,
    args: &Backtest,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let book = super::pricing::read(&args.book)?;
    let (from, to): (Month, Month) = (args.from.parse()?, args.to.parse()?);
    let result = engine.backtest(&book, &from, &to).await?;
    out.value(&result)?;
    if args.csv {
        let mut text = b"customer,subscription,plan,periods,before,after,difference\r\n".to_vec();
        for row in &result.rows {
            let cells = [
                Cell::text(row.customer.as_str()),
                Cell::text(row.subscription.as_str()),
                Cell::text(row.plan.as_str()),
                Cell::Exact(row.periods.to_string().into()),
                Cell::Exact(row.before.to_plain().into()),
                Cell::Exact(row.after.to_plain().into()),
                Cell::Exact(row.difference.to_plain().into()),
            ];
            csv::row(&mut text, &cells);
        }
        out.bytes(&text)?;
        return Ok(Verdict::unless(!result.failed.is_empty()));
    }
    out.line(format_args!(
        "{} over {} to {}: nothing was written",
        book.reference,
        from.label(),
        to.label()
    ))?;
    let rows = result.rows.iter().map(|row| {
        vec![
            row.customer.to_string(),
            row.subscription.to_string(),
            row.periods.to_string(),
            row.before.to_plain(),
            row.after.to_plain(),
            row.difference.to_plain(),
        ]
    });
    out.table(
        &["customer", "subscription", "periods", "before", "after", "difference"],
        rows.collect(),
        &[2, 3, 4, 5],
    )?;
    let dearer = result.rows.iter().filter(|row| row.difference.exact().is_positive()).count();
    let cheaper = result.rows.iter().filter(|row| row.difference.exact().is_negative()).count();
    out.line(format_args!(
        "\nbefore {}, after {}, difference {} (before tax); {dearer} would pay more, {cheaper} less",
        result.before, result.after, result.difference
    ))?;
    for (subscription, reason) in &result.failed {
        out.line(format_args!("could not be rated: {subscription}: {reason}"))?;
    }
    Ok(Verdict::unless(!result.failed.is_empty()))
}
