//! What Stripe tells us: its signature, and what it means for an invoice of ours. Of an event only a
//! few fields are read, so that no version of the API is a stranger.

use counterfoil_types::{InvoiceId, Money, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use thiserror::Error;

use crate::invoices::{INVOICE, TENANT, from_units};

/// Front of the ids of payments that Stripe told of.
pub const PAYMENT: &str = "stripe/";
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
    Paid {
        /// Ours.
        invoice: InvoiceId,
        /// Id of the payment: the same for every message about it.
        payment: String,
        /// How much came in.
        amount: Money,
        /// When.
        at: Timestamp,
        /// Charge and payment intent, by which a dispute names it.
        charges: Vec<String>,
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
    ["charge", "payment_intent"]
        .into_iter()
        .filter_map(|name| match object.get(name) {
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

fn meaning(kind: &str, object: &Value, tenant: &str, at: Timestamp) -> Result<News, String> {
    if kind.starts_with("charge.dispute.") {
        return Ok(News::Disputed {
            charges: charges(object),
            status: text(object, "status").unwrap_or("unknown").to_owned(),
            reason: text(object, "reason").unwrap_or("unknown").to_owned(),
        });
    }
    let metadata = |name| object.get("metadata").and_then(|of| text(of, name));
    let ours = metadata(INVOICE).and_then(|id| id.parse().ok());
    let Some(invoice) = ours.filter(|_| metadata(TENANT) == Some(tenant)) else {
        return Ok(News::Nothing);
    };
    Ok(match kind {
        "invoice.paid" | "invoice.payment_succeeded" => {
            // Somebody wrote it down here first, and told Stripe.
            let elsewhere = object.get("paid_out_of_band").and_then(Value::as_bool);
            let paid = object.get("amount_paid").and_then(Value::as_i64).unwrap_or(0);
            if elsewhere == Some(true) || paid <= 0 {
                return Ok(News::Nothing);
            }
            let theirs = text(object, "id").ok_or("the invoice has no id")?;
            let currency = text(object, "currency").unwrap_or_default().to_ascii_uppercase();
            let currency = currency.parse().map_err(|_| format!("currency {currency:?}"))?;
            let amount = from_units(paid, currency).map_err(|error| error.to_string())?;
            let when = object.get("status_transitions").and_then(|of| of.get("paid_at"));
            News::Paid {
                invoice,
                payment: format!("{PAYMENT}{theirs}"),
                amount,
                at: instant(when).unwrap_or(at),
                charges: charges(object),
            }
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
