//! Payments, refunds, balances and dunning.

use axum::http::StatusCode;
use counterfoil_engine::{
    overdue::Dunned,
    payments::{Applied, Payment},
};
use counterfoil_invoicing::dunning::DunningStep;
use counterfoil_store::{Account, AccountFilter, DocumentFilter};
use counterfoil_types::{CustomerId, Money, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invoices::find_invoice;
use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, limit},
    problem::Problem,
    scope::Scope,
};

/// A payment that came in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentBody {
    /// Its id, for example that of the bank's entry; derived from the idempotency key when absent.
    id: Option<String>,
    /// Who paid.
    customer: CustomerId,
    /// How much.
    amount: Money,
    /// The invoices it is for, by id or number; the oldest open ones when empty.
    #[serde(default)]
    invoices: Vec<String>,
    /// How it came, in words.
    method: Option<String>,
    /// When it was received; now when absent.
    received_at: Option<Timestamp>,
}

/// What a payment did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PaymentAnswer {
    /// The payment.
    payment: Payment,
    /// What it went to.
    applied: Applied,
}

/// A refund of what a customer has in credit.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundBody {
    /// Its id; derived from the idempotency key when absent.
    id: Option<String>,
    /// Who gets it.
    customer: CustomerId,
    /// How much.
    amount: Money,
}

/// Which payments to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer: Option<CustomerId>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// The steps taken towards customers that are late.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steps {
    /// In order of their day.
    steps: Vec<DunningStep>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Payments");
    routes
        .get("/v1/payments", "payments.list", Scope::Read, list)
        .says("List payments")
        .query::<ListQuery>()
        .answers::<Page<Payment>>(200, "A page of payments");
    routes
        .post("/v1/payments", "payments.record", Scope::Finance, record)
        .says("Record a payment")
        .body::<PaymentBody>()
        .answers::<PaymentAnswer>(201, "What it went to");
    routes
        .post("/v1/refunds", "payments.refund", Scope::Finance, refund)
        .says("Pay out what a customer has in credit")
        .body::<RefundBody>()
        .done("It is recorded");
    routes
        .get("/v1/customers/{customer}/accounts", "accounts.list", Scope::Read, accounts)
        .says("A customer's accounts: open on invoices, in credit, granted")
        .for_customers()
        .answers::<Page<Account>>(200, "Those with something on them");
    routes
        .get("/v1/dunning/steps", "dunning.steps", Scope::Read, steps)
        .says("The steps taken towards customers that are late")
        .answers::<Steps>(200, "The steps");
    routes
        .put("/v1/dunning/steps", "dunning.set_steps", Scope::Finance, set_steps)
        .says("Replace the dunning steps")
        .body::<Steps>()
        .answers::<Steps>(200, "The steps as they are now");
    routes
        .post("/v1/dunning/run", "dunning.run", Scope::Finance, dun)
        .says("Mark what is overdue and take the dunning steps that are due")
        .answers::<Dunned>(200, "What was done");
}

async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Payment>>, Problem> {
    let limit = limit(query.limit)?;
    let filter = DocumentFilter { customer: query.customer, subject: None };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let documents =
        store.documents(tenant, "payment", &filter, query.cursor.as_deref(), limit + 1).await?;
    let page = Page::of(documents, limit, |document| document.id.clone());
    let mut items = Vec::with_capacity(page.items.len());
    for document in page.items {
        // What a payment did is kept beside what it said.
        let said = document.body.get("payment").cloned().unwrap_or(document.body);
        let payment = serde_json::from_value(said)
            .map_err(|error| Problem::new("internal", format!("a payment is damaged: {error}")))?;
        items.push(payment);
    }
    Ok(Json(Page { items, next: page.next }))
}

async fn record(
    caller: Caller,
    Json(body): Json<PaymentBody>,
) -> Result<(StatusCode, Json<PaymentAnswer>), Problem> {
    let mut invoices = Vec::with_capacity(body.invoices.len());
    for name in &body.invoices {
        invoices.push(find_invoice(&caller, name).await?.id);
    }
    let id = body.id.unwrap_or_else(|| caller.new_id("pay"));
    let engine = &caller.engine;
    // Recorded again without a time, it is the one that is stored.
    let known = engine.store().document(&engine.tenant().id, "payment", &id).await?;
    let received_at = body.received_at.unwrap_or_else(|| {
        let stored = known.as_ref().and_then(|known| {
            let said = known.body.get("payment").unwrap_or(&known.body);
            serde_json::from_value(said.get("received_at")?.clone()).ok()
        });
        stored.unwrap_or_else(|| engine.now_of(&body.customer))
    });
    let payment = Payment {
        id,
        customer: body.customer,
        amount: body.amount,
        invoices,
        method: body.method,
        received_at,
    };
    let applied = engine.record_payment(&payment).await?;
    Ok((StatusCode::CREATED, Json(PaymentAnswer { payment, applied })))
}

async fn refund(caller: Caller, Json(body): Json<RefundBody>) -> Result<StatusCode, Problem> {
    let id = body.id.unwrap_or_else(|| caller.new_id("ref"));
    caller.engine.refund_balance(&id, &body.customer, body.amount).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn accounts(
    caller: Caller,
    Path(customer): Path<CustomerId>,
) -> Result<Json<Page<Account>>, Problem> {
    caller.engine.customer(&customer).await?;
    let filter = AccountFilter { prefix: String::new(), customer: Some(customer), open: true };
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    Ok(Json(Page::whole(store.accounts(tenant, &filter, None, 10_000).await?)))
}

async fn steps(caller: Caller) -> Result<Json<Steps>, Problem> {
    Ok(Json(Steps { steps: caller.engine.dunning_steps().await? }))
}

async fn set_steps(caller: Caller, Json(body): Json<Steps>) -> Result<Json<Steps>, Problem> {
    caller.engine.set_dunning_steps(&body.steps).await?;
    steps(caller).await
}

async fn dun(caller: Caller) -> Result<Json<Dunned>, Problem> {
    Ok(Json(caller.engine.dun().await?))
}
