//! From an effect to a letter: whom to tell, in which words. Amounts and days are read from what
//! was invoiced, in the currency, zone and language of the customer; nothing is computed here.

use counterfoil_invoicing::{Customer, Invoice};
use counterfoil_store::{Effect, Store, StoreError};
use counterfoil_types::{CustomerId, InvoiceId, Money, TenantId, Timestamp};
use lettre::message::Mailbox;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use self::words::{InvoiceFacts, Speaker, Words, alert_in, notice};
use super::{MailError, MailOptions, bounce, language::Language, message, unsubscribe};

pub mod sample;
mod words;

/// Kinds of effects that are mailed, and whether the customer may not stop them.
pub const KINDS: [(&str, bool); 18] = [
    ("invoice.issued", true),
    ("payment.recorded", false),
    ("invoice.overdue", true),
    ("dunning.step", true),
    ("credit_note.issued", true),
    ("quota.exceeded", false),
    ("alert.info", false),
    ("alert.warning", false),
    ("alert.critical", false),
    ("alert.exceeded", false),
    ("alert.forecast", false),
    ("alert.anomaly", false),
    ("alert.digest", false),
    ("run.waiting", true),
    ("job.parked", true),
    ("webhook.disabled", true),
    ("api.health.unhealthy", true),
    ("api.health.recovered", true),
];

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
    /// Whose it is, where it goes to a customer, with the address.
    #[serde(skip)]
    pub customer: Option<(CustomerId, String)>,
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
    /// What that link says.
    pub unsubscribe_label: String,
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub enum Composed {
    /// A letter.
    Letter(Box<Letter>),
    /// There is nobody to write to, for this reason.
    Nobody(String),
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

    /// What is said of the invoice that the effect is about, with who pays it.
    async fn invoiced(&self) -> Result<(InvoiceFacts, Customer), LetterError> {
        let invoice = self.invoice().await?;
        let customer = self.customer(invoice.body.paid_by()).await?;
        let account = format!("receivable/{}", invoice.id);
        let open = self.store.account(self.tenant, &account).await?;
        let currency = invoice.body.currency;
        let open =
            open.and_then(|account| Money::from_exact(&account.balance.exact(), currency).ok());
        Ok((InvoiceFacts::of(&invoice, open), customer))
    }

    async fn whose(&self) -> Result<Customer, LetterError> {
        let id: CustomerId = self.read(self.effect.body.get("customer"), "customer")?;
        self.customer(&id).await
    }

    /// The words and, where it is not us who read them, the customer.
    async fn words(&self) -> Result<(Words, Option<Customer>), LetterError> {
        let (kind, body) = (self.effect.kind.as_str(), &self.effect.body);
        let (words, customer) = match kind {
            "invoice.issued" => {
                let (facts, customer) = self.invoiced().await?;
                (speaker(&customer, self.options).issued(&facts), customer)
            }
            "invoice.overdue" | "dunning.step" => {
                let (facts, customer) = self.invoiced().await?;
                let step = body.get("step").and_then(Value::as_str);
                (speaker(&customer, self.options).reminder(&facts, step), customer)
            }
            "credit_note.issued" => {
                let (facts, customer) = self.invoiced().await?;
                let total: Money = self.read(body.get("total"), "total")?;
                (speaker(&customer, self.options).credited(&facts.number, total), customer)
            }
            "payment.recorded" => {
                let payment = body.get("payment");
                let field = |name: &str| payment.and_then(|payment| payment.get(name));
                let id: CustomerId = self.read(field("customer"), "payment.customer")?;
                let amount: Money = self.read(field("amount"), "payment.amount")?;
                let at: Timestamp = self.read(field("received_at"), "payment.received_at")?;
                let customer = self.customer(&id).await?;
                (speaker(&customer, self.options).paid(amount, at), customer)
            }
            "quota.exceeded" => {
                let customer = self.whose().await?;
                (speaker(&customer, self.options).denied(body), customer)
            }
            "alert.digest" => {
                let customer = self.whose().await?;
                let count = body.get("count").and_then(Value::as_u64).unwrap_or(0);
                let alerts: Vec<counterfoil_store::Alert> =
                    self.read(body.get("alerts"), "alerts")?;
                (speaker(&customer, self.options).digest(count, &alerts), customer)
            }
            kind if kind.starts_with("alert.") => {
                let customer = self.whose().await?;
                let alert = alert_in(kind, body)?;
                (speaker(&customer, self.options).alert(&alert), customer)
            }
            kind => return Ok((notice(kind, body), None)),
        };
        Ok((words, Some(customer)))
    }
}

fn speaker<'a>(customer: &'a Customer, options: &'a MailOptions) -> Speaker<'a> {
    let language = Language::of(customer.language.as_deref());
    Speaker { language, zone: &customer.zone, options }
}

/// The letter of these words to a customer at an address.
fn addressed(
    words: Words,
    customer: &Customer,
    address: &str,
    link: Option<String>,
    options: &MailOptions,
) -> Result<Letter, LetterError> {
    let language = Language::of(customer.language.as_deref());
    let name = || minijinja::context! { name => customer.name };
    Ok(Letter {
        to: vec![message::addressed(&customer.name, address)?],
        language: &language.code,
        customer: Some((customer.id.clone(), address.to_owned())),
        sender: sender(options),
        subject: words.subject,
        greeting: language.say("greeting", name()),
        paragraphs: words.paragraphs,
        rows: words.rows,
        action: words.action,
        footer: language.say("footer", name()),
        unsubscribe: link,
        unsubscribe_label: language.word("unsubscribe"),
    })
}

fn sender(options: &MailOptions) -> String {
    options.from.name.clone().unwrap_or_else(|| options.from.email.to_string())
}

/// The letter of these words to who runs this.
fn to_operators(words: Words, tenant: &TenantId, options: &MailOptions) -> Letter {
    Letter {
        to: options.operators.clone(),
        language: "en",
        customer: None,
        sender: sender(options),
        subject: words.subject,
        greeting: String::new(),
        paragraphs: words.paragraphs,
        rows: words.rows,
        action: words.action,
        footer: format!("Tenant {tenant}. You get this because you run this billing service."),
        unsubscribe: None,
        unsubscribe_label: String::new(),
    }
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
    let nobody = |why: String| Ok(Composed::Nobody(why));
    let Some(customer) = customer else {
        if options.operators.is_empty() {
            return nobody("no operators are configured (mail.operators)".to_owned());
        }
        return Ok(Composed::Letter(Box::new(to_operators(words, tenant, options))));
    };
    let (id, essential) = (&customer.id, is_essential(&effect.kind));
    let Some(address) = &customer.email else {
        return nobody(format!("customer {id} has no e-mail"));
    };
    if !essential && unsubscribe::is_stopped(store, tenant, id, &effect.kind).await? {
        return nobody(format!("customer {id} unsubscribed"));
    }
    let bounce = bounce::of(store, tenant, id).await?;
    if bounce.is_some_and(|bounce| bounce.address == *address) {
        return nobody(format!(
            "mail to {address} came back; once it is right: counterfoil mail reset {id}"
        ));
    }
    let how = options.unsubscribe.as_ref().filter(|_| !essential);
    let link = how.and_then(|how| how.link(tenant, id, &effect.kind));
    let letter = addressed(words, &customer, address, link, options)?;
    Ok(Composed::Letter(Box::new(letter)))
}
