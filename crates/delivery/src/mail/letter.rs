//! From an effect to a letter: whom to tell, in which words. Amounts and days are read from what
//! was invoiced, in the currency and zone of the customer; nothing is computed here.

use counterfoil_invoicing::{Customer, Invoice};
use counterfoil_store::{Effect, Store, StoreError};
use counterfoil_types::{CustomerId, Exact, InvoiceId, Money, TenantId, Timestamp, Zone};
use lettre::message::Mailbox;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{MailError, MailOptions, message, show, unsubscribe};

/// Kinds of effects that are mailed, and whether the customer may not stop them.
pub const KINDS: [(&str, bool); 11] = [
    ("invoice.issued", true),
    ("payment.recorded", false),
    ("invoice.overdue", true),
    ("dunning.step", true),
    ("credit_note.issued", true),
    ("quota.exceeded", false),
    ("run.waiting", true),
    ("job.parked", true),
    ("webhook.disabled", true),
    ("api.health.unhealthy", true),
    ("api.health.recovered", true),
];
/// Lines of an invoice that a mail lists; the document has them all.
const LINES: usize = 12;

/// Whether an effect of this kind is mailed.
#[must_use]
pub fn is_mailed(kind: &str) -> bool {
    KINDS.iter().any(|(known, _)| *known == kind)
}

fn is_essential(kind: &str) -> bool {
    KINDS.iter().any(|(known, essential)| *known == kind && *essential)
}

/// Why no letter came of an effect.
#[derive(Debug, Error)]
pub enum LetterError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address or a name.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The effect says something else than it should.
    #[error("an effect {kind} without a good {field}; it was queued by another version?")]
    Field {
        /// Its kind.
        kind: String,
        /// What is missing.
        field: &'static str,
    },
    /// What it is about is not there.
    #[error("the effect is about {0}, which is not there")]
    Missing(String),
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What.
    pub label: String,
    /// How much, when.
    pub value: String,
    /// Whether it is the one that counts.
    pub strong: bool,
}

/// Something to click.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What it does.
    pub label: String,
    /// Where it goes.
    pub url: String,
}

/// A letter, ready to be set in HTML and text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// To whom.
    #[serde(skip)]
    pub to: Vec<Mailbox>,
    /// Language of the words.
    pub language: &'static str,
    /// Who writes.
    pub sender: String,
    /// What it is about, in a line.
    pub subject: String,
    /// How the reader is addressed.
    pub greeting: String,
    /// What it says.
    pub paragraphs: Vec<String>,
    /// Amounts and dates.
    pub rows: Vec<Row>,
    /// What to click.
    pub action: Option<Action>,
    /// Why the reader gets this.
    pub footer: String,
    /// Where it can be stopped.
    pub unsubscribe: Option<String>,
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub enum Composed {
    /// A letter.
    Letter(Box<Letter>),
    /// There is nobody to write to, for this reason.
    Nobody(String),
}

/// Words, rows and a link, before they become a letter.
#[derive(Default)]
struct Words {
    subject: String,
    paragraphs: Vec<String>,
    rows: Vec<Row>,
    action: Option<Action>,
}

impl Words {
    fn of(subject: impl Into<String>, paragraph: impl Into<String>) -> Self {
        Self { subject: subject.into(), paragraphs: vec![paragraph.into()], ..Self::default() }
    }

    fn row(mut self, label: &str, value: impl Into<String>, strong: bool) -> Self {
        self.rows.push(Row { label: label.to_owned(), value: value.into(), strong });
        self
    }

    fn link(mut self, label: &str, url: Option<&String>) -> Self {
        self.action = url.map(|url| Action { label: label.to_owned(), url: url.clone() });
        self
    }
}

/// An effect, read with the store at hand.
struct Reader<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    effect: &'a Effect,
    options: &'a MailOptions,
}

impl Reader<'_> {
    fn text(&self, field: &'static str) -> Result<&str, LetterError> {
        self.effect.body.get(field).and_then(Value::as_str).ok_or_else(|| self.bad(field))
    }

    fn bad(&self, field: &'static str) -> LetterError {
        LetterError::Field { kind: self.effect.kind.clone(), field }
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        value: Option<&Value>,
        field: &'static str,
    ) -> Result<T, LetterError> {
        value
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .ok_or_else(|| self.bad(field))
    }

    async fn customer(&self, id: &CustomerId) -> Result<Customer, LetterError> {
        self.store
            .customer(self.tenant, id)
            .await?
            .ok_or_else(|| LetterError::Missing(format!("customer {id}")))
    }

    async fn invoice(&self) -> Result<Invoice, LetterError> {
        let id: InvoiceId = self.text("invoice")?.parse().map_err(|_| self.bad("invoice"))?;
        self.store
            .invoice(self.tenant, &id)
            .await?
            .ok_or_else(|| LetterError::Missing(format!("invoice {id}")))
    }

    /// The words and, where it is not us who read them, the customer.
    async fn words(&self) -> Result<(Words, Option<Customer>), LetterError> {
        let body = &self.effect.body;
        Ok(match self.effect.kind.as_str() {
            "invoice.issued" => {
                let invoice = self.invoice().await?;
                let customer = self.customer(invoice.body.paid_by()).await?;
                (issued(&invoice, &customer.zone, self.options), Some(customer))
            }
            "invoice.overdue" | "dunning.step" => {
                let invoice = self.invoice().await?;
                let customer = self.customer(invoice.body.paid_by()).await?;
                let account = format!("receivable/{}", invoice.id);
                let open = self.store.account(self.tenant, &account).await?;
                let open = open.and_then(|account| {
                    Money::from_exact(&account.balance.exact(), invoice.body.currency).ok()
                });
                let step = body.get("step").and_then(Value::as_str);
                let open = open.unwrap_or(invoice.body.total);
                (reminder(&invoice, open, step, &customer.zone, self.options), Some(customer))
            }
            "payment.recorded" => {
                let payment = body.get("payment");
                let field = |name: &str| payment.and_then(|payment| payment.get(name));
                let id: CustomerId = self.read(field("customer"), "payment.customer")?;
                let amount: Money = self.read(field("amount"), "payment.amount")?;
                let at: Timestamp = self.read(field("received_at"), "payment.received_at")?;
                let customer = self.customer(&id).await?;
                let words = Words::of(
                    format!("We received {}", show::money(amount)),
                    "Thank you. Your payment arrived and was put on your open invoices, the longest due first, or where you told us to.",
                )
                .row("Received", show::day(at, &customer.zone), false)
                .row("Amount", show::money(amount), true)
                .link("See your account", self.options.portal_url.as_ref());
                (words, Some(customer))
            }
            "credit_note.issued" => {
                let invoice = self.invoice().await?;
                let total: Money = self.read(body.get("total"), "total")?;
                let customer = self.customer(invoice.body.paid_by()).await?;
                let number = number_of(&invoice);
                let words = Words::of(
                    format!("Credit note for invoice {number}"),
                    format!("We corrected invoice {number} in your favour."),
                )
                .row("Credited", show::money(total), true)
                .link("See your account", self.options.portal_url.as_ref());
                (words, Some(customer))
            }
            "quota.exceeded" => {
                let id: CustomerId = self.read(body.get("customer"), "customer")?;
                let customer = self.customer(&id).await?;
                (exceeded(body, &customer.zone, self.options), Some(customer))
            }
            kind => (notice(kind, body), None),
        })
    }
}

fn number_of(invoice: &Invoice) -> String {
    invoice.number.clone().unwrap_or_else(|| invoice.id.to_string())
}

fn due(words: Words, invoice: &Invoice, zone: &Zone) -> Words {
    match invoice.due_at {
        Some(at) => words.row("Due", show::day(at, zone), false),
        None => words,
    }
}

fn issued(invoice: &Invoice, zone: &Zone, options: &MailOptions) -> Words {
    let (body, number) = (&invoice.body, number_of(invoice));
    let last = body.period.end.plus_micros(-1);
    let mut words = Words::of(
        format!("Invoice {number} for {}", show::money(body.total)),
        format!(
            "Here is your invoice for {} to {}.",
            show::day(body.period.start, &body.zone),
            show::day(last, &body.zone)
        ),
    );
    for line in body.lines.iter().take(LINES) {
        words = words.row(&line.name, show::money(line.amount), false);
    }
    if body.lines.len() > LINES {
        let more = format!("{} more lines are on the invoice", body.lines.len() - LINES);
        words = words.row(&more, "", false);
    }
    for credit in &body.credits {
        words = words.row("Prepaid credit", show::money(credit.amount.negated()), false);
    }
    if !body.tax.is_zero() {
        words = words.row("Tax", show::money(body.tax), false);
    }
    let words = words.row("Total", show::money(body.total), true);
    due(words, invoice, zone).link("See the invoice", options.portal_url.as_ref())
}

fn reminder(
    invoice: &Invoice,
    open: Money,
    step: Option<&str>,
    zone: &Zone,
    options: &MailOptions,
) -> Words {
    let number = number_of(invoice);
    let subject = match step {
        Some(step) => format!("Invoice {number}: {step}"),
        None => format!("Invoice {number} is overdue"),
    };
    let words = Words::of(
        subject,
        "This invoice is open beyond its terms. If your payment crossed this message, there is nothing left to do.",
    )
    .row("Invoice", number, false)
    .row("Open", show::money(open), true);
    due(words, invoice, zone).link("Pay now", options.portal_url.as_ref())
}

fn exceeded(body: &Value, zone: &Zone, options: &MailOptions) -> Words {
    let quota = body.get("quota");
    let text = |field: &str| {
        let value = quota.and_then(|quota| quota.get(field))?;
        value
            .as_str()
            .map(ToOwned::to_owned)
            .or_else(|| value.is_number().then(|| value.to_string()))
    };
    let unit = text("unit").unwrap_or_default();
    let meter = text("meter").unwrap_or_default();
    let mut words = Words::of(
        format!("You have used up your {meter}"),
        "Further use is refused until your allowance starts over. A larger plan lifts the limit at once.",
    );
    for (label, field) in [("Used", "used"), ("Included", "hard")] {
        if let Some(value) = text(field) {
            let shown = Exact::parse(&value).map_or(value, |value| show::count(&value));
            words = words.row(label, format!("{shown} {unit}"), field == "used");
        }
    }
    if let Some(at) = text("resets_at").and_then(|at| at.parse().ok()) {
        words = words.row("Starts over", show::day(at, zone), false);
    }
    words.link("Upgrade", options.upgrade_url.as_ref())
}

/// What whoever runs this is told.
fn notice(kind: &str, body: &Value) -> Words {
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or("?").to_owned();
    let mut words = match kind {
        "run.waiting" => Words::of(
            format!("The invoice run of {} waits for approval", text("period")),
            format!(
                "Its drafts are computed. Look at them, then sign off: counterfoil run --resume {} --approve",
                text("run")
            ),
        ),
        "job.parked" => Words::of(
            format!("Job {} was parked", text("job")),
            "It failed too often and is left alone until somebody looks: counterfoil jobs list",
        ),
        "webhook.disabled" => Words::of(
            format!("Web hook endpoint {} was switched off", text("endpoint")),
            format!(
                "It gets nothing any more. Once it is well again: counterfoil webhook enable {0}, then counterfoil webhook replay {0}",
                text("endpoint")
            ),
        ),
        _ => Words::of(format!("{kind}: the service's health turned"), "What it says is below."),
    };
    for (field, value) in body.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        words = words.row(field, value.chars().take(300).collect::<String>(), false);
    }
    words
}

/// Puts a letter together.
///
/// # Errors
/// [`LetterError`].
pub async fn compose(
    store: &dyn Store,
    tenant: &TenantId,
    effect: &Effect,
    options: &MailOptions,
) -> Result<Composed, LetterError> {
    let reader = Reader { store, tenant, effect, options };
    let (words, customer) = reader.words().await?;
    let essential = is_essential(&effect.kind);
    let (to, greeting, footer, link) = match &customer {
        None if options.operators.is_empty() => {
            return Ok(Composed::Nobody("no operators are configured (mail.operators)".to_owned()));
        }
        None => (
            options.operators.clone(),
            String::new(),
            format!("Tenant {tenant}. You get this because you run this billing service."),
            None,
        ),
        Some(customer) => {
            let Some(address) = &customer.email else {
                return Ok(Composed::Nobody(format!("customer {} has no e-mail", customer.id)));
            };
            if !essential
                && unsubscribe::is_stopped(store, tenant, &customer.id, &effect.kind).await?
            {
                return Ok(Composed::Nobody(format!("customer {} unsubscribed", customer.id)));
            }
            let link = options
                .unsubscribe
                .as_ref()
                .filter(|_| !essential)
                .and_then(|how| how.link(tenant, &customer.id, &effect.kind));
            (
                vec![message::addressed(&customer.name, address)?],
                format!("Hello {},", customer.name),
                format!("You get this because {} is a customer here.", customer.name),
                link,
            )
        }
    };
    Ok(Composed::Letter(Box::new(Letter {
        to,
        language: "en",
        sender: options.from.name.clone().unwrap_or_else(|| options.from.email.to_string()),
        subject: words.subject,
        greeting,
        paragraphs: words.paragraphs,
        rows: words.rows,
        action: words.action,
        footer,
        unsubscribe: link,
    })))
}

/// What an effect of a kind may say, for previews; `None` for a kind that is not mailed, or that is
/// read from an invoice.
#[must_use]
pub fn sample(kind: &str) -> Option<Value> {
    use serde_json::json;
    let at = "2026-11-01T09:00:00Z";
    Some(match kind {
        "payment.recorded" => json!({"payment": {"id": "bank-17", "customer": "acme",
            "amount": {"amount": "1234.50", "currency": "USD"}, "invoices": [],
            "received_at": at}}),
        "quota.exceeded" => json!({"customer": "acme", "quota": {"meter": "api_calls",
            "unit": "calls", "used": "100000", "hard": "100000",
            "resets_at": "2026-12-01T00:00:00Z"}}),
        "run.waiting" => json!({"run": "2f1c", "period": "2026-10", "invoices": "118",
            "parked": "2"}),
        "job.parked" => json!({"job": "invoice-run", "tries": "8", "error": "the disk is full"}),
        "webhook.disabled" => json!({"endpoint": "crm", "url": "https://crm.example/hook",
            "reason": "it took nothing for five days"}),
        "api.health.unhealthy" => json!({"from": "healthy", "to": "unhealthy"}),
        "api.health.recovered" => json!({"from": "unhealthy", "to": "healthy"}),
        _ => return None,
    })
}
