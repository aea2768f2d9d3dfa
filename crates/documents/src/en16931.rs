//! The electronic invoice of EN 16931: what of a document it says, by its terms (BT) and groups (BG).
//! Both syntaxes are written from this. What the norm cannot say is refused, never bent.

use counterfoil_types::{Exact, Money, Period, Quantity};
use jiff::civil::Date;

use crate::{
    branding::{Branding, Party},
    error::DocumentError,
    model::{Kind, Model, Stamp, Untaxed},
    style::Style,
};

/// Category of VAT (UNCL 5305).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Standard rate.
    S,
    /// Zero rate.
    Z,
    /// Exempt.
    E,
    /// Reverse charge.
    AE,
    /// Outside the scope of VAT.
    O,
}

impl Category {
    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::Z => "Z",
            Self::E => "E",
            Self::AE => "AE",
            Self::O => "O",
        }
    }
}

/// VAT of a line: category and percent (none for `O`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vat {
    /// Category.
    pub category: Category,
    /// Percent.
    pub percent: Option<Quantity>,
}

/// A line (BG-25).
#[derive(Clone, Debug)]
pub struct ELine {
    /// Identifier (BT-126).
    pub id: usize,
    /// Name (BT-153).
    pub name: String,
    /// Description (BT-154).
    pub description: Option<String>,
    /// Quantity (BT-129), in units of one (C62).
    pub quantity: Exact,
    /// Net price (BT-146), never negative.
    pub price: Exact,
    /// Net amount (BT-131).
    pub net: Exact,
    /// Period (BG-26): first and last day.
    pub period: Option<(Date, Date)>,
    /// VAT.
    pub vat: Vat,
}

/// What VAT of a category comes to (BG-23).
#[derive(Clone, Debug)]
pub struct Breakdown {
    /// VAT.
    pub vat: Vat,
    /// Why none is charged (BT-120).
    pub reason: Option<String>,
    /// On what (BT-116).
    pub base: Exact,
    /// How much (BT-117).
    pub tax: Exact,
    /// Allowances of this category (BG-20): prepaid credit.
    pub allowance: Exact,
}

/// An electronic invoice.
#[derive(Clone, Debug)]
pub struct EInvoice<'a> {
    /// The document.
    pub model: &'a Model,
    /// Who issues and how to pay.
    pub branding: &'a Branding,
    /// 380 for an invoice, 381 for a credit note (BT-3).
    pub type_code: &'static str,
    /// Day of issue (BT-2).
    pub issued: Date,
    /// Day it is due (BT-9).
    pub due: Option<Date>,
    /// Period (BG-14): first and last day.
    pub period: Option<(Date, Date)>,
    /// Seller (BG-4); without VAT identifier where no VAT is in scope.
    pub seller: Party,
    /// Buyer (BG-7).
    pub buyer: Party,
    /// Notes (BT-22).
    pub notes: Vec<String>,
    /// Lines.
    pub lines: Vec<ELine>,
    /// VAT by category.
    pub breakdown: Vec<Breakdown>,
    /// Sum of the lines (BT-106).
    pub line_total: Exact,
    /// Sum of allowances (BT-107).
    pub allowances: Exact,
    /// Without VAT (BT-109).
    pub net_total: Exact,
    /// VAT (BT-110).
    pub tax_total: Exact,
    /// With VAT, and owed (BT-112, BT-115).
    pub total: Exact,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, DocumentError> {
    Err(DocumentError::EInvoice(why.into()))
}

/// An amount with two decimals (BR-DEC).
///
/// # Errors
/// When it has more.
pub fn amount(value: &Exact) -> Result<String, DocumentError> {
    let text = value.to_string();
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    if rest.len() > 2 || text.contains('/') {
        return refuse(format!("amounts have at most two decimals there, not {text}"));
    }
    Ok(format!("{whole}.{rest:0<2}"))
}

impl<'a> EInvoice<'a> {
    /// What the norm says of a document.
    ///
    /// # Errors
    /// [`DocumentError::EInvoice`] for what it cannot say, and for what it must say and is not known.
    pub fn new(model: &'a Model, branding: &'a Branding) -> Result<Self, DocumentError> {
        model.check()?;
        branding.check()?;
        let type_code = match model.kind {
            Kind::Invoice => "380",
            Kind::CreditNote => "381",
            Kind::Receipt | Kind::Statement => {
                return refuse("it is for invoices and credit notes only");
            }
        };
        if model.stamp == Some(Stamp::Draft) {
            return refuse("a draft is no invoice yet; finalize it first");
        }
        if model.taxes.len() > 1 {
            return refuse("it knows one rate of VAT for a line, and this invoice has several");
        }
        let Some(issued) = model.issued_at else { return refuse("it has no day of issue") };
        let day = |at| Ok::<Date, DocumentError>(model.zone.civil(at)?.date());
        let days = |period: &Period| {
            let last = if period.is_empty() { period.end } else { period.end.plus_micros(-1) };
            Ok::<_, DocumentError>((day(period.start)?, day(last)?))
        };
        let taxed = taxed(model);
        let untaxed = Vat { category: Category::E, percent: Some(Quantity::ZERO) };
        let style = Style::new(branding, model.language.as_deref());
        let mut lines = Vec::with_capacity(model.lines.len());
        let mut breakdown: Vec<Breakdown> = Vec::new();
        for (at, line) in model.lines.iter().enumerate() {
            let exempt = line.exempt && taxed.category == Category::S;
            let vat = if exempt { untaxed.clone() } else { taxed.clone() };
            let taxes = line.taxes.iter().fold(Exact::ZERO, |sum, tax| sum.add(&tax.exact()));
            // Prices that contain tax: the norm states lines without it.
            let net = line.amount.exact();
            let net = if model.inclusive { net.sub(&taxes) } else { net };
            let known = breakdown.iter_mut().find(|known| known.vat == vat);
            match known {
                Some(known) => {
                    known.base = known.base.add(&net).sub(&line.prepaid.exact());
                    known.tax = known.tax.add(&taxes);
                    known.allowance = known.allowance.add(&line.prepaid.exact());
                }
                None => breakdown.push(Breakdown {
                    reason: reason(model, &vat),
                    vat: vat.clone(),
                    base: net.sub(&line.prepaid.exact()),
                    tax: taxes,
                    allowance: line.prepaid.exact(),
                }),
            }
            let (quantity, price) = priced(line, &net, model);
            let description = line.metered.as_ref().map(|(metered, unit)| {
                format!("{} {unit}", style.quantity(metered)).trim_end().to_owned()
            });
            let name = if line.name.trim().is_empty() { "-".to_owned() } else { line.name.clone() };
            lines.push(ELine {
                id: at + 1,
                name,
                description,
                quantity,
                price,
                net,
                period: line.period.as_ref().map(days).transpose()?,
                vat,
            });
        }
        if lines.is_empty() {
            return refuse("an invoice without lines is none (BR-16)");
        }
        let sum = |of: fn(&Breakdown) -> &Exact| -> Exact { breakdown.iter().map(of).sum() };
        let line_total: Exact = lines.iter().map(|line| &line.net).sum();
        let (allowances, tax_total) = (sum(|b| &b.allowance), sum(|b| &b.tax));
        let net_total = line_total.sub(&allowances);
        let (mut seller, mut buyer) = (branding.seller.clone(), model.buyer.clone());
        if taxed.category == Category::O {
            // BR-O-02: who is outside VAT names no VAT identifier.
            (seller.tax_id, buyer.tax_id) = (None, None);
        }
        let invoice = Self {
            model,
            branding,
            type_code,
            issued: day(issued)?,
            due: model.due_at.map(day).transpose()?,
            period: model.period.as_ref().map(days).transpose()?,
            seller,
            buyer,
            notes: model.tax_note.iter().chain(&model.reason).cloned().collect(),
            lines,
            total: net_total.add(&tax_total),
            breakdown,
            line_total,
            allowances,
            net_total,
            tax_total,
        };
        invoice.known()?;
        invoice.check()?;
        Ok(invoice)
    }

    /// What the norm wants to be known.
    fn known(&self) -> Result<(), DocumentError> {
        let how = "`counterfoil branding set`";
        let who = format!("`counterfoil branding customer {}`", self.model.customer);
        let vat = |category| self.breakdown.iter().any(|part| part.vat.category == category);
        let taxed = [Category::S, Category::Z, Category::E, Category::AE].into_iter().any(vat);
        for (missing, what, how) in [
            (self.seller.name.trim().is_empty(), "the seller's name (BR-06)", how),
            (self.seller.country.is_none(), "the seller's country (BR-09)", how),
            (self.buyer.name.trim().is_empty(), "the buyer's name (BR-07)", &who),
            (self.buyer.country.is_none(), "the buyer's country (BR-11)", &who),
            (taxed && self.seller.tax_id.is_none(), "the seller's VAT identifier (BR-S-02)", how),
            (
                self.seller.tax_id.is_none() && self.seller.registration.is_none(),
                "the seller's register or VAT number (BR-CO-26)",
                how,
            ),
            (
                vat(Category::AE) && self.buyer.tax_id.is_none(),
                "the buyer's VAT identifier (BR-AE-02)",
                &who,
            ),
        ] {
            if missing {
                return refuse(format!("{what} is not known; set it with {how}"));
            }
        }
        let valid = |id: &String| id.bytes().take(2).all(|b| b.is_ascii_uppercase());
        for party in [&self.seller, &self.buyer] {
            if let Some(id) = party.tax_id.as_ref().filter(|id| !valid(id)) {
                return refuse(format!(
                    "VAT identifier {id:?} does not begin with its country, such as DE (BR-CO-09)"
                ));
            }
        }
        Ok(())
    }

    /// The rules of arithmetic (BR-CO), and that the totals are the document's.
    ///
    /// # Errors
    /// [`DocumentError::EInvoice`] naming the rule.
    pub fn check(&self) -> Result<(), DocumentError> {
        let base: Exact = self.breakdown.iter().map(|part| &part.base).sum();
        let tax: Exact = self.breakdown.iter().map(|part| &part.tax).sum();
        let prepaid =
            if self.model.kind == Kind::CreditNote { self.allowances.clone() } else { Exact::ZERO };
        for (rule, one, other) in [
            ("BR-CO-10", self.lines.iter().map(|line| &line.net).sum(), self.line_total.clone()),
            ("BR-CO-13", self.line_total.sub(&self.allowances), self.net_total.clone()),
            ("BR-CO-14", tax, self.tax_total.clone()),
            ("BR-CO-15", self.net_total.add(&self.tax_total), self.total.clone()),
            ("the sum of what is taxed", base, self.net_total.clone()),
            (
                "the total of the document",
                self.total.clone(),
                self.model.total.exact().sub(&prepaid),
            ),
        ] {
            if one != other {
                return refuse(format!("{rule}: {one} is not {other}"));
            }
        }
        for value in self.lines.iter().map(|line| &line.net).chain([&self.total, &self.tax_total]) {
            amount(value)?;
        }
        for part in &self.breakdown {
            // BR-CO-17, to one minor unit: the price book may round halves to even. The published
            // rules allow more.
            let minor = Exact::unit(self.model.currency.decimals().min(2));
            let percent = part.vat.percent.map_or(Exact::ZERO, Quantity::exact);
            let due = part.base.mul(&percent).mul(&Exact::unit(2));
            if part.vat.category != Category::S && !part.tax.is_zero() {
                return refuse(format!("{} carries no tax", part.vat.category.code()));
            }
            if due.sub(&part.tax).abs() > minor {
                return refuse(format!(
                    "BR-CO-17: {percent} % of {} is not {}",
                    part.base, part.tax
                ));
            }
        }
        Ok(())
    }

    /// Currency code.
    #[must_use]
    pub fn currency(&self) -> &'static str {
        self.model.currency.code()
    }
}

/// VAT of lines that are not exempt by themselves.
fn taxed(model: &Model) -> Vat {
    let zero = Some(Quantity::ZERO);
    let (category, percent) = match (model.taxes.first(), &model.untaxed) {
        (Some(tax), _) if !tax.percent.is_zero() => (Category::S, Some(tax.percent)),
        (Some(_), _) => (Category::Z, zero),
        (None, Some(Untaxed::ReverseCharge(_))) => (Category::AE, zero),
        (None, Some(Untaxed::Exempt(_))) => (Category::E, zero),
        (None, Some(Untaxed::OutOfScope) | None) => (Category::O, None),
    };
    Vat { category, percent }
}

fn reason(model: &Model, vat: &Vat) -> Option<String> {
    let note = model.tax_note.clone();
    match vat.category {
        Category::S | Category::Z => None,
        Category::E => Some(note.unwrap_or_else(|| "Exempt from tax".to_owned())),
        Category::AE => Some(note.unwrap_or_else(|| "Reverse charge".to_owned())),
        Category::O => Some("Not subject to VAT".to_owned()),
    }
}

/// Quantity and price of a line: as it was rated where that is exactly one product, else one at its
/// amount (a price is never negative there, a quantity may be).
fn priced(line: &crate::model::Line, net: &Exact, model: &Model) -> (Exact, Exact) {
    if let [part] = line.parts.as_slice()
        && let Some(price) = part.price
        && !model.inclusive
        && line.factor.is_none()
        && part.quantity.mul(&price.exact()) == *net
        && !price.is_negative()
        && part.quantity.to_decimal().is_ok()
        && !part.quantity.is_zero()
    {
        return (part.quantity.clone(), price.exact());
    }
    let one = if net.is_negative() { Exact::ONE.neg() } else { Exact::ONE };
    (one, net.abs())
}

/// Money as the norm writes it.
///
/// # Errors
/// As [`amount`].
pub fn money(value: Money) -> Result<String, DocumentError> {
    amount(&value.exact())
}
