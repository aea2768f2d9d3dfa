//! The invoices of the scripted Stripe: draft, open, paid, void.

#![cfg(test)]

use serde_json::{Value, json};

use super::{Fields, Outcome, State, check, error, listed, metadata, wrong};

fn place(state: &State, id: &str) -> Result<usize, (u16, Value)> {
    let at = state.invoices.iter().position(|one| one["id"] == id);
    at.ok_or_else(|| (404, error("invalid_request_error", format!("No such invoice: {id}"))))
}

fn in_state(state: &State, at: usize, wanted: &[&str]) -> Result<(), (u16, Value)> {
    let status = state.invoices[at]["status"].as_str().unwrap();
    if wanted.contains(&status) { Ok(()) } else { Err(wrong(format!("the invoice is {status}"))) }
}

pub(super) fn act(
    state: &mut State,
    method: &str,
    parts: &[&str],
    given: &Fields,
    now: i64,
) -> Outcome {
    match (method, parts) {
        ("POST", ["invoices"]) => {
            let may = [
                "currency",
                "auto_advance",
                "pending_invoice_items_behavior",
                "description",
                "metadata[*",
                "collection_method",
                "days_until_due",
            ];
            check(given, &["customer"], &may)?;
            let made = json!({
                "id": format!("in_{}", state.invoices.len()), "object": "invoice",
                "status": "draft", "customer": given["customer"], "currency": given["currency"],
                "metadata": metadata(given), "total": 0, "amount_remaining": 0, "created": now,
            });
            state.invoices.push(made.clone());
            Ok(made)
        }
        ("GET", ["invoices"]) => {
            check(given, &["customer"], &["created[gte]", "limit", "starting_after"])?;
            let since: i64 = given["created[gte]"].parse().unwrap();
            let found = state.invoices.iter().filter(|one| {
                one["customer"] == given["customer"].as_str()
                    && one["created"].as_i64().unwrap() >= since
            });
            Ok(listed(found.rev().cloned().collect(), given))
        }
        ("GET", ["invoices", id]) => Ok(state.invoices[place(state, id)?].clone()),
        ("DELETE", ["invoices", id]) => {
            let at = place(state, id)?;
            in_state(state, at, &["draft"])?;
            state.invoices.remove(at);
            Ok(json!({"id": id, "deleted": true}))
        }
        ("POST", ["invoiceitems"]) => {
            let needed = ["customer", "invoice", "amount", "currency"];
            check(given, &needed, &["description", "metadata[*"])?;
            let at = place(state, &given["invoice"])?;
            in_state(state, at, &["draft"])?;
            let amount: i64 = given["amount"].parse().map_err(|_| wrong("Invalid integer"))?;
            let item = json!({
                "id": format!("ii_{}", state.items.len()), "invoice": given["invoice"],
                "amount": amount, "metadata": metadata(given),
            });
            state.items.push(item.clone());
            let total = state.invoices[at]["total"].as_i64().unwrap() + amount;
            state.invoices[at]["total"] = json!(total);
            Ok(item)
        }
        ("GET", ["invoiceitems"]) => {
            check(given, &["invoice"], &["limit", "starting_after"])?;
            let found =
                state.items.iter().filter(|one| one["invoice"] == given["invoice"].as_str());
            Ok(listed(found.cloned().collect(), given))
        }
        ("POST", ["invoices", id, "finalize"]) => {
            check(given, &[], &["auto_advance"])?;
            let at = place(state, id)?;
            in_state(state, at, &["draft"])?;
            state.invoices[at]["status"] = json!("open");
            state.invoices[at]["amount_remaining"] = state.invoices[at]["total"].clone();
            Ok(state.invoices[at].clone())
        }
        ("POST", ["invoices", id, "void"]) => {
            let at = place(state, id)?;
            in_state(state, at, &["open", "uncollectible"])?;
            state.invoices[at]["status"] = json!("void");
            Ok(state.invoices[at].clone())
        }
        ("POST", ["invoices", id, "pay"]) => {
            check(given, &["paid_out_of_band"], &[])?;
            let at = place(state, id)?;
            in_state(state, at, &["open"])?;
            state.invoices[at]["status"] = json!("paid");
            state.invoices[at]["amount_remaining"] = json!(0);
            Ok(state.invoices[at].clone())
        }
        ("POST", ["credit_notes"]) => {
            check(given, &["invoice", "amount"], &[])?;
            let at = place(state, &given["invoice"])?;
            in_state(state, at, &["open"])?;
            let amount: i64 = given["amount"].parse().unwrap();
            let left = state.invoices[at]["amount_remaining"].as_i64().unwrap() - amount;
            if left < 0 {
                return Err(wrong("the credit is larger than what remains"));
            }
            state.invoices[at]["amount_remaining"] = json!(left);
            let made = json!({"id": format!("cn_{}", state.credit_notes.len()), "amount": amount});
            state.credit_notes.push(made.clone());
            Ok(made)
        }
        _ => Err((404, error("invalid_request_error", "Unrecognized URL"))),
    }
}
