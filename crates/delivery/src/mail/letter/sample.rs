//! Letters of made-up facts, for previews: every kind has one, in every language.

use counterfoil_alerting::Severity;
use counterfoil_invoicing::Customer;
use counterfoil_store::{Alert, AlertState};
use counterfoil_types::{
    Currency, CustomerId, Exact, Money, Period, TenantId, Timestamp, Zone, timestamp::DAY_MICROS,
};
use serde_json::{Value, json};

use super::{
    InvoiceFacts, Letter, LetterError, addressed, is_essential, is_mailed, notice, speaker,
    to_operators,
};
use crate::mail::MailOptions;

/// 2026-11-01T05:00:00Z: the start of a month in New York.
const START: Timestamp = Timestamp::from_micros(1_793_509_200_000_000);

fn dollars(cents: i64) -> Result<Money, LetterError> {
    let amount = Exact::from(cents).mul(&Exact::unit(2));
    Money::from_exact(&amount, Currency::USD)
        .map_err(|error| LetterError::Missing(error.to_string()))
}

fn invoice() -> Result<InvoiceFacts, LetterError> {
    Ok(InvoiceFacts {
        number: "INV-2026-000017".to_owned(),
        total: dollars(123_450)?,
        open: dollars(23_450)?,
        tax: dollars(20_575)?,
        from: START.plus_micros(-31 * DAY_MICROS),
        to: START.plus_micros(-1),
        zone: Zone::utc(),
        due_at: Some(START.plus_micros(14 * DAY_MICROS)),
        lines: vec![
            ("Pro, monthly fee".to_owned(), dollars(9_900)?),
            ("API calls above 100,000".to_owned(), dollars(92_975)?),
        ],
        credits: Vec::new(),
    })
}

fn alert(kind: &str, severity: Severity, threshold: &str) -> Result<Alert, LetterError> {
    let window = Period::new(START, START.plus_micros(30 * DAY_MICROS));
    let value = if kind == "forecast" { 118_000_u64 } else { 91_250 };
    Ok(Alert {
        id: "alr_sample".to_owned(),
        customer: customer_id()?,
        rule: kind.to_owned(),
        kind: kind.to_owned(),
        meter: "api_calls".parse().ok(),
        threshold: threshold.to_owned(),
        severity,
        window,
        at: START.plus_micros(20 * DAY_MICROS),
        value: Exact::from(value),
        limit: Some(Exact::from(if kind == "anomaly" { 2_900_u64 } else { 100_000 })),
        unit: "calls".to_owned(),
        expected_at: (kind == "forecast").then(|| START.plus_micros(22 * DAY_MICROS)),
        explanation: "made up for this preview".to_owned(),
        state: AlertState::Open,
        until: None,
        changed_by: None,
        changed_at: None,
        told: None,
    })
}

fn customer_id() -> Result<CustomerId, LetterError> {
    CustomerId::new("acme").map_err(|error| LetterError::Missing(error.to_string()))
}

fn of_operators(kind: &str) -> Value {
    match kind {
        "run.waiting" => json!({"run": "2f1c", "period": "2026-10", "invoices": "118",
            "parked": "2"}),
        "job.parked" => json!({"job": "invoice-run", "tries": "8", "error": "the disk is full"}),
        "webhook.disabled" => json!({"endpoint": "crm", "url": "https://crm.example/hook",
            "reason": "it took nothing for five days"}),
        "api.health.recovered" => json!({"from": "unhealthy", "to": "healthy"}),
        _ => json!({"from": "healthy", "to": "unhealthy"}),
    }
}

/// A letter of a kind to a made-up customer who reads `language`.
///
/// # Errors
/// When the kind is not mailed.
pub fn letter(
    kind: &str,
    language: Option<&str>,
    tenant: &TenantId,
    options: &MailOptions,
) -> Result<Letter, LetterError> {
    if !is_mailed(kind) {
        return Err(LetterError::Missing(format!("a mail of kind {kind:?}")));
    }
    let mut customer = Customer::new(customer_id()?, "Acme Ltd", Currency::USD, Zone::utc());
    customer.language = language.map(ToOwned::to_owned);
    let speaker = speaker(&customer, options);
    let words = match kind {
        "invoice.issued" => speaker.issued(&invoice()?),
        "invoice.overdue" => speaker.reminder(&invoice()?, None),
        "dunning.step" => speaker.reminder(&invoice()?, Some("second reminder")),
        "credit_note.issued" => speaker.credited("INV-2026-000017", dollars(5_000)?),
        "payment.recorded" => speaker.paid(dollars(123_450)?, START),
        "quota.exceeded" => speaker.denied(&json!({"quota": {"meter": "api_calls",
            "unit": "calls", "used": "100000", "hard": "100000",
            "resets_at": "2026-12-01T00:00:00Z"}})),
        "alert.info" => speaker.alert(&alert("included", Severity::Info, "50")?),
        "alert.warning" => speaker.alert(&alert("included", Severity::Warning, "75")?),
        "alert.critical" => speaker.alert(&alert("quota", Severity::Critical, "90")?),
        "alert.exceeded" => speaker.alert(&alert("usage", Severity::Exceeded, "90000")?),
        "alert.forecast" => speaker.alert(&alert("forecast", Severity::Warning, "100")?),
        "alert.anomaly" => speaker.alert(&alert("anomaly", Severity::Warning, "9000")?),
        "alert.digest" => speaker.digest(
            7,
            &[alert("included", Severity::Warning, "80")?, alert("spend", Severity::Info, "100")?],
        ),
        kind => return Ok(to_operators(notice(kind, &of_operators(kind)), tenant, options)),
    };
    let how = options.unsubscribe.as_ref().filter(|_| !is_essential(kind));
    let link = how.and_then(|how| how.link(tenant, &customer.id, kind));
    addressed(words, &customer, "billing@acme.example", link, options)
}
