//! A finalized invoice as an invoice of Stripe, and what follows it.
//!
//! An invoice is created as a draft, gets one item for each line, is held against what is open here
//! and only then finalized; from there on Stripe collects. Each step has a key derived from the
//! effect, so a repetition goes on where the last try stood. Ours is found again by its id in the
//! metadata.

use std::collections::BTreeSet;

use counterfoil_delivery::{Parcel, Sent, Verdict};
use counterfoil_invoicing::{Invoice, InvoiceState};
use counterfoil_store::stripe::{self, Link};
use counterfoil_types::{Currency, Exact, InvoiceId, Money, TenantId, timestamp::DAY_MICROS};
use serde_json::Value;

use crate::{
    client::{Answer, Failure, Form},
    sender::{Age, StripeSender, skipped},
    usage::list,
};

/// Name of our id in the metadata of Stripe's invoice.
pub const INVOICE: &str = "counterfoil_invoice";
/// Name of the tenant there.
pub const TENANT: &str = "counterfoil_tenant";
pub(crate) const LINE: &str = "counterfoil_line";
/// Most items of an invoice at Stripe are 250; what is beyond goes into one.
const MOST_LINES: usize = 200;
/// Pages of a customer's invoices that are looked through.
const MOST_PAGES: usize = 500;

/// An item to be billed.
struct Item {
    /// Names it among the items of its invoice.
    name: String,
    says: String,
    /// In the smallest unit as Stripe has it.
    amount: i128,
}

/// An amount in the unit Stripe wants: the minor unit, but for a few currencies.
pub(crate) fn units(amount: Money) -> Result<i128, Failure> {
    let minor = amount.minor_units();
    let code = amount.currency().code();
    let fits = |divisor: i128| {
        (minor % divisor == 0).then_some(()).ok_or_else(|| {
            Failure::never(format!("Stripe cannot collect {amount}: too many decimals"))
        })
    };
    match code {
        "ISK" | "UGX" => Ok(minor * 100),
        "MGA" => fits(100).map(|()| minor / 100),
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => fits(10).map(|()| minor),
        _ => Ok(minor),
    }
}

/// The amount of a number of units.
pub(crate) fn from_units(units: i64, currency: Currency) -> Result<Money, Failure> {
    let decimals = match currency.code() {
        "ISK" | "UGX" => 2,
        "MGA" => 0,
        _ => currency.decimals(),
    };
    let amount = Exact::from_i128(i128::from(units)).mul(&Exact::unit(decimals));
    Money::from_exact(&amount, currency).map_err(|error| Failure::never(error.to_string()))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn metadata<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get("metadata").and_then(|of| text(of, name))
}

/// What the effect of an invoice is about.
fn invoice_of(parcel: &Parcel) -> Result<InvoiceId, Failure> {
    let id = text(&parcel.effect.body, "invoice").and_then(|id| id.parse().ok());
    id.ok_or_else(|| Failure::never("the effect names no invoice"))
}

/// The items of an invoice; they sum up to what is open.
fn items_of(invoice: &Invoice, open: Money) -> Result<Vec<Item>, Failure> {
    let body = &invoice.body;
    let mut items = Vec::new();
    let (mut sum, mut rest, mut left_over) = (0, 0, 0_usize);
    for (number, line) in body.lines.iter().enumerate() {
        let amount = units(line.amount)?;
        sum += amount;
        if amount == 0 {
            continue;
        }
        if items.len() >= MOST_LINES {
            rest += amount;
            left_over += 1;
            continue;
        }
        let last = line.period.end.plus_micros(-1);
        let day = |at| body.zone.civil(at).map(|civil| civil.date().to_string());
        let says = match (day(line.period.start), day(last)) {
            (Ok(from), Ok(to)) => format!("{} ({from} to {to})", line.name),
            _ => line.name.clone(),
        };
        items.push(Item { name: number.to_string(), says, amount });
    }
    if rest != 0 {
        let says = format!("{left_over} further positions of invoice {}", number_of(invoice));
        items.push(Item { name: "rest".to_owned(), says, amount: rest });
    }
    let credit = body.credit().map_err(|error| Failure::never(error.to_string()))?;
    let credit = units(credit)?;
    let mut add = |name: &str, says: String, amount: i128| {
        if amount != 0 {
            items.push(Item { name: name.to_owned(), says, amount });
        }
    };
    add("credit", "Prepaid credits".to_owned(), -credit);
    let total = units(body.total)?;
    let rates: Vec<String> =
        body.taxes.iter().map(|tax| format!("{} {} %", tax.name, tax.percent)).collect();
    add("tax", rates.join(", "), total - sum + credit);
    let open = units(open)?;
    // The amount is in the name: another one is another item.
    add(&format!("settled-{}", total - open), "Settled before".to_owned(), open - total);
    Ok(items)
}

fn number_of(invoice: &Invoice) -> &str {
    invoice.number.as_deref().unwrap_or_default()
}

impl StripeSender {
    async fn invoice(&self, tenant: &TenantId, id: &InvoiceId) -> Result<Invoice, Failure> {
        let found = self.store.invoice(tenant, id).await?;
        found.ok_or_else(|| Failure::never(format!("there is no invoice {id}")))
    }

    /// What is on an account.
    async fn on(
        &self,
        tenant: &TenantId,
        account: &str,
        currency: Currency,
    ) -> Result<Money, Failure> {
        let found = self.store.account(tenant, account).await?;
        let exact = found.map_or(Exact::ZERO, |account| account.balance.exact());
        Money::from_exact(&exact, currency).map_err(|error| Failure::never(error.to_string()))
    }

    async fn open_on(&self, tenant: &TenantId, invoice: &Invoice) -> Result<Money, Failure> {
        self.on(tenant, &format!("receivable/{}", invoice.id), invoice.body.currency).await
    }

    async fn customer_of(&self, tenant: &TenantId, invoice: &Invoice) -> Result<String, Failure> {
        let payer = invoice.body.paid_by();
        let key = format!("{}{payer}", stripe::CUSTOMERS);
        let found = stripe::setting(self.store.as_ref(), tenant, &key).await?;
        found.ok_or_else(|| {
            Failure::never(format!(
                "customer {payer} is not known at Stripe; `counterfoil stripe setup` makes it, `counterfoil stripe map customer` names it. Then release this delivery"
            ))
        })
    }

    /// The invoice at Stripe that stands for ours.
    pub(crate) async fn find_invoice(
        &self,
        tenant: &TenantId,
        customer: &str,
        invoice: &Invoice,
    ) -> Result<Option<Value>, Failure> {
        let id = invoice.id.to_string();
        // Clocks differ by less than a day.
        let since = invoice.issued_at.map_or(0, |at| at.plus_micros(-DAY_MICROS).micros());
        let since = since.max(0).div_euclid(1_000_000).to_string();
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut query = Form::new()
                .with("customer", customer)
                .with("created[gte]", &since)
                .with("limit", "50");
            if let Some(after) = &after {
                query = query.with("starting_after", after);
            }
            let page = self.client.get("v1/invoices", &query).await?;
            let ours = |found: &&Value| {
                metadata(found, INVOICE) == Some(&id)
                    && metadata(found, TENANT) == Some(tenant.as_str())
            };
            if let Some(found) = list(&page).iter().find(ours) {
                return Ok(Some(found.clone()));
            }
            after = list(&page).last().and_then(|last| text(last, "id")).map(str::to_owned);
            let more = page.body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
            if !more || after.is_none() {
                return Ok(None);
            }
        }
        Err(Failure::never("the customer has too many invoices at Stripe to look through"))
    }

    pub(crate) async fn send_invoice(
        &self,
        parcel: &Parcel,
        link: &Link,
        age: &Age,
    ) -> Result<Sent, Failure> {
        let tenant = &parcel.tenant;
        let invoice = self.invoice(tenant, &invoice_of(parcel)?).await?;
        if invoice.state == InvoiceState::Void {
            return Ok(skipped("it was voided"));
        }
        let open = self.open_on(tenant, &invoice).await?;
        if !open.exact().is_positive() {
            return Ok(skipped("nothing is open on it"));
        }
        let balance = format!("balance/{}/{}", invoice.body.paid_by(), invoice.body.currency);
        if self.on(tenant, &balance, invoice.body.currency).await?.exact().is_positive() {
            return Err(Failure::later("what the customer has in credit is used on it first"));
        }
        let customer = self.customer_of(tenant, &invoice).await?;
        let found = match age.old {
            true => self.find_invoice(tenant, &customer, &invoice).await?,
            false => None,
        };
        let known = found.is_some();
        let id = match &found {
            Some(found) => text(found, "id").unwrap_or_default().to_owned(),
            None => self.create(parcel, &invoice, link, &customer, age).await?,
        };
        let items = items_of(&invoice, open)?;
        let stands = self.read(&id).await?;
        if text(&stands.body, "status") == Some("draft") {
            let there = match known {
                true => self.items_there(&id).await?,
                false => BTreeSet::new(),
            };
            for item in items.iter().filter(|item| !there.contains(&item.name)) {
                self.add_item(parcel, &invoice, (&id, &customer), item, age).await?;
            }
            let stands = self.read(&id).await?;
            let theirs = stands.body.get("total").and_then(Value::as_i64).map(i128::from);
            let ours = units(open)?;
            if theirs != Some(ours) {
                return Err(Failure::never(format!(
                    "Stripe makes {} of invoice {}, not {ours}; it stays a draft there ({id})",
                    theirs.map_or_else(|| "nothing".to_owned(), |theirs| theirs.to_string()),
                    number_of(&invoice),
                )));
            }
            let form = Form::new().with("auto_advance", "true");
            let key = age.key(&format!("{}/finalize", parcel.id()));
            self.client.post(&format!("v1/invoices/{id}/finalize"), &form, &key).await?;
        }
        Ok(Sent::with(Verdict::Delivered, 200))
    }

    async fn read(&self, id: &str) -> Result<Answer, Failure> {
        self.client.get(&format!("v1/invoices/{id}"), &Form::new()).await
    }

    async fn create(
        &self,
        parcel: &Parcel,
        invoice: &Invoice,
        link: &Link,
        customer: &str,
        age: &Age,
    ) -> Result<String, Failure> {
        let mut form = Form::new()
            .with("customer", customer)
            .with("currency", invoice.body.currency.code().to_ascii_lowercase())
            .with("auto_advance", "false")
            // What else waits for this customer there is none of ours.
            .with("pending_invoice_items_behavior", "exclude")
            .with("description", format!("Invoice {}", number_of(invoice)))
            .with(&format!("metadata[{INVOICE}]"), invoice.id.to_string())
            .with(&format!("metadata[{TENANT}]"), parcel.tenant.as_str())
            .with("metadata[counterfoil_number]", number_of(invoice));
        form = match link.days_until_due {
            None => form.with("collection_method", "charge_automatically"),
            Some(days) => form
                .with("collection_method", "send_invoice")
                .with("days_until_due", days.to_string()),
        };
        let key = age.key(&format!("{}/invoice", parcel.id()));
        let answer = self.client.post("v1/invoices", &form, &key).await?;
        Ok(answer.text("id")?.to_owned())
    }

    async fn add_item(
        &self,
        parcel: &Parcel,
        invoice: &Invoice,
        (id, customer): (&str, &str),
        item: &Item,
        age: &Age,
    ) -> Result<(), Failure> {
        let form = Form::new()
            .with("customer", customer)
            .with("invoice", id)
            .with("amount", item.amount.to_string())
            .with("currency", invoice.body.currency.code().to_ascii_lowercase())
            .with("description", &item.says)
            .with(&format!("metadata[{LINE}]"), &item.name);
        let key = age.key(&format!("{}/item/{}", parcel.id(), item.name));
        self.client.post("v1/invoiceitems", &form, &key).await?;
        Ok(())
    }

    /// Names of the items that a draft has already.
    async fn items_there(&self, id: &str) -> Result<BTreeSet<String>, Failure> {
        let mut names = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = Form::new().with("invoice", id).with("limit", "100");
            if let Some(after) = &after {
                query = query.with("starting_after", after);
            }
            let page = self.client.get("v1/invoiceitems", &query).await?;
            names.extend(
                list(&page).iter().filter_map(|item| metadata(item, LINE)).map(str::to_owned),
            );
            after = list(&page).last().and_then(|last| text(last, "id")).map(str::to_owned);
            let more = page.body.get("has_more").and_then(Value::as_bool).unwrap_or(false);
            if !more || after.is_none() || names.len() > 2 * MOST_LINES {
                return Ok(names);
            }
        }
    }

    /// Ours and Stripe's, if it is there; `None`: it never got there.
    async fn both(
        &self,
        tenant: &TenantId,
        id: &InvoiceId,
    ) -> Result<(Invoice, Option<(String, Value)>), Failure> {
        let invoice = self.invoice(tenant, id).await?;
        let key = format!("{}{}", stripe::CUSTOMERS, invoice.body.paid_by());
        let customer = stripe::setting(self.store.as_ref(), tenant, &key).await?;
        let Some(customer) = customer else { return Ok((invoice, None)) };
        let found = self.find_invoice(tenant, &customer, &invoice).await?;
        let found = found.and_then(|found| Some((text(&found, "id")?.to_owned(), found)));
        Ok((invoice, found))
    }

    pub(crate) async fn void_invoice(&self, parcel: &Parcel, age: &Age) -> Result<Sent, Failure> {
        let (_, found) = self.both(&parcel.tenant, &invoice_of(parcel)?).await?;
        let Some((id, found)) = found else { return Ok(skipped("it never was at Stripe")) };
        let key = age.key(&format!("{}/void", parcel.id()));
        let answer = match text(&found, "status") {
            Some("draft") => self.client.delete(&format!("v1/invoices/{id}")).await?,
            Some("open" | "uncollectible") => {
                self.client.post(&format!("v1/invoices/{id}/void"), &Form::new(), &key).await?
            }
            Some("paid") => {
                return Err(Failure::never(format!(
                    "it was paid at Stripe ({id}); give the money back there"
                )));
            }
            _ => return Ok(skipped("it is void at Stripe already")),
        };
        Ok(Sent::with(Verdict::Delivered, answer.code))
    }

    /// A payment that came in elsewhere: Stripe stops collecting.
    pub(crate) async fn settle_elsewhere(
        &self,
        parcel: &Parcel,
        age: &Age,
    ) -> Result<Sent, Failure> {
        let body = &parcel.effect.body;
        let id = body.get("payment").and_then(|payment| text(payment, "id")).unwrap_or_default();
        if id.starts_with(crate::webhook::PAYMENT) {
            return Ok(skipped("Stripe told of it"));
        }
        let invoices = body
            .get("applied")
            .and_then(|applied| applied.get("to_invoices"))
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut done = 0;
        for entry in invoices {
            let id = entry.get(0).and_then(Value::as_str).and_then(|id| id.parse().ok());
            let Some(id) = id else { continue };
            let (invoice, found) = self.both(&parcel.tenant, &id).await?;
            let Some((id, found)) = found else { continue };
            if text(&found, "status") != Some("open") {
                continue;
            }
            if self.open_on(&parcel.tenant, &invoice).await?.exact().is_positive() {
                return Err(Failure::never(format!(
                    "invoice {} was paid in part elsewhere; credit that part at Stripe ({id}), or it is collected again",
                    number_of(&invoice)
                )));
            }
            let form = Form::new().with("paid_out_of_band", "true");
            let key = age.key(&format!("{}/pay/{id}", parcel.id()));
            self.client.post(&format!("v1/invoices/{id}/pay"), &form, &key).await?;
            done += 1;
        }
        if done == 0 {
            return Ok(skipped("none of its invoices is open at Stripe"));
        }
        Ok(Sent::with(Verdict::Delivered, 200))
    }

    /// A credit note on an invoice that Stripe still collects takes the same off there.
    pub(crate) async fn send_credit_note(
        &self,
        parcel: &Parcel,
        age: &Age,
    ) -> Result<Sent, Failure> {
        let (invoice, found) = self.both(&parcel.tenant, &invoice_of(parcel)?).await?;
        let Some((id, found)) = found else { return Ok(skipped("its invoice is not at Stripe")) };
        if text(&found, "status") != Some("open") {
            return Ok(skipped("its invoice is not open at Stripe"));
        }
        let open = units(self.open_on(&parcel.tenant, &invoice).await?)?;
        let theirs = found.get("amount_remaining").and_then(Value::as_i64).map(i128::from);
        let Some(less) = theirs.map(|theirs| theirs - open).filter(|less| *less > 0) else {
            return Ok(skipped("Stripe collects no more than is open"));
        };
        let form = Form::new().with("invoice", &id).with("amount", less.to_string());
        let key = age.key(&format!("{}/credit/{less}", parcel.id()));
        let answer = self.client.post("v1/credit_notes", &form, &key).await?;
        Ok(Sent::with(Verdict::Delivered, answer.code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str, code: &str) -> Money {
        Money::from_exact(&Exact::parse(text).unwrap(), code.parse().unwrap()).unwrap()
    }

    #[test]
    fn amounts_are_in_the_unit_stripe_wants() {
        for (amount, code, expected) in [
            ("12.34", "USD", Some(1234)),
            ("500", "JPY", Some(500)),
            ("500", "ISK", Some(50_000)),
            ("7", "UGX", Some(700)),
            ("1.230", "KWD", Some(1230)),
            ("1.234", "KWD", None),
            ("12", "MGA", Some(12)),
        ] {
            let found = units(money(amount, code)).ok();
            assert_eq!(found, expected, "{amount} {code}");
            if let Some(units) = found {
                let units = i64::try_from(units).unwrap();
                let back = from_units(units, code.parse().unwrap()).unwrap();
                assert_eq!(back, money(amount, code));
            }
        }
    }
}
