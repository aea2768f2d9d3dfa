//! `calendar`: the billing periods to come, in the customer's zone.

use counterfoil_engine::Engine;
use counterfoil_types::SubscriptionId;

use super::Verdict;
use crate::{error::CliError, human, output::Out};

pub(super) async fn run(
    engine: &Engine,
    id: &SubscriptionId,
    count: u32,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let books = engine.books().await?;
    let subscription = engine.subscription(id).await?;
    let account = engine.account(&books, subscription).await?;
    let zone = &account.customer.zone;
    // From the period that runs now; from the first one when the subscription has not begun.
    let first = account.cycles.period_at(engine.now())?.unwrap_or(0);
    let mut rows = Vec::new();
    let mut report = Vec::new();
    for number in (first..).take(count as usize) {
        let Some((period, _)) = account.cycles.period(number)? else { break };
        let hours = period.micros() / counterfoil_types::timestamp::HOUR_MICROS;
        rows.push(vec![
            (number + 1).to_string(),
            human::instant(period.start, zone),
            human::instant(period.end, zone),
            hours.to_string(),
            period.start.to_string(),
        ]);
        report.push(serde_json::json!({"cycle": number + 1, "period": period, "hours": hours}));
    }
    out.value(&report)?;
    out.line(format_args!("{id} of {}, {zone}", account.customer.id))?;
    out.table(&["billed by cycle", "from", "to", "hours", "from (UTC)"], rows, &[0, 3])?;
    Ok(Verdict::Done)
}
