//! Invoices and credit notes.

use axum::http::StatusCode;
use counterfoil_engine::{
    credit_notes::{CreditRequest, PaidBack},
    interim::Thresholds,
    postings,
};
use counterfoil_invoicing::{CreditNote, Invoice, InvoiceState, credit_note::CreditScope, explain};
use counterfoil_store::{DocumentFilter, InvoiceFilter, InvoiceSummary};
use counterfoil_types::{CustomerId, InvoiceId, Money, SubscriptionId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// Which invoices to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer: Option<CustomerId>,
    /// Of this subscription.
    subscription: Option<SubscriptionId>,
    /// In this state.
    state: Option<InvoiceState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// An invoice with what is open on it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct InvoiceView {
    #[serde(flatten)]
    invoice: Invoice,
    /// What is still to be paid; absent for drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Money>,
}

/// Why.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// The reason, for whoever asks later.
    reason: String,
}

/// A credit note to be issued.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreditBody {
    /// Makes the note unique; derived from the idempotency key when absent.
    id: Option<String>,
    /// The invoice: its id or number.
    invoice: String,
    /// All that is left of it.
    #[serde(default)]
    full: bool,
    /// An amount before tax, spread over the lines.
    amount: Option<Money>,
    /// Certain lines.
    #[serde(default)]
    lines: Vec<CreditLine>,
    /// Why.
    reason: String,
    /// Pay out what was paid, instead of keeping it for the customer.
    #[serde(default)]
    refund: bool,
}

/// A line to be credited.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreditLine {
    /// Its number on the invoice, from 1.
    line: usize,
    /// How much of it; all that is left when absent.
    amount: Option<Money>,
}

/// A subscription to be billed now.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BillBody {
    /// The subscription; all whose unbilled usage has come to their plan's threshold when absent.
    subscription: Option<SubscriptionId>,
}

/// What was billed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Billed {
    /// Part of the open period of one subscription.
    One(Box<Invoice>),
    /// All whose threshold was reached.
    Thresholds(Thresholds),
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Invoices");
    routes
        .get("/v1/invoices", "invoices.list", Scope::Read, list)
        .says("List invoices")
        .query::<ListQuery>()
        .answers::<Page<InvoiceSummary>>(200, "A page of invoices");
    routes
        .get("/v1/customers/{customer}/invoices", "invoices.of", Scope::Read, of_customer)
        .says("List a customer's invoices")
        .for_customers()
        .query::<ListQuery>()
        .answers::<Page<InvoiceSummary>>(200, "A page of invoices");
    routes
        .get("/v1/customers/{customer}/invoices/{invoice}", "invoices.one_of", Scope::Read, one_of)
        .says("Read a customer's invoice")
        .for_customers()
        .answers::<InvoiceView>(200, "The invoice");
    routes
        .get("/v1/invoices/{invoice}", "invoices.get", Scope::Read, get)
        .says("Read an invoice by id or number")
        .answers::<InvoiceView>(200, "The invoice");
    routes
        .get("/v1/invoices/{invoice}/explain", "invoices.explain", Scope::Read, explained)
        .says("Derive every line of an invoice, for people")
        .answers::<Vec<String>>(200, "The derivation, line by line");
    routes
        .post("/v1/invoices/{invoice}/void", "invoices.void", Scope::Finance, void)
        .says("Void an invoice")
        .body::<ReasonBody>()
        .answers::<Invoice>(200, "The invoice as it is now");
    routes
        .post("/v1/invoices/{invoice}/reissue", "invoices.reissue", Scope::Finance, reissue)
        .says("Issue a void invoice again, as things are known now")
        .answers::<Invoice>(200, "The new invoice");
    routes
        .post("/v1/invoices/{invoice}/write-off", "invoices.write_off", Scope::Finance, write_off)
        .says("Give an invoice up")
        .body::<ReasonBody>()
        .answers::<Invoice>(200, "The invoice as it is now");
    routes
        .post("/v1/bill", "invoices.bill", Scope::Finance, bill)
        .says("Bill part of the open period now")
        .body::<BillBody>()
        .answers::<Billed>(200, "What was billed");
    routes
        .get("/v1/credit-notes", "credit_notes.list", Scope::Read, notes)
        .says("List credit notes")
        .query::<ListQuery>()
        .answers::<Page<CreditNote>>(200, "A page of credit notes");
    routes
        .post("/v1/credit-notes", "credit_notes.issue", Scope::Finance, credit)
        .says("Issue a credit note")
        .body::<CreditBody>()
        .answers::<CreditNote>(201, "The credit note");
}

/// An invoice by id or number.
pub(crate) async fn find_invoice(caller: &Caller, name: &str) -> Result<Invoice, Problem> {
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let found = match name.parse() {
        Ok(id) => store.invoice(tenant, &id).await?,
        Err(_) => store.invoice_numbered(tenant, name).await?,
    };
    found.ok_or_else(|| Problem::new("not_found", format!("there is no invoice {name:?}")))
}

fn cursor(summary: &InvoiceSummary) -> String {
    format!("{}.{}", summary.due_cycle_at.micros(), summary.id)
}

fn after(cursor: Option<&String>) -> Result<Option<(Timestamp, InvoiceId)>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let read = || {
        let (at, id) = cursor.split_once('.')?;
        Some((Timestamp::from_micros(at.parse().ok()?), id.parse().ok()?))
    };
    read().map(Some).ok_or_else(bad_cursor)
}

async fn page(caller: &Caller, query: ListQuery) -> Result<Json<Page<InvoiceSummary>>, Problem> {
    let limit = limit(query.limit)?;
    let after = after(query.cursor.as_ref())?;
    let filter = InvoiceFilter {
        customer: query.customer,
        subscription: query.subscription,
        state: query.state,
    };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let items = store.invoices(tenant, &filter, after, limit + 1).await?;
    Ok(Json(Page::of(items, limit, cursor)))
}

async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<InvoiceSummary>>, Problem> {
    page(&caller, query).await
}

async fn of_customer(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<InvoiceSummary>>, Problem> {
    caller.engine.customer(&customer).await?;
    let Json(mut found) = page(&caller, ListQuery { customer: Some(customer), ..query }).await?;
    if caller.key.customer.is_some() {
        // A draft says what may still change; it is not the customer's yet.
        found.items.retain(|invoice| invoice.state != InvoiceState::Draft);
    }
    Ok(Json(found))
}

async fn view(caller: &Caller, invoice: Invoice) -> Result<Json<InvoiceView>, Problem> {
    let open = if invoice.state == InvoiceState::Draft {
        None
    } else {
        let account = postings::receivable(&invoice.id);
        Some(caller.engine.money_on(&account, invoice.body.currency).await?)
    };
    Ok(Json(InvoiceView { invoice, open }))
}

async fn one_of(
    caller: Caller,
    Path((customer, name)): Path<(CustomerId, String)>,
) -> Result<Json<InvoiceView>, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    // Drafts are not for customers, and neither are invoices of others.
    let draft = invoice.state == InvoiceState::Draft && caller.key.customer.is_some();
    if invoice.body.customer != customer || draft {
        return Err(Problem::new("not_found", format!("there is no invoice {name:?}")));
    }
    view(&caller, invoice).await
}

async fn get(caller: Caller, Path(name): Path<String>) -> Result<Json<InvoiceView>, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    view(&caller, invoice).await
}

async fn explained(caller: Caller, Path(name): Path<String>) -> Result<Json<Vec<String>>, Problem> {
    Ok(Json(explain(&find_invoice(&caller, &name).await?)))
}

async fn void(
    caller: Caller,
    Path(name): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<Json<Invoice>, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    Ok(Json(caller.engine.void_invoice(&invoice.id, &body.reason).await?))
}

async fn reissue(
    axum::extract::State(shared): axum::extract::State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Invoice>, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    Ok(Json(caller.engine.reissue_invoice(&invoice.id, &shared.options.run).await?))
}

async fn write_off(
    caller: Caller,
    Path(name): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<Json<Invoice>, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    Ok(Json(caller.engine.write_off(&invoice.id, &body.reason).await?))
}

async fn bill(
    axum::extract::State(shared): axum::extract::State<Shared>,
    caller: Caller,
    Json(body): Json<BillBody>,
) -> Result<Json<Billed>, Problem> {
    let options = &shared.options.run;
    Ok(Json(match body.subscription {
        Some(subscription) => {
            let invoice = caller.engine.bill_now(&subscription, options).await?;
            Billed::One(Box::new(invoice))
        }
        None => Billed::Thresholds(caller.engine.bill_thresholds(options).await?),
    }))
}

async fn notes(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<CreditNote>>, Problem> {
    let limit = limit(query.limit)?;
    let filter = DocumentFilter { customer: query.customer, subject: None };
    let documents = caller
        .engine
        .store()
        .documents(
            &caller.engine.tenant().id,
            "credit_note",
            &filter,
            query.cursor.as_deref(),
            limit + 1,
        )
        .await?;
    let page = Page::of(documents, limit, |document| document.id.clone());
    let read = |document: counterfoil_store::Document| {
        serde_json::from_value(document.body)
            .map_err(|error| Problem::new("internal", format!("a credit note is damaged: {error}")))
    };
    let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next: page.next }))
}

async fn credit(
    caller: Caller,
    Json(body): Json<CreditBody>,
) -> Result<(StatusCode, Json<CreditNote>), Problem> {
    let invoice = find_invoice(&caller, &body.invoice).await?;
    let scope = match (body.full, body.amount, body.lines.is_empty()) {
        (true, None, true) => CreditScope::Full,
        (false, Some(amount), true) => CreditScope::Amount(amount),
        (false, None, false) => {
            let line = |line: CreditLine| {
                let at = line.line.checked_sub(1);
                let at = at.ok_or_else(|| Problem::new("invalid", "lines are counted from 1"))?;
                Ok((at, line.amount))
            };
            CreditScope::Lines(body.lines.into_iter().map(line).collect::<Result<_, Problem>>()?)
        }
        _ => return Err(Problem::new("invalid", "give one of `full`, `amount` and `lines`")),
    };
    let request = CreditRequest {
        id: body.id.unwrap_or_else(|| caller.new_id("cn")),
        invoice: invoice.id,
        scope,
        reason: body.reason,
        paid_back: if body.refund { PaidBack::Refund } else { PaidBack::Balance },
        corrects: Vec::new(),
    };
    Ok((StatusCode::CREATED, Json(caller.engine.credit(&request).await?)))
}
