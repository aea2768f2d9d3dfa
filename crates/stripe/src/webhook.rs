//! What Stripe tells us: its signature, and what it means for an invoice of ours. Of an event only a
//! few fields are read, so that no version of the API is a stranger.

use counterfoil_store::stripe::money::{Back, PaidThere};
use counterfoil_types::{InvoiceId, Money, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use thiserror::Error;

use crate::invoices::{INVOICE, TENANT, from_units};

/// Front of the ids of payments that Stripe told of.
pub const PAYMENT: &str = counterfoil_store::stripe::money::FRONT;
/// How far the time of a signature may be off, in seconds.
pub const TOLERANCE: i64 = 300;

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The header is missing or is none of Stripe's.
    #[error("the Stripe-Signature header is missing or malformed")]
    Malformed,
    /// Too old, or from the future.
    #[error("the signature is not of these five minutes")]
    Time,
    /// Signed with none of our secrets.
    #[error("the signature is not that of this message; is the signing secret right?")]
    Wrong,
}

/// Checks a message against `Stripe-Signature`: signed with one of `secrets`, within five minutes of
/// `now`. Several secrets are those of a rotation.
///
/// # Errors
/// [`SignatureError`].
pub fn verify<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    header: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let mut time: Option<&str> = None;
    let mut signatures: Vec<Vec<u8>> = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => time = Some(value),
            // Versions that are not known are passed over, malformed ones sign nothing.
            Some(("v1", value)) => signatures.extend(hex::decode(value).ok()),
            _ => {}
        }
    }
    let time = time.ok_or(SignatureError::Malformed)?;
    let seconds: i64 = time.parse().map_err(|_| SignatureError::Malformed)?;
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let mut right = false;
    for secret in secrets {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        let mut mac = mac.map_err(|_| SignatureError::Wrong)?;
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        // In constant time.
        right |= signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
    }
    if !right {
        return Err(SignatureError::Wrong);
    }
    let off = now.micros().div_euclid(1_000_000).abs_diff(seconds);
    if off > TOLERANCE.unsigned_abs() { Err(SignatureError::Time) } else { Ok(()) }
}

/// What a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An invoice of ours was paid.
    Paid(PaidThere),
    /// Stripe collected something of an invoice itself; whose it is stands elsewhere.
    Collected {
        /// The invoice there.
        theirs: String,
        /// Its payment there.
        payment: String,
        /// How much.
        amount: Money,
        /// Charge and payment intent.
        charges: Vec<String>,
    },
    /// Refunds that were made.
    Refunded(Vec<Back>),
    /// A refund that came back.
    RefundFailed {
        /// Its id.
        id: String,
    },
    /// Collecting failed.
    Failed {
        /// Ours.
        invoice: InvoiceId,
        /// How often it was tried.
        attempts: i64,
    },
    /// It was voided at Stripe.
    Voided {
        /// Ours.
        invoice: InvoiceId,
    },
    /// It was given up at Stripe.
    Uncollectible {
        /// Ours.
        invoice: InvoiceId,
    },
    /// A charge is disputed.
    Disputed {
        /// Charge and payment intent.
        charges: Vec<String>,
        /// How the dispute stands.
        status: String,
        /// Why.
        reason: String,
        /// What went back for good, where it is lost.
        lost: Option<Back>,
    },
    /// Nothing of ours.
    Nothing,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// What it means.
    pub news: News,
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn instant(value: Option<&Value>) -> Option<Timestamp> {
    let seconds = value.and_then(Value::as_i64)?;
    Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?))
}

fn charges(object: &Value) -> Vec<String> {
    ids(object, &["charge", "payment_intent"])
}

fn ids(object: &Value, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| match object.get(*name) {
            Some(Value::String(id)) => Some(id.clone()),
            // Expanded.
            Some(other) => text(other, "id").map(str::to_owned),
            None => None,
        })
        .collect()
}

/// Reads a message that was verified; about another tenant's invoices it says nothing.
///
/// # Errors
/// In words, when it is none of Stripe's events.
pub fn read(body: &[u8], tenant: &str) -> Result<Message, String> {
    let event: Value =
        serde_json::from_slice(body).map_err(|error| format!("the event is no JSON: {error}"))?;
    let field = |name: &str| text(&event, name).ok_or_else(|| format!("the event has no {name}"));
    let (id, kind) = (field("id")?.to_owned(), field("type")?.to_owned());
    let at = instant(event.get("created")).ok_or("the event has no time")?;
    let nothing = Value::Null;
    let object = event.get("data").and_then(|data| data.get("object")).unwrap_or(&nothing);
    let news = meaning(&kind, object, tenant, at)?;
    Ok(Message { id, kind, at, news })
}

/// An amount of an object, in the unit of its currency.
fn amount(object: &Value, units: i64) -> Result<Money, String> {
    let currency = text(object, "currency").unwrap_or_default().to_ascii_uppercase();
    let currency = currency.parse().map_err(|_| format!("currency {currency:?}"))?;
    from_units(units, currency).map_err(|error| error.to_string())
}

fn units(object: &Value, name: &str) -> Option<i64> {
    object.get(name).and_then(Value::as_i64)
}

/// A refund or a dispute as what went back.
fn back(object: &Value, at: Timestamp, reason: String, more: Vec<String>) -> Result<Back, String> {
    let id = text(object, "id").ok_or("it has no id")?.to_owned();
    let amount = amount(object, units(object, "amount").ok_or("it has no amount")?)?;
    let mut charges = charges(object);
    charges.extend(more);
    let at = instant(object.get("created")).unwrap_or(at);
    Ok(Back { id, amount, at, charges, reason })
}

/// What of an invoice Stripe collected itself; `None` where the message does not say.
fn collected(object: &Value, paid: i64) -> Option<i64> {
    let elsewhere = object.get("paid_out_of_band").and_then(Value::as_bool);
    if elsewhere == Some(true) {
        return Some(0);
    }
    let listed = object
        .get("payments")
        .filter(|of| of.get("has_more").and_then(Value::as_bool) != Some(true));
    let listed = listed.and_then(|of| of.get("data")).and_then(Value::as_array);
    let listed = listed.filter(|all| !all.is_empty());
    let listed = listed.map(|all| all.iter().filter_map(own_payment).map(|(sum, _)| sum).sum());
    let off = units(object, "amount_paid_off_stripe").map(|off| paid - off);
    // Fields that newer versions do not have.
    let old = (elsewhere == Some(false) || !charges(object).is_empty()).then_some(paid);
    let known = [listed, off, old].into_iter().flatten().min();
    known.map(|known: i64| known.clamp(0, paid))
}

/// Amount and charges of an invoice's payment that Stripe collected itself.
fn own_payment(one: &Value) -> Option<(i64, Vec<String>)> {
    let how = one.get("payment")?;
    let own = matches!(text(how, "type"), Some("payment_intent" | "charge"));
    let paid = own && text(one, "status") == Some("paid");
    Some((units(one, "amount_paid").filter(|_| paid)?, charges(how)))
}

fn meaning(kind: &str, object: &Value, tenant: &str, at: Timestamp) -> Result<News, String> {
    if kind.starts_with("charge.dispute.") {
        let status = text(object, "status").unwrap_or("unknown").to_owned();
        let reason = text(object, "reason").unwrap_or("unknown").to_owned();
        let lost = (status == "lost").then(|| {
            back(object, at, format!("dispute lost ({reason})"), ids(object, &["invoice"]))
        });
        let lost = lost.transpose()?;
        return Ok(News::Disputed { charges: charges(object), status, reason, lost });
    }
    match kind {
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            return refunded([object], at, &[]);
        }
        "charge.refunded" => {
            let all = object.get("refunds").and_then(|of| of.get("data")).and_then(Value::as_array);
            let more = ids(object, &["id", "payment_intent", "invoice"]);
            return refunded(all.into_iter().flatten(), at, &more);
        }
        "invoice_payment.paid" => {
            let Some((paid, charges)) = own_payment(object) else { return Ok(News::Nothing) };
            let theirs = ids(object, &["invoice"]).pop().ok_or("the payment has no invoice")?;
            let payment = text(object, "id").ok_or("the payment has no id")?.to_owned();
            return Ok(News::Collected { theirs, payment, amount: amount(object, paid)?, charges });
        }
        _ => {}
    }
    let metadata = |name| object.get("metadata").and_then(|of| text(of, name));
    let ours = metadata(INVOICE).and_then(|id| id.parse().ok());
    let Some(invoice) = ours.filter(|_| metadata(TENANT) == Some(tenant)) else {
        return Ok(News::Nothing);
    };
    Ok(match kind {
        "invoice.paid" | "invoice.payment_succeeded" => {
            let paid = units(object, "amount_paid").unwrap_or(0);
            let own = collected(object, paid);
            // Somebody wrote it down here first, and told Stripe.
            if paid <= 0 || own == Some(0) {
                return Ok(News::Nothing);
            }
            let theirs = text(object, "id").ok_or("the invoice has no id")?.to_owned();
            let when = object.get("status_transitions").and_then(|of| of.get("paid_at"));
            let listed = object.get("payments").and_then(|of| of.get("data"));
            let listed = listed.and_then(Value::as_array).into_iter().flatten();
            let mut charges = charges(object);
            charges.extend(listed.filter_map(own_payment).flat_map(|(_, charges)| charges));
            News::Paid(PaidThere {
                invoice,
                theirs,
                claimed: amount(object, paid)?,
                collected: own.map(|own| amount(object, own)).transpose()?,
                at: instant(when).unwrap_or(at),
                charges,
            })
        }
        "invoice.payment_failed" => News::Failed {
            invoice,
            attempts: object.get("attempt_count").and_then(Value::as_i64).unwrap_or(0),
        },
        "invoice.voided" => News::Voided { invoice },
        "invoice.marked_uncollectible" => News::Uncollectible { invoice },
        _ => News::Nothing,
    })
}

/// Refunds that were made; one that failed stands alone in its message.
fn refunded<'a>(
    all: impl IntoIterator<Item = &'a Value>,
    at: Timestamp,
    more: &[String],
) -> Result<News, String> {
    let mut made = Vec::new();
    for one in all {
        match text(one, "status") {
            // Before versions that have a status there was no other.
            Some("succeeded") | None => {
                made.push(back(one, at, "refunded at Stripe".to_owned(), more.to_vec())?);
            }
            Some("failed" | "canceled") if more.is_empty() => {
                let id = text(one, "id").ok_or("the refund has no id")?.to_owned();
                return Ok(News::RefundFailed { id });
            }
            Some(_) => {}
        }
    }
    Ok(News::Refunded(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &str, time: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    #[test]
    fn only_what_stripe_signed_within_five_minutes_is_taken() {
        let (body, now) =
            (b"{\"id\":\"evt_1\"}".as_slice(), Timestamp::from_micros(1_000_000_000_000));
        let (old, new) =
            (signed("whsec_old", "1000000", body), signed("whsec_new", "1000000", body));
        let header = format!("t=1000000,v1={old},v0=00,v1={new}");
        let both = ["whsec_new", "whsec_old"];
        assert_eq!(verify(both, &header, body, now), Ok(()));
        assert_eq!(verify(["whsec_old"], &header, body, now), Ok(()));
        assert_eq!(verify(["whsec_new"], &header, body, now), Ok(()));
        assert_eq!(verify(["whsec_other"], &header, body, now), Err(SignatureError::Wrong));
        assert_eq!(verify([], &header, body, now), Err(SignatureError::Wrong));
        assert_eq!(verify(both, &header, b"{}", now), Err(SignatureError::Wrong));
        for (seconds, expected) in [
            (300, Ok(())),
            (301, Err(SignatureError::Time)),
            (-300, Ok(())),
            (-301, Err(SignatureError::Time)),
        ] {
            let now = now.plus_micros(seconds * 1_000_000);
            assert_eq!(verify(both, &header, body, now), expected, "{seconds}");
        }
        // The time is signed, too.
        let later = format!("t=1000400,v1={old}");
        let then = now.plus_micros(400_000_000);
        assert_eq!(verify(both, &later, body, then), Err(SignatureError::Wrong));
        for header in ["", "t=1000000", "v1=00", "t=x,v1=00", "t=1000000,v1=zz"] {
            let found = verify(both, header, body, now);
            assert_eq!(found, Err(SignatureError::Malformed), "{header:?}");
        }
    }
}
