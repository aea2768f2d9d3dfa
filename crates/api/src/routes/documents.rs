//! Documents: invoices, credit notes, receipts and statements as page, paper and EN 16931 XML; the
//! branding they carry and the addresses they go to.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use counterfoil_documents::{Branding, Format, Model, Party};
use counterfoil_engine::Engine;
use counterfoil_types::{CustomerId, Period, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::invoices::find_invoice;
use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// How a document is to be written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct DocumentQuery {
    /// The format; `html` when absent.
    #[serde(default)]
    format: Format,
    /// Add usage by day, as known now.
    #[serde(default)]
    annex: bool,
    /// Add usage by the values of this property, too.
    by: Option<String>,
}

/// How a document of a fixed content is to be written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct FormatQuery {
    /// The format; `html` when absent.
    #[serde(default)]
    format: Format,
}

/// Which statement.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct StatementQuery {
    /// First instant.
    from: Timestamp,
    /// First instant after it.
    to: Timestamp,
    /// The format, `html` or `pdf`; `html` when absent.
    #[serde(default)]
    format: Format,
}

const BRANDING: &str = "/v1/branding";
const DETAILS: &str = "/v1/customers/{customer}/billing-details";
const HOW: &str = "Formats: `html`; `pdf` (PDF/A-3 that carries factur-x.xml where the electronic invoice can be made), where the service was built with it; `xml-cii` and `xml-ubl` (EN 16931). The same invoice and branding give the same bytes.";

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Documents");
    routes
        .get("/v1/invoices/{invoice}/document", "documents.invoice", Scope::Read, invoice)
        .says("An invoice as a document")
        .explained(HOW)
        .query::<DocumentQuery>()
        .gives(200, "The document", "application/octet-stream")
        .may_fail(422, "The format cannot say it, or the service lacks it");
    routes
        .get(
            "/v1/customers/{customer}/invoices/{invoice}/document",
            "documents.invoice_of",
            Scope::Read,
            invoice_of,
        )
        .says("A customer's invoice as a document")
        .explained(HOW)
        .for_customers()
        .query::<DocumentQuery>()
        .gives(200, "The document", "application/octet-stream")
        .may_fail(422, "The format cannot say it, or the service lacks it");
    routes
        .get("/v1/credit-notes/{note}/document", "documents.credit_note", Scope::Read, note)
        .says("A credit note, by id, as a document")
        .explained(HOW)
        .query::<FormatQuery>()
        .gives(200, "The document", "application/octet-stream")
        .may_fail(422, "The format cannot say it, or the service lacks it");
    routes
        .get("/v1/payments/{payment}/receipt", "documents.receipt", Scope::Read, receipt)
        .says("The receipt of a payment, as html or pdf")
        .query::<FormatQuery>()
        .gives(200, "The document", "application/octet-stream")
        .may_fail(422, "The format cannot say it, or the service lacks it");
    routes
        .get("/v1/customers/{customer}/statement", "documents.statement", Scope::Read, statement)
        .says("A customer's statement of account, as html or pdf")
        .explained("What it owed before, and all that moved its accounts since.")
        .for_customers()
        .query::<StatementQuery>()
        .gives(200, "The document", "application/octet-stream")
        .may_fail(422, "The format cannot say it, or the service lacks it");
    routes
        .get(BRANDING, "branding.get", Scope::Read, branding)
        .says("Who issues documents, and how they look")
        .answers::<Branding>(200, "The branding");
    routes
        .put(BRANDING, "branding.put", Scope::Admin, set_branding)
        .says("Replace the branding of documents")
        .body::<Branding>()
        .answers::<Branding>(200, "The branding as it is now");
    routes
        .get(DETAILS, "billing_details.get", Scope::Read, details)
        .says("Address and numbers of a customer for its documents")
        .for_customers()
        .answers::<Party>(200, "What is known");
    routes
        .put(DETAILS, "billing_details.put", Scope::Finance, set_details)
        .says("Replace address and numbers of a customer")
        .body::<Party>()
        .answers::<Party>(200, "What is known now");
}

/// Writes a document. Paper takes milliseconds of a processor: not where requests wait.
async fn write(
    shared: &Shared,
    engine: &Engine,
    model: Model,
    format: Format,
) -> Result<Response, Problem> {
    let branding = engine.branding().await?;
    let renderer = shared.options.documents.clone();
    let made = tokio::task::spawn_blocking(move || renderer.render(&model, &branding, format))
        .await
        .map_err(|_| Problem::new("internal", "the document was not made"))?
        .map_err(|error| Problem::new("refused", error.to_string()))?;
    let kind = if matches!(format, Format::Html | Format::Pdf) { "inline" } else { "attachment" };
    let mut response = made.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(made.media_type));
    // The name holds letters, digits and three marks only.
    if let Ok(value) = HeaderValue::from_str(&format!("{kind}; filename=\"{}\"", made.name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn written(
    shared: &Shared,
    caller: &Caller,
    invoice: counterfoil_invoicing::Invoice,
    query: DocumentQuery,
) -> Result<Response, Problem> {
    let engine = &caller.engine;
    let mut model = engine.invoice_document(&invoice).await?;
    if query.annex || query.by.is_some() {
        model.annex = engine.usage_annex(&invoice, query.by.as_deref()).await?;
    }
    write(shared, engine, model, query.format).await
}

async fn invoice(
    State(shared): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<DocumentQuery>,
) -> Result<Response, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    written(&shared, &caller, invoice, query).await
}

async fn invoice_of(
    State(shared): State<Shared>,
    caller: Caller,
    Path((customer, name)): Path<(CustomerId, String)>,
    Query(query): Query<DocumentQuery>,
) -> Result<Response, Problem> {
    let invoice = find_invoice(&caller, &name).await?;
    if !Engine::is_shown_to(&invoice, &customer) {
        return Err(Problem::new("not_found", format!("there is no invoice {name:?}")));
    }
    written(&shared, &caller, invoice, query).await
}

async fn note(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<FormatQuery>,
) -> Result<Response, Problem> {
    let model = caller.engine.credit_note_document(&id).await?;
    write(&shared, &caller.engine, model, query.format).await
}

async fn receipt(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<FormatQuery>,
) -> Result<Response, Problem> {
    let model = caller.engine.receipt_document(&id).await?;
    write(&shared, &caller.engine, model, query.format).await
}

async fn statement(
    State(shared): State<Shared>,
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    if query.from >= query.to {
        return Err(Problem::new("bad_parameter", "`from` must be before `to`"));
    }
    let period = Period::new(query.from, query.to);
    let model = caller.engine.statement_document(&customer, period).await?;
    write(&shared, &caller.engine, model, query.format).await
}

async fn branding(caller: Caller) -> Result<Json<Branding>, Problem> {
    Ok(Json(caller.engine.branding().await?))
}

async fn set_branding(
    caller: Caller,
    Json(body): Json<Branding>,
) -> Result<Json<Branding>, Problem> {
    caller.engine.set_branding(&body).await?;
    Ok(Json(body))
}

async fn details(caller: Caller, Path(id): Path<CustomerId>) -> Result<Json<Party>, Problem> {
    caller.engine.customer(&id).await?;
    Ok(Json(caller.engine.billing_details(&id).await?))
}

async fn set_details(
    caller: Caller,
    Path(id): Path<CustomerId>,
    Json(body): Json<Party>,
) -> Result<Json<Party>, Problem> {
    caller.engine.set_billing_details(&id, &body).await?;
    Ok(Json(body))
}
