//! From the model to texts: every number as it is read, once, for page and paper alike. What is here
//! is data: templates place it and compute nothing.

use counterfoil_invoicing::LineKind;
use counterfoil_rating::{Part, PartKind};
use counterfoil_types::{Exact, Money, Period, Quantity};
use serde::Serialize;

use crate::{
    branding::{Branding, Paper, Party},
    chart::{Chart, ChartKind, Series, Theme},
    error::DocumentError,
    model::{Kind, Line, Model, MovementKind, Settled, Stamp},
    style::Style,
};

/// A label and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What.
    pub label: String,
    /// How much, when, who.
    pub value: String,
    /// Whether it is the one that counts.
    pub strong: bool,
}

/// Someone, as an address is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// Name.
    pub name: String,
    /// Address and numbers.
    pub lines: Vec<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownLine {
    /// What is charged.
    pub name: String,
    /// Why, and for when.
    pub notes: Vec<String>,
    /// What was used.
    pub usage: String,
    /// How much.
    pub amount: String,
    /// How it came about.
    pub parts: Vec<Fact>,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Heads of columns.
    pub head: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<String>>,
}

/// Usage of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownAnnex {
    /// What.
    pub title: String,
    /// Chart for paper.
    #[serde(skip)]
    pub chart: String,
    /// Chart for a screen.
    #[serde(skip)]
    pub screen_chart: String,
    /// By day.
    pub days: Table,
    /// By property.
    pub by: Option<Table>,
}

/// A document as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Language of the words.
    pub language: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Title.
    pub title: String,
    /// Number.
    pub number: String,
    /// Across it, where it does not count.
    pub stamp: Option<Fact>,
    /// Who issues it.
    pub seller: Address,
    /// Who receives it.
    pub buyer: Address,
    /// Number, days.
    pub facts: Vec<Fact>,
    /// Heads of the columns of lines.
    pub head: [String; 3],
    /// Lines.
    pub lines: Vec<ShownLine>,
    /// What is said where there are none.
    pub empty: Option<String>,
    /// Movements, where there are any.
    pub movements: Option<Table>,
    /// Sums.
    pub totals: Vec<Fact>,
    /// Taxes.
    pub taxes: Option<Table>,
    /// What must be said.
    pub notes: Vec<String>,
    /// Heading of how to pay.
    pub payment_title: String,
    /// How to pay.
    pub payment: Vec<Fact>,
    /// Anything else about paying, and what the law wants.
    pub small: Vec<String>,
    /// Hash: label, value, what it is.
    pub proof: Option<Fact>,
    /// What the hash is.
    pub proof_note: String,
    /// Heading of the annex.
    pub annex_title: String,
    /// Usage.
    pub annex: Vec<ShownAnnex>,
    /// Colour of headings.
    pub colour: String,
    /// Name of the logo's media type, where there is one.
    pub logo: Option<&'static str>,
    /// Size of the paper.
    pub paper: &'static str,
    /// Footer, with `{page}` and `{pages}`.
    pub page: String,
    /// When it was issued: year, month, day.
    pub issued: Option<(i16, i8, i8)>,
}

/// Writes a document with a tenant's branding.
///
/// # Errors
/// When the model does not add up, or a day cannot be computed.
pub fn show(model: &Model, branding: &Branding) -> Result<Shown, DocumentError> {
    model.check()?;
    branding.check()?;
    let style = Style::new(branding, model.language.as_deref());
    let writer = Writer { model, branding, style: &style };
    writer.document()
}

struct Writer<'a> {
    model: &'a Model,
    branding: &'a Branding,
    style: &'a Style<'a>,
}

fn fact(label: String, value: String) -> Fact {
    Fact { label, value, strong: false }
}

/// Text of others in one line: no control characters, and nothing that turns the direction of what
/// follows.
fn clean(text: &str) -> String {
    let kept =
        |c: &char| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    text.chars().filter(kept).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Writer<'_> {
    fn word(&self, key: &str) -> String {
        self.style.word(key)
    }

    fn money(&self, amount: Money) -> String {
        self.style.money(amount)
    }

    fn document(&self) -> Result<Shown, DocumentError> {
        let model = self.model;
        let stamp = model.stamp.map(|stamp| match stamp {
            Stamp::Draft => fact(self.word("draft"), self.word("draft_note")),
            Stamp::Void => fact(self.word("void"), self.word("void_note")),
        });
        let issued = model.issued_at.map(|at| model.zone.civil(at)).transpose()?;
        let statement = matches!(model.kind, Kind::Statement | Kind::Receipt);
        let empty = match model.kind {
            Kind::Statement if model.movements.is_empty() => Some(self.word("no_movements")),
            Kind::Invoice | Kind::CreditNote if model.lines.is_empty() => Some(self.word("empty")),
            _ => None,
        };
        let mut notes: Vec<String> = model.tax_note.iter().map(|note| clean(note)).collect();
        if model.kind == Kind::Invoice && model.stamp.is_none() {
            notes.extend(self.pay_by()?);
        }
        let payable = model.kind == Kind::Invoice
            && model.stamp != Some(Stamp::Void)
            && model.total.exact().is_positive();
        let payment = &self.branding.payment;
        let paragraphs = |text: &Option<String>| -> Vec<String> {
            let text = text.as_deref().unwrap_or_default();
            text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect()
        };
        let mut small = if payable { paragraphs(&payment.text) } else { Vec::new() };
        small.extend(paragraphs(&self.branding.legal));
        Ok(Shown {
            language: self.style.code(),
            kind: model.kind.as_str(),
            title: self.word(model.kind.as_str()),
            number: clean(&model.number),
            stamp,
            seller: self.address(&self.branding.seller),
            buyer: self.address(&model.buyer),
            facts: self.facts()?,
            head: ["description", "usage", "amount"].map(|key| self.word(key)),
            lines: model.lines.iter().map(|line| self.line(line)).collect::<Result<_, _>>()?,
            empty,
            movements: statement.then(|| self.movements()).transpose()?,
            totals: self.totals(),
            taxes: (!model.taxes.is_empty()).then(|| self.taxes()),
            notes,
            payment_title: self.word("payment"),
            payment: if payable { self.payment() } else { Vec::new() },
            small,
            proof: model.digest.map(|digest| fact(self.word("proof"), digest.to_string())),
            proof_note: self.word("proof_note"),
            annex_title: self.word("annex"),
            annex: self.annex()?,
            colour: self.branding.accent().to_owned(),
            logo: self.branding.logo.as_ref().map(|logo| match logo.media_type.as_str() {
                "image/png" => "png",
                "image/jpeg" => "jpg",
                _ => "svg",
            }),
            paper: match self.branding.paper {
                Paper::A4 => "a4",
                Paper::Letter => "us-letter",
            },
            page: self.style.say("page", &[("page", "{page}"), ("pages", "{pages}")]),
            issued: issued.map(|at| (at.year(), at.month(), at.day())),
        })
    }

    fn address(&self, party: &Party) -> Address {
        let mut lines: Vec<String> = party.street.iter().map(|line| clean(line)).collect();
        let place = [&party.postcode, &party.city].map(|text| text.as_deref().unwrap_or_default());
        let place = place.join(" ");
        if !place.trim().is_empty() {
            lines.push(clean(place.trim()));
        }
        lines.extend(party.country.iter().map(|country| clean(country)));
        for (key, value) in [
            ("tax_id", &party.tax_id),
            ("registration", &party.registration),
            ("phone", &party.phone),
        ] {
            lines.extend(value.iter().map(|value| format!("{}: {}", self.word(key), clean(value))));
        }
        lines.extend(party.email.iter().map(|email| clean(email)));
        Address { name: clean(&party.name), lines }
    }

    fn period(&self, period: &Period) -> Result<String, DocumentError> {
        let zone = &self.model.zone;
        let last = if period.is_empty() { period.end } else { period.end.plus_micros(-1) };
        let (from, to) = (self.style.day(period.start, zone)?, self.style.day(last, zone)?);
        Ok(if from == to { from } else { format!("{from} – {to}") })
    }

    fn facts(&self) -> Result<Vec<Fact>, DocumentError> {
        let model = self.model;
        let mut facts = vec![fact(self.word("number"), clean(&model.number))];
        if let Some(at) = model.issued_at {
            let key = if model.kind == Kind::Receipt { "received" } else { "date" };
            facts.push(fact(self.word(key), self.style.day(at, &model.zone)?));
        }
        if let Some(at) = model.due_at {
            facts.push(fact(self.word("due"), self.style.day(at, &model.zone)?));
        }
        if let (Some(period), Kind::Invoice | Kind::Statement) = (&model.period, model.kind) {
            facts.push(fact(self.word("period"), self.period(period)?));
        }
        if let Some((number, at)) = &model.refers_to {
            let day = at.map(|at| self.style.day(at, &model.zone)).transpose()?;
            let day = day.map_or_else(String::new, |day| format!(" ({day})"));
            facts.push(fact(self.word("about"), format!("{}{day}", clean(number))));
        }
        facts.extend(model.reason.iter().map(|why| fact(self.word("reason"), clean(why))));
        facts.extend(model.method.iter().map(|how| fact(self.word("method"), clean(how))));
        if !model.customer.is_empty() {
            facts.push(fact(self.word("customer"), clean(&model.customer)));
        }
        let reference = model.buyer.reference.iter();
        facts.extend(reference.map(|text| fact(self.word("reference"), clean(text))));
        Ok(facts)
    }

    fn line(&self, line: &Line) -> Result<ShownLine, DocumentError> {
        let mut notes = Vec::new();
        let kind = line.kind.and_then(|kind| match kind {
            LineKind::LateUsage => Some("late_usage"),
            LineKind::PlanMinimum => Some("plan_minimum"),
            LineKind::PlanMaximum => Some("plan_maximum"),
            LineKind::Discount => Some("discount"),
            LineKind::Commitment => Some("commitment"),
            LineKind::Adjustment => Some("adjustment"),
            LineKind::Usage | LineKind::FeeArrears | LineKind::FeeAdvance => None,
        });
        notes.extend(kind.map(|key| self.word(key)));
        if line.period != self.model.period || self.model.kind == Kind::CreditNote {
            notes.extend(line.period.as_ref().map(|period| self.period(period)).transpose()?);
        }
        let usage = line.metered.as_ref().map_or_else(String::new, |(metered, unit)| {
            format!("{} {}", self.style.quantity(metered), clean(unit)).trim_end().to_owned()
        });
        // A fixed amount needs no derivation.
        let plain = match line.parts.as_slice() {
            [] => true,
            [part] => part.kind == PartKind::Flat && part.label.is_empty(),
            _ => false,
        };
        let mut parts = Vec::new();
        if !plain {
            for part in &line.parts {
                let amount = Money::from_exact(&part.amount, self.model.currency)?;
                parts.push(fact(self.part(part, line), self.money(amount)));
            }
        }
        if let Some(billed) = line.already_billed {
            parts.push(fact(self.word("comes_to"), self.money(line.rated)));
            parts.push(fact(self.word("billed_before"), self.money(billed.negated())));
        }
        let (name, amount) = (clean(&line.name), self.money(line.amount));
        Ok(ShownLine { name, notes, usage, amount, parts })
    }

    /// What a part of a line is, for somebody who does not know the price book.
    fn part(&self, part: &Part, line: &Line) -> String {
        let unit = match &line.metered {
            Some((metered, unit)) if *metered == line.units && !unit.is_empty() => clean(unit),
            _ => self.word("units"),
        };
        let count = self.style.quantity(&part.quantity);
        let with_unit = format!("{count} {unit}");
        let factor = line
            .factor
            .as_ref()
            .map_or_else(String::new, |factor| format!(" × {}", self.style.quantity(factor)));
        let price = part.price.map_or_else(String::new, |price: Quantity| {
            // A factor turns a price in units of its own into money.
            let price = price.exact();
            if line.factor.is_some() {
                self.style.quantity(&price)
            } else {
                self.style.price(&price, self.model.currency)
            }
        });
        let price = format!("{price}{factor}");
        let label = clean(&part.label);
        let tier = !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
        let percent = part.price.map_or_else(String::new, |p| self.style.quantity(&p.exact()));
        let (key, units, price) = match part.kind {
            PartKind::Included => ("part_included", with_unit, price),
            PartKind::Units if tier => ("part_tier", with_unit, price),
            PartKind::Units if label.is_empty() => ("part_units", with_unit, price),
            PartKind::Units => ("part_cell", with_unit, price),
            PartKind::TierFee => ("part_tier_fee", count, price),
            PartKind::Packages if label.is_empty() => ("part_packages", count, price),
            PartKind::Packages => ("part_blocks", count, price),
            PartKind::Flat => ("part_flat", count, price),
            PartKind::Percentage => ("part_percentage", count, percent),
            PartKind::TransactionFee => ("part_transactions", count, price),
            PartKind::TransactionBounds => ("part_bounds", count, price),
            PartKind::MinimumTopUp => ("part_minimum", count, price),
            PartKind::MaximumCap => ("part_maximum", count, price),
            PartKind::Discount => ("part_discount", count, price),
            PartKind::Clamped => ("part_clamped", with_unit, price),
            PartKind::AlreadyBilled => ("part_already", count, price),
        };
        let gaps = [("units", units.as_str()), ("price", &price), ("label", &label)];
        self.style.say(key, &gaps).trim_end().to_owned()
    }

    fn movements(&self) -> Result<Table, DocumentError> {
        let model = self.model;
        let receipt = model.kind == Kind::Receipt;
        let mut rows = Vec::new();
        if let Some(opening) = model.opening {
            let dash = String::new();
            rows.push(vec![dash.clone(), self.word("opening"), dash, self.money(opening)]);
        }
        for movement in &model.movements {
            let key = match movement.kind {
                MovementKind::Invoice => "move_invoice",
                MovementKind::Payment => "move_payment",
                MovementKind::CreditNote => "move_credit_note",
                MovementKind::Refund => "move_refund",
                MovementKind::Void => "move_void",
                MovementKind::WriteOff => "move_write_off",
            };
            let what = self.style.say(key, &[("number", &clean(&movement.reference))]);
            let amount = self.money(movement.amount);
            rows.push(if receipt {
                vec![what, amount]
            } else {
                let day = self.style.day(movement.at, &model.zone)?;
                vec![day, what, amount, self.money(movement.balance)]
            });
        }
        if receipt {
            let settled = model.settled.iter();
            rows.extend(settled.map(|(to, amount)| vec![self.settled(*to), self.money(*amount)]));
        }
        let head: &[&str] = if receipt {
            &["description", "amount"]
        } else {
            &["date", "description", "amount", "balance"]
        };
        let head = head.iter().map(|key| self.word(key)).collect();
        Ok(Table { title: String::new(), head, rows })
    }

    fn settled(&self, to: Settled) -> String {
        self.word(match to {
            Settled::Prepaid => "prepaid",
            Settled::OffReceivable => "off_receivable",
            Settled::ToBalance => "to_balance",
            Settled::Refunded => "refunded",
        })
    }

    fn totals(&self) -> Vec<Fact> {
        let model = self.model;
        let mut totals = Vec::new();
        if matches!(model.kind, Kind::Invoice | Kind::CreditNote) {
            if !model.credits.is_empty() || !model.taxes.is_empty() {
                totals.push(fact(self.word("subtotal"), self.money(model.subtotal)));
            }
            for (name, amount) in &model.credits {
                let label = self.style.say("credit", &[("name", &clean(name))]);
                totals.push(fact(label, self.money(amount.negated())));
            }
            for tax in model.taxes.iter().filter(|_| !model.inclusive) {
                totals.push(fact(self.tax_label("tax", tax), self.money(tax.amount)));
            }
        }
        let key = match model.kind {
            Kind::Invoice => "total_due",
            Kind::CreditNote => "total_credited",
            Kind::Receipt => "total_received",
            Kind::Statement => "balance_due",
        };
        let (label, value) = (self.word(key), self.money(model.total));
        totals.push(Fact { label, value, strong: true });
        for tax in model.taxes.iter().filter(|_| model.inclusive) {
            totals.push(fact(self.tax_label("tax_within", tax), self.money(tax.amount)));
        }
        if model.kind == Kind::CreditNote {
            let settled = model.settled.iter();
            totals.extend(settled.map(|(to, amount)| fact(self.settled(*to), self.money(*amount))));
        }
        totals
    }

    fn tax_label(&self, key: &str, tax: &crate::model::Tax) -> String {
        let percent = self.style.quantity(&tax.percent.exact());
        self.style.say(key, &[("name", &clean(&tax.name)), ("percent", &percent)])
    }

    fn taxes(&self) -> Table {
        let base = if self.model.inclusive { "tax_base_within" } else { "tax_base" };
        let head = ["tax_name", "tax_rate", base, "amount"].map(|key| self.word(key)).into();
        let rows = self.model.taxes.iter().map(|tax| {
            let percent = format!("{} %", self.style.quantity(&tax.percent.exact()));
            vec![clean(&tax.name), percent, self.money(tax.base), self.money(tax.amount)]
        });
        Table { title: self.word("tax_summary"), head, rows: rows.collect() }
    }

    fn pay_by(&self) -> Result<Option<String>, DocumentError> {
        let model = self.model;
        let total = model.total.exact();
        if total.is_zero() {
            return Ok(Some(self.word("nothing_due")));
        }
        if total.is_negative() {
            let amount = self.money(model.total.negated());
            return Ok(Some(self.style.say("in_credit", &[("amount", &amount)])));
        }
        let Some(due) = model.due_at else { return Ok(None) };
        let (amount, day) = (self.money(model.total), self.style.day(due, &model.zone)?);
        Ok(Some(self.style.say("pay_by", &[("amount", &amount), ("day", &day)])))
    }

    fn payment(&self) -> Vec<Fact> {
        let payment = &self.branding.payment;
        let known = [
            ("account_name", &payment.account_name),
            ("iban", &payment.iban),
            ("bic", &payment.bic),
        ];
        let known = known.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)));
        let mut facts: Vec<Fact> =
            known.map(|(key, value)| fact(self.word(key), clean(value))).collect();
        if !facts.is_empty() {
            facts.push(fact(self.word("payment_reference"), clean(&self.model.number)));
        }
        facts
    }

    fn annex(&self) -> Result<Vec<ShownAnnex>, DocumentError> {
        let mut all = Vec::new();
        for annex in &self.model.annex {
            let unit = clean(&annex.unit);
            let with_unit = |value: &Exact| {
                format!("{} {unit}", self.style.quantity(value)).trim_end().to_owned()
            };
            let mut rows = Vec::new();
            let mut labels = Vec::new();
            for (at, value) in &annex.days {
                rows.push(vec![self.style.day(*at, &self.model.zone)?, with_unit(value)]);
                labels.push(self.model.zone.civil(*at)?.day().to_string());
            }
            let most = annex.days.iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
            let (day, highest) = match most {
                Some((at, value)) => (self.style.day(*at, &self.model.zone)?, with_unit(value)),
                None => (String::new(), with_unit(&Exact::ZERO)),
            };
            let sum: Exact = annex.days.iter().map(|(_, value)| value).sum();
            rows.push(vec![self.word("sum"), with_unit(&sum)]);
            let name = clean(&annex.name);
            let count = annex.days.len().to_string();
            let gaps =
                [("name", name.as_str()), ("count", &count), ("most", &highest), ("day", &day)];
            let chart = Chart {
                kind: ChartKind::Bar,
                title: name.clone(),
                description: self.style.say("chart_desc", &gaps),
                labels,
                series: vec![Series {
                    name: unit.clone(),
                    values: annex.days.iter().map(|(_, value)| value.clone()).collect(),
                }],
                width: 640,
                height: 200,
                id: format!("usage{}", all.len()),
            };
            let number = |value: &Exact| self.style.quantity(value);
            let by = annex.by.as_ref().map(|(property, values)| {
                let none = self.word("annex_none");
                let named = |name: &str| if name.is_empty() { none.clone() } else { clean(name) };
                let mut rows: Vec<Vec<String>> = values
                    .iter()
                    .map(|(name, value)| vec![named(name), with_unit(value)])
                    .collect();
                let sum: Exact = values.iter().map(|(_, value)| value).sum();
                rows.push(vec![self.word("sum"), with_unit(&sum)]);
                Table {
                    title: self.style.say("annex_by", &[("property", &clean(property))]),
                    head: vec![clean(property), self.word("value")],
                    rows,
                }
            });
            all.push(ShownAnnex {
                chart: chart.svg(Theme::Print, &number),
                screen_chart: chart.svg(Theme::Auto, &number),
                title: name,
                days: Table {
                    title: String::new(),
                    head: vec![self.word("day"), self.word("value")],
                    rows,
                },
                by,
            });
        }
        Ok(all)
    }
}
