//! The words of each kind of letter, in the reader's language, with its way of writing numbers and
//! days. Nothing here reads the store, so a preview can be made of made-up facts.

use counterfoil_invoicing::Invoice;
use counterfoil_store::Alert;
use counterfoil_types::{Exact, Money, Timestamp, Zone};
use minijinja::context;
use serde_json::Value;

use super::{Action, LetterError, Row};
use crate::mail::{MailOptions, language::Language, show};

/// Lines of an invoice that a mail lists; the document has them all.
const LINES: usize = 12;
/// Alerts that a digest lists.
const LISTED: usize = 20;

/// Words, rows and a link, before they become a letter.
#[derive(Default)]
pub(super) struct Words {
    pub(super) subject: String,
    pub(super) paragraphs: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) action: Option<Action>,
}

/// What is said of an invoice.
#[derive(Clone, Debug)]
pub(super) struct InvoiceFacts {
    pub(super) number: String,
    pub(super) total: Money,
    pub(super) open: Money,
    pub(super) tax: Money,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) zone: Zone,
    pub(super) due_at: Option<Timestamp>,
    pub(super) lines: Vec<(String, Money)>,
    pub(super) credits: Vec<Money>,
}

impl InvoiceFacts {
    pub(super) fn of(invoice: &Invoice, open: Option<Money>) -> Self {
        let body = &invoice.body;
        Self {
            number: invoice.number.clone().unwrap_or_else(|| invoice.id.to_string()),
            total: body.total,
            open: open.unwrap_or(body.total),
            tax: body.tax,
            from: body.period.start,
            to: body.period.end.plus_micros(-1),
            zone: body.zone.clone(),
            due_at: invoice.due_at,
            lines: body.lines.iter().map(|line| (line.name.clone(), line.amount)).collect(),
            credits: body.credits.iter().map(|credit| credit.amount).collect(),
        }
    }
}

/// Who reads, and in which language.
pub(super) struct Speaker<'a> {
    pub(super) language: &'static Language,
    pub(super) zone: &'a Zone,
    pub(super) options: &'a MailOptions,
}

impl Words {
    fn of(subject: impl Into<String>, paragraph: impl Into<String>) -> Self {
        Self { subject: subject.into(), paragraphs: vec![paragraph.into()], ..Self::default() }
    }

    fn row(mut self, label: impl Into<String>, value: impl Into<String>, strong: bool) -> Self {
        self.rows.push(Row { label: label.into(), value: value.into(), strong });
        self
    }

    fn link(mut self, label: String, url: Option<&String>) -> Self {
        self.action = url.map(|url| Action { label, url: url.clone() });
        self
    }
}

/// A key as people read it.
fn plain(key: &str) -> String {
    key.replace('_', " ")
}

impl Speaker<'_> {
    fn word(&self, phrase: &str) -> String {
        self.language.word(phrase)
    }

    fn money(&self, amount: Money) -> String {
        show::money(amount, self.language)
    }

    fn day(&self, at: Timestamp) -> String {
        show::day(at, self.zone, self.language)
    }

    fn count(&self, value: &Exact, unit: &str) -> String {
        format!("{} {unit}", show::count(value, self.language)).trim_end().to_owned()
    }

    pub(super) fn issued(&self, facts: &InvoiceFacts) -> Words {
        let say = |phrase, with| self.language.say(phrase, with);
        let (number, total) = (&facts.number, self.money(facts.total));
        let from = show::day(facts.from, &facts.zone, self.language);
        let to = show::day(facts.to, &facts.zone, self.language);
        let mut words = Words::of(
            say("issued.subject", context! { number, total }),
            say("issued.text", context! { from, to }),
        );
        for (name, amount) in facts.lines.iter().take(LINES) {
            words = words.row(name.clone(), self.money(*amount), false);
        }
        if facts.lines.len() > LINES {
            let count = facts.lines.len() - LINES;
            words = words.row(say("row.more_lines", context! { count }), "", false);
        }
        for credit in &facts.credits {
            words = words.row(self.word("row.credit"), self.money(credit.negated()), false);
        }
        if !facts.tax.is_zero() {
            words = words.row(self.word("row.tax"), self.money(facts.tax), false);
        }
        let words = words.row(self.word("row.total"), self.money(facts.total), true);
        self.due(words, facts).link(self.word("action.invoice"), self.options.portal_url.as_ref())
    }

    fn due(&self, words: Words, facts: &InvoiceFacts) -> Words {
        match facts.due_at {
            Some(at) => words.row(self.word("row.due"), self.day(at), false),
            None => words,
        }
    }

    pub(super) fn reminder(&self, facts: &InvoiceFacts, step: Option<&str>) -> Words {
        let number = &facts.number;
        let subject = match step {
            Some(step) => self.language.say("dunning.subject", context! { number, step }),
            None => self.language.say("overdue.subject", context! { number }),
        };
        let words = Words::of(subject, self.word("overdue.text"))
            .row(self.word("row.invoice"), number.clone(), false)
            .row(self.word("row.open"), self.money(facts.open), true);
        self.due(words, facts).link(self.word("action.pay"), self.options.portal_url.as_ref())
    }

    pub(super) fn paid(&self, amount: Money, at: Timestamp) -> Words {
        let shown = self.money(amount);
        let subject = self.language.say("payment.subject", context! { amount => shown });
        Words::of(subject, self.word("payment.text"))
            .row(self.word("row.received"), self.day(at), false)
            .row(self.word("row.amount"), shown, true)
            .link(self.word("action.account"), self.options.portal_url.as_ref())
    }

    pub(super) fn credited(&self, number: &str, total: Money) -> Words {
        let say = |phrase| self.language.say(phrase, context! { number });
        Words::of(say("credit_note.subject"), say("credit_note.text"))
            .row(self.word("row.credited"), self.money(total), true)
            .link(self.word("action.account"), self.options.portal_url.as_ref())
    }

    /// A use was denied.
    pub(super) fn denied(&self, body: &Value) -> Words {
        let quota = body.get("quota");
        let text = |field: &str| {
            let value = quota.and_then(|quota| quota.get(field))?;
            let number = || value.is_number().then(|| value.to_string());
            value.as_str().map(ToOwned::to_owned).or_else(number)
        };
        let unit = text("unit").unwrap_or_default();
        let meter = plain(&text("meter").unwrap_or_default());
        let subject = self.language.say("denied.subject", context! { meter });
        let mut words = Words::of(subject, self.word("denied.text"));
        for (label, field) in [("row.used", "used"), ("row.included", "hard")] {
            if let Some(value) = text(field) {
                let shown = Exact::parse(&value).map_or(value, |value| self.count(&value, &unit));
                words = words.row(self.word(label), shown, field == "used");
            }
        }
        if let Some(at) = text("resets_at").and_then(|at| at.parse().ok()) {
            words = words.row(self.word("row.starts_over"), self.day(at), false);
        }
        words.link(self.word("action.upgrade"), self.options.upgrade_url.as_ref())
    }

    fn meter_of(alert: &Alert) -> String {
        plain(alert.meter.as_ref().map_or("", |meter| meter.as_str()))
    }

    /// What an alert is about, in a line.
    fn alert_line(&self, alert: &Alert) -> String {
        let meter = Self::meter_of(alert);
        let amount = || {
            let limit = alert.limit.clone().unwrap_or(Exact::ZERO);
            self.count(&limit, &alert.unit)
        };
        match alert.kind.as_str() {
            "included" | "quota" => {
                let percent = &alert.threshold;
                self.language.say("alert.share.subject", context! { percent, meter })
            }
            "spend" => self.language.say("alert.spend.subject", context! { threshold => amount() }),
            "forecast" => {
                let day = self.day(alert.expected_at.unwrap_or(alert.window.end));
                self.language.say("forecast.subject", context! { meter, day })
            }
            "anomaly" | "change" => self.language.say("anomaly.subject", context! { meter }),
            _ => {
                self.language.say("alert.amount.subject", context! { meter, threshold => amount() })
            }
        }
    }

    /// An alert of a threshold, a forecast, or something odd.
    pub(super) fn alert(&self, alert: &Alert) -> Words {
        let (text, value, limit) = match alert.kind.as_str() {
            "forecast" => ("forecast.text".to_owned(), "row.expected", "row.limit"),
            "anomaly" | "change" => ("anomaly.text".to_owned(), "row.seen", "row.usual"),
            _ => (format!("alert.{}.text", alert.severity.as_str()), "row.used", "row.limit"),
        };
        let mut words = Words::of(self.alert_line(alert), self.word(&text)).row(
            self.word(value),
            self.count(&alert.value, &alert.unit),
            true,
        );
        if let Some(held) = &alert.limit {
            words = words.row(self.word(limit), self.count(held, &alert.unit), false);
        }
        if let ("included" | "quota", Some(held)) = (alert.kind.as_str(), &alert.limit) {
            let share = counterfoil_alerting::threshold::percent_of(&alert.value, held);
            words = words.row(self.word("row.share"), self.count(&share, "%"), false);
        }
        if let Some(at) = alert.expected_at {
            words = words.row(self.word("row.passes"), self.day(at), true);
        }
        if !matches!(alert.kind.as_str(), "anomaly" | "change") {
            words = words.row(self.word("row.starts_over"), self.day(alert.window.end), false);
        }
        match alert.kind.as_str() {
            "anomaly" | "change" | "spend" => {
                words.link(self.word("action.usage"), self.options.portal_url.as_ref())
            }
            _ => words.link(self.word("action.upgrade"), self.options.upgrade_url.as_ref()),
        }
    }

    /// Several alerts together.
    pub(super) fn digest(&self, count: u64, alerts: &[Alert]) -> Words {
        let subject = self.language.say("digest.subject", context! { count });
        let mut words = Words::of(subject, self.word("digest.text"));
        for alert in alerts.iter().take(LISTED) {
            let value = self.count(&alert.value, &alert.unit);
            words = words.row(self.alert_line(alert), value, false);
        }
        words.link(self.word("action.usage"), self.options.portal_url.as_ref())
    }
}

/// What whoever runs this is told.
pub(super) fn notice(kind: &str, body: &Value) -> Words {
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
            "It failed too often and is left alone until somebody looks: counterfoil jobs parked",
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

/// The alert in the body of an effect.
pub(super) fn alert_in(kind: &str, body: &Value) -> Result<Alert, LetterError> {
    body.get("alert")
        .and_then(|alert| serde_json::from_value(alert.clone()).ok())
        .ok_or_else(|| LetterError::Field { kind: kind.to_owned(), field: "alert" })
}
