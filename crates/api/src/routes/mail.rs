//! Mail of a customer: what it stopped, whether its address bounces, and the page that unsubscribes.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use counterfoil_delivery::mail::{bounce, bounce::Bounce, unsubscribe};
use counterfoil_store::Commit;
use counterfoil_types::{CustomerId, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// How mail to a customer stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct MailView {
    /// Where it goes.
    email: Option<String>,
    /// That mail came back from there; nothing is sent until it is reset, or the address changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bounced: Option<Bounce>,
    /// Kinds that the customer wants no more of.
    unsubscribed: Vec<String>,
}

/// A bounce that was seen elsewhere.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BounceBody {
    /// The address; the customer's when absent.
    address: Option<String>,
    /// What the mail system said.
    reason: String,
}

/// The token of an unsubscribe link.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct TokenQuery {
    /// As the link has it.
    #[serde(default)]
    token: String,
}

const BOUNCE: &str = "/v1/customers/{customer}/mail/bounce";

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Mail");
    routes
        .get("/v1/customers/{customer}/mail", "mail.get", Scope::Read, get)
        .says("How mail to a customer stands")
        .for_customers()
        .answers::<MailView>(200, "Address, bounce, and what the customer stopped");
    routes
        .post(BOUNCE, "mail.bounce", Scope::Finance, bounced)
        .says("Record that mail to a customer came back")
        .explained("For bounces that arrive after the mail server took the mail. Nothing more is sent to the address until it is reset.")
        .body::<BounceBody>()
        .answers::<MailView>(200, "How its mail stands now");
    routes
        .delete(BOUNCE, "mail.reset", Scope::Finance, reset)
        .says("Send mail to a customer's address again")
        .answers::<MailView>(200, "How its mail stands now");
    routes
        .delete(
            "/v1/customers/{customer}/mail/unsubscribed/{kind}",
            "mail.resubscribe",
            Scope::Finance,
            resubscribe,
        )
        .says("Send a customer mails of a kind again")
        .answers::<MailView>(200, "How its mail stands now");
    routes
        .get("/unsubscribe", "unsubscribe.page", Scope::Public, page)
        .says("The page behind the link in a mail: asks, and changes nothing")
        .query::<TokenQuery>()
        .gives(200, "The page", "text/html");
    routes
        .post("/unsubscribe", "unsubscribe", Scope::Public, stop)
        .says("Stop mails of a kind, with one click (RFC 8058)")
        .explained("The token in the link proves who asks. Repeating it changes nothing.")
        .query::<TokenQuery>()
        .takes("application/x-www-form-urlencoded")
        .gives(200, "It is stopped", "text/html");
}

async fn view(caller: &Caller, id: &CustomerId) -> Result<MailView, Problem> {
    let (store, tenant) = (caller.engine.store(), &caller.engine.tenant().id);
    let customer = caller.engine.customer(id).await?;
    Ok(MailView {
        bounced: bounce::of(store, tenant, id)
            .await?
            .filter(|bounce| customer.email.as_ref() == Some(&bounce.address)),
        email: customer.email,
        unsubscribed: unsubscribe::stopped(store, tenant, id).await?,
    })
}

async fn get(caller: Caller, Path(id): Path<CustomerId>) -> Result<Json<MailView>, Problem> {
    Ok(Json(view(&caller, &id).await?))
}

async fn bounced(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<CustomerId>,
    Json(body): Json<BounceBody>,
) -> Result<Json<MailView>, Problem> {
    let customer = caller.engine.customer(&id).await?;
    let address = body.address.or(customer.email);
    let address =
        address.ok_or_else(|| Problem::new("refused", "the customer has no e-mail address"))?;
    let bounce = Bounce::seen(address, shared.clock.now(), None, &body.reason);
    caller.engine.commit(&Commit::of(bounce.kept(&id)?)).await?;
    Ok(Json(view(&caller, &id).await?))
}

async fn reset(caller: Caller, Path(id): Path<CustomerId>) -> Result<Json<MailView>, Problem> {
    caller.engine.customer(&id).await?;
    caller.engine.commit(&Commit::of(bounce::forgotten(&id))).await?;
    Ok(Json(view(&caller, &id).await?))
}

async fn resubscribe(
    caller: Caller,
    Path((id, kind)): Path<(CustomerId, String)>,
) -> Result<Json<MailView>, Problem> {
    caller.engine.customer(&id).await?;
    caller.engine.commit(&Commit::of(unsubscribe::resumed(&id, &kind))).await?;
    Ok(Json(view(&caller, &id).await?))
}

/// Who a token is about; only a token made here says that.
fn read(shared: &Shared, token: &str) -> Result<(TenantId, CustomerId, String), Problem> {
    let how = shared.options.unsubscribe.as_ref();
    how.and_then(|how| how.read(token)).ok_or_else(|| {
        Problem::new("not_found", "this link is not complete; copy all of it from the mail")
    })
}

/// A page for people; `inner` holds no text of others.
fn shown(title: &str, inner: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title></head><body style=\"font-family:sans-serif;max-width:32em;margin:3em auto;padding:0 1em;line-height:1.5\"><h1 style=\"font-size:1.3em\">{title}</h1>{inner}</body></html>"
    );
    let mut response = Html(page).into_response();
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn page(
    State(shared): State<Shared>,
    Query(query): Query<TokenQuery>,
) -> Result<Response, Problem> {
    read(&shared, &query.token)?;
    // Scanners follow links: asking changes nothing. The form goes where this page came from, with
    // the token that stands in its address.
    Ok(shown(
        "Stop these mails?",
        "<p>You will get no more mails of this kind. Invoices and reminders are sent all the same.</p><form method=\"post\"><button name=\"List-Unsubscribe\" value=\"One-Click\" style=\"font-size:1em;padding:.5em 1em\">Stop them</button></form>",
    ))
}

async fn stop(
    State(shared): State<Shared>,
    Query(query): Query<TokenQuery>,
) -> Result<(StatusCode, Response), Problem> {
    let (tenant, customer, kind) = read(&shared, &query.token)?;
    let now = shared.clock.now();
    unsubscribe::stop(shared.store.as_ref(), &tenant, &customer, &kind, now).await?;
    Ok((StatusCode::OK, shown("Stopped", "<p>You will get no more mails of this kind.</p>")))
}
