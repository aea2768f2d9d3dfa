//! `backtest`: what a price book would have billed over real history. Nothing is written.

use counterfoil_engine::{Engine, run::Month};

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
        let mut text =
            String::from("customer,subscription,plan,periods,before,after,difference\r\n");
        for row in &result.rows {
            let cells = [
                super::invoice::text_cell(row.customer.as_str()),
                super::invoice::text_cell(row.subscription.as_str()),
                super::invoice::text_cell(row.plan.as_str()),
                row.periods.to_string(),
                row.before.to_plain(),
                row.after.to_plain(),
                row.difference.to_plain(),
            ];
            text.push_str(&String::from_utf8_lossy(&super::invoice::csv_row(cells)?));
        }
        out.raw(&text)?;
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
