//! What Stripe tells us. The signature proves who asks; which tenant is meant is configured. Every
//! message may come again, and in any order: what it changes has a key made of what it is about.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use counterfoil_engine::{Engine, EngineError};
use counterfoil_store::{Commit, stripe::money};
use counterfoil_stripe::webhook::{self, Message, News, SignatureError};
use counterfoil_types::InvoiceId;

use crate::{guard::read_body, operation::Routes, problem::Problem, scope::Scope, service::Shared};

const SIGNATURE: &str = "stripe-signature";

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Stripe");
    routes
        .post("/stripe/webhook", "stripe.webhook", Scope::Public, receive)
        .says("Events from Stripe")
        .explained("The endpoint to name at Stripe. A message is taken when its `Stripe-Signature` is not older than five minutes and made with a configured signing secret. Payments, failed attempts, voids, refunds and disputes of invoices that were pushed change ours; all else is acknowledged.")
        .takes("application/json")
        .done("Taken")
        .may_fail(401, "It is not signed by Stripe, or too long ago");
}

async fn receive(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let secrets = &shared.options.stripe_secrets;
    if secrets.is_empty() {
        return Err(Problem::new("not_found", "no signing secret of Stripe is configured"));
    }
    let body = read_body(&shared, body, shared.options.max_body).await?;
    let header = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let secrets = secrets.iter().map(String::as_str);
    webhook::verify(secrets, header, &body, shared.clock.now())
        .map_err(|error: SignatureError| Problem::new("unauthenticated", error.to_string()))?;
    let tenant = &shared.options.home;
    let message =
        webhook::read(&body, tenant.as_str()).map_err(|why| Problem::new("malformed", why))?;
    let engine = shared.engine(tenant).await?;
    match apply(&engine, &message).await {
        // An invoice that is not in this store, after a restore, say: asking again does not help.
        Err(EngineError::NotFound { what, name, .. }) => {
            tracing::warn!(what, name, event = message.id, "Stripe tells of something unknown");
        }
        outcome => outcome?,
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn apply(engine: &Engine, message: &Message) -> Result<(), EngineError> {
    match &message.news {
        News::Paid(paid) => engine.paid_at_stripe(paid).await,
        News::Collected { theirs, payment, amount, charges } => {
            engine.collected_at_stripe(theirs, payment, *amount, charges).await
        }
        News::Refunded(refunds) => {
            for back in refunds {
                engine.given_back_at_stripe(back).await?;
            }
            Ok(())
        }
        News::RefundFailed { id } => match engine.refund_failed_at_stripe(id).await? {
            Some(invoice) => {
                let why = format!("refund {id} came back, and is booked here");
                differs(engine, message, &invoice, &why).await
            }
            None => Ok(()),
        },
        News::Failed { invoice, attempts } => {
            let about = serde_json::json!({"attempts": attempts.to_string()});
            tell(engine, message, "invoice.payment_failed", Some(invoice), about).await
        }
        News::Voided { invoice } => match engine.void_invoice(invoice, "voided at Stripe").await {
            Err(EngineError::Refused(why)) => differs(engine, message, invoice, &why).await,
            outcome => outcome.map(|_| ()),
        },
        News::Uncollectible { invoice } => {
            match engine.write_off(invoice, "given up at Stripe").await {
                Err(EngineError::Refused(why)) => differs(engine, message, invoice, &why).await,
                outcome => outcome.map(|_| ()),
            }
        }
        News::Disputed { charges, status, reason, lost } => {
            let invoice = money::paid_by(engine.store(), &engine.tenant().id, charges).await?;
            let about = serde_json::json!({
                "charges": charges, "status": status, "reason": reason, "event": message.kind,
            });
            tell(engine, message, "invoice.disputed", invoice.as_ref(), about).await?;
            match lost {
                Some(back) => engine.given_back_at_stripe(back).await,
                None => Ok(()),
            }
        }
        News::Nothing => Ok(()),
    }
}

/// Something was done at Stripe that cannot be done here: somebody has to look.
async fn differs(
    engine: &Engine,
    message: &Message,
    invoice: &InvoiceId,
    why: &str,
) -> Result<(), EngineError> {
    let about = serde_json::json!({"event": message.kind, "why": why});
    tell(engine, message, "invoice.differs", Some(invoice), about).await
}

/// Writes down what happened, and tells of it, once for each event of Stripe.
async fn tell(
    engine: &Engine,
    message: &Message,
    kind: &str,
    invoice: Option<&InvoiceId>,
    mut about: serde_json::Value,
) -> Result<(), EngineError> {
    if let (Some(id), Some(fields)) = (invoice, about.as_object_mut()) {
        let number = engine.invoice(id).await?.number;
        fields.insert("invoice".to_owned(), id.to_string().into());
        fields.insert("number".to_owned(), number.into());
    }
    let commit = Commit::default().told(kind, format!("{kind}/{}", message.id), message.at, about);
    Ok(engine.commit(&commit).await?)
}
