//! A scripted Stripe. It is strict where it matters here: paths, methods and fields are those of the
//! published API, a key is answered alike for a day and refused with another body, usage is bounded
//! in time, identifiers count once within a day, an invoice goes from draft to open to paid or void.

#![cfg(test)]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use counterfoil_types::{Clock, Exact, FixedClock};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::proxy::message;

pub(crate) const KEY: &str = "sk_test_scripted";
const DAY: i64 = 86_400;

type Fields = BTreeMap<String, String>;

/// An answer instead of the usual one.
#[derive(Clone, Debug)]
pub(crate) struct Instead {
    /// End of the path it is for.
    pub(crate) path: &'static str,
    pub(crate) status: u16,
    /// More headers, each with its line end.
    pub(crate) headers: &'static str,
    /// Whether what was asked is done all the same.
    pub(crate) persisted: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) fields: Fields,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) customer: String,
    pub(crate) value: Exact,
    pub(crate) time: i64,
}

#[derive(Default)]
pub(crate) struct State {
    keys: HashMap<String, (i64, String, u16, String)>,
    identifiers: HashMap<String, i64>,
    pub(crate) instead: VecDeque<Instead>,
    pub(crate) requests: Vec<Request>,
    pub(crate) events: Vec<Event>,
    /// By item and second.
    pub(crate) records: BTreeMap<(String, i64), Exact>,
    pub(crate) meters: Vec<Value>,
    pub(crate) customers: Vec<Value>,
    pub(crate) invoices: Vec<Value>,
    pub(crate) items: Vec<Value>,
    pub(crate) credit_notes: Vec<Value>,
}

/// The server; it stops with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) async fn start(clock: Arc<FixedClock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let kept = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, clock) = (kept.clone(), clock.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &kept, &clock).await;
                });
            }
        });
        Self { address, state }
    }

    /// What a customer is billed for by events of a name.
    pub(crate) fn used(&self, customer: &str, name: &str) -> Exact {
        let state = self.state.lock().unwrap();
        let of = state.events.iter().filter(|e| e.customer == customer && e.name == name);
        of.map(|event| &event.value).sum()
    }

    pub(crate) fn instead(&self, instead: Instead) {
        self.state.lock().unwrap().instead.push_back(instead);
    }

    pub(crate) fn posts(&self, path: &str) -> Vec<Request> {
        let state = self.state.lock().unwrap();
        let of = state.requests.iter().filter(|r| r.method == "POST" && r.path == path);
        of.cloned().collect()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, more) = rest.split_at(2);
                rest = more;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn fields(text: &str) -> Fields {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (decoded(name), decoded(value))
        })
        .collect()
}

async fn serve(
    mut stream: TcpStream,
    state: &Mutex<State>,
    clock: &FixedClock,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    while let Some((head, body)) = message(&mut stream, &mut read).await? {
        let now = clock.now().micros().div_euclid(1_000_000);
        let (status, more, text) = answer(state, &head, &String::from_utf8(body).unwrap(), now);
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

fn error(kind: &str, message: impl Into<String>) -> Value {
    json!({"error": {"type": kind, "message": message.into()}})
}

type Outcome = Result<Value, (u16, Value)>;

fn wrong(message: impl Into<String>) -> (u16, Value) {
    (400, error("invalid_request_error", message))
}

fn answer(state: &Mutex<State>, head: &str, body: &str, now: i64) -> (u16, String, String) {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let given = fields(if method == "POST" { body } else { query });
    let key = headers.get("idempotency-key").cloned();
    let mut state = state.lock().unwrap();
    state.requests.push(Request {
        method: method.clone(),
        path: path.to_owned(),
        key: key.clone(),
        fields: given.clone(),
    });
    let told = |outcome: Outcome| match outcome {
        Ok(value) => (200, value.to_string()),
        Err((status, value)) => (status, value.to_string()),
    };
    if headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {KEY}")) {
        let (status, text) = told(Err((401, error("invalid_request_error", "Invalid API Key"))));
        return (status, String::new(), text);
    }
    let legacy = path.contains("/usage_record");
    let version = headers.get("stripe-version").cloned().unwrap_or_default();
    if legacy != (version.as_str() < "2025-03-31") || version.is_empty() {
        let (status, text) = told(Err((404, error("invalid_request_error", "Unrecognized URL"))));
        return (status, String::new(), text);
    }
    let instead = state.instead.front().is_some_and(|instead| path.ends_with(instead.path));
    let instead = if instead { state.instead.pop_front() } else { None };
    if let Some(instead) = instead.as_ref().filter(|instead| !instead.persisted) {
        return (instead.status, instead.headers.to_owned(), error("api_error", "no").to_string());
    }
    let whole = format!("{method} {path} {body}");
    let known = key.as_ref().and_then(|key| state.keys.get(key)).cloned();
    let (status, text) = match known.filter(|(at, ..)| now - at < DAY) {
        Some((_, same, status, text)) if same == whole => (status, text),
        Some(_) => told(Err((
            400,
            error("idempotency_error", "Keys can only be used with the same parameters"),
        ))),
        None => {
            let outcome = act(&mut state, &method, path, &given, now);
            let (status, text) = told(outcome);
            if let Some(key) = key.filter(|_| method == "POST") {
                state.keys.insert(key, (now, whole, status, text.clone()));
            } else if method == "POST" {
                return (400, String::new(), error("test", "no idempotency key").to_string());
            }
            (status, text)
        }
    };
    match instead {
        Some(instead) => {
            (instead.status, instead.headers.to_owned(), error("api_error", "lost").to_string())
        }
        None => (status, String::new(), text),
    }
}

/// Fields that are needed, then those that may be there.
fn check(given: &Fields, needed: &[&str], may: &[&str]) -> Result<(), (u16, Value)> {
    for name in needed {
        if !given.contains_key(*name) {
            return Err(wrong(format!("Missing required param: {name}")));
        }
    }
    for name in given.keys() {
        let known = needed.contains(&name.as_str())
            || may.iter().any(|may| {
                may == name || may.strip_suffix('*').is_some_and(|front| name.starts_with(front))
            });
        if !known {
            return Err(wrong(format!("Received unknown parameter: {name}")));
        }
    }
    Ok(())
}

fn metadata(given: &Fields) -> Value {
    let pairs = given.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((name.to_owned(), Value::from(value.clone())))
    });
    Value::Object(pairs.collect())
}

fn listed(found: Vec<Value>, given: &Fields) -> Value {
    let limit: usize = given.get("limit").map_or(10, |limit| limit.parse().unwrap());
    let from = given
        .get("starting_after")
        .map_or(0, |after| 1 + found.iter().position(|one| one["id"] == after.as_str()).unwrap());
    let more = found.len() > from + limit;
    let data: Vec<Value> = found.into_iter().skip(from).take(limit).collect();
    json!({"object": "list", "data": data, "has_more": more})
}

fn act(state: &mut State, method: &str, path: &str, given: &Fields, now: i64) -> Outcome {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("POST", ["v1", "billing", "meter_events"]) => meter_event(state, given, now),
        ("GET", ["v1", "billing", "meters", meter, "event_summaries"]) => {
            summaries(state, meter, given)
        }
        ("GET", ["v1", "billing", "meters"]) => Ok(listed(state.meters.clone(), given)),
        ("POST", ["v1", "billing", "meters"]) => {
            let needed = ["display_name", "event_name", "default_aggregation[formula]"];
            check(given, &needed, &["customer_mapping[*", "value_settings[*"])?;
            let made = json!({
                "id": format!("mtr_{}", state.meters.len()), "event_name": given["event_name"],
                "default_aggregation": {"formula": given["default_aggregation[formula]"]},
            });
            state.meters.push(made.clone());
            Ok(made)
        }
        ("GET", ["v1", "customers", "search"]) => {
            check(given, &["query"], &["limit"])?;
            let found = state.customers.iter().filter(|customer| {
                let name = customer["metadata"]["counterfoil_customer"].as_str().unwrap();
                given["query"].contains(&format!("['counterfoil_customer']:'{name}'"))
            });
            Ok(listed(found.cloned().collect(), given))
        }
        ("POST", ["v1", "customers"]) => {
            check(given, &["name"], &["email", "metadata[*"])?;
            let made = json!({
                "id": format!("cus_{}", state.customers.len()), "metadata": metadata(given),
            });
            state.customers.push(made.clone());
            Ok(made)
        }
        ("POST", ["v1", "subscription_items", item, "usage_records"]) => {
            usage_record(state, item, given, now)
        }
        ("GET", ["v1", "subscription_items", item, "usage_record_summaries"]) => {
            let of = state.records.iter().filter(|((of, _), _)| of == item);
            let sum: Exact = of.map(|(_, quantity)| quantity).sum();
            let total: Value = sum.to_string().parse().unwrap();
            Ok(json!({"data": [{"total_usage": total, "period": {"start": null, "end": null}}]}))
        }
        (_, ["v1", "invoices" | "invoiceitems" | "credit_notes", ..]) => {
            crate::server::invoicing::act(state, method, &parts[1..], given, now)
        }
        _ => Err((404, error("invalid_request_error", format!("Unrecognized URL {path}")))),
    }
}

fn meter_event(state: &mut State, given: &Fields, now: i64) -> Outcome {
    let needed = ["event_name", "payload[stripe_customer_id]", "payload[value]"];
    check(given, &needed, &["identifier", "timestamp"])?;
    let time: i64 = given.get("timestamp").map_or(now, |time| time.parse().unwrap());
    if time < now - 35 * DAY || time > now + 300 {
        return Err(wrong("The timestamp must be within the past 35 days or the next 5 minutes"));
    }
    let value = &given["payload[value]"];
    if value.bytes().filter(u8::is_ascii_digit).count() > 15 {
        return Err(wrong("The value in the event payload can have at most 15 digits"));
    }
    let identifier = &given["identifier"];
    assert!(identifier.len() <= 100);
    let seen = state.identifiers.get(identifier).is_some_and(|at| now - at < DAY);
    if seen {
        return Err(wrong("An event already exists with this identifier"));
    }
    state.identifiers.insert(identifier.clone(), now);
    let value = Exact::parse(value).unwrap();
    let (name, customer) =
        (given["event_name"].clone(), given["payload[stripe_customer_id]"].clone());
    state.events.push(Event { name, customer, value, time });
    Ok(json!({"object": "billing.meter_event", "identifier": identifier}))
}

fn summaries(state: &State, meter: &str, given: &Fields) -> Outcome {
    check(given, &["customer", "start_time", "end_time"], &["limit"])?;
    let bound = |name: &str| given[name].parse::<i64>().unwrap();
    let (start, end) = (bound("start_time"), bound("end_time"));
    if start % 60 != 0 || end % 60 != 0 {
        return Err(wrong("must be aligned with minute boundaries"));
    }
    let name = state.meters.iter().find(|one| one["id"] == meter).map(|one| &one["event_name"]);
    let Some(name) = name else { return Err((404, error("invalid_request_error", "no meter"))) };
    let sum: Exact = state
        .events
        .iter()
        .filter(|event| event.name == name.as_str().unwrap())
        .filter(|event| event.customer == given["customer"])
        .filter(|event| start <= event.time && event.time < end)
        .map(|event| &event.value)
        .sum();
    let total: Value = sum.to_string().parse().unwrap();
    Ok(json!({"data": [{"aggregated_value": total}], "has_more": false}))
}

fn usage_record(state: &mut State, item: &str, given: &Fields, now: i64) -> Outcome {
    check(given, &["quantity", "timestamp", "action"], &[])?;
    let quantity: u64 = given["quantity"].parse().map_err(|_| wrong("Invalid integer"))?;
    let time: i64 = given["timestamp"].parse().unwrap();
    if time > now + 300 {
        return Err(wrong("Cannot create the usage record with this timestamp"));
    }
    let slot = state.records.entry((item.to_owned(), time)).or_insert(Exact::ZERO);
    let quantity = Exact::from_i128(i128::from(quantity));
    *slot = match given["action"].as_str() {
        "set" => quantity,
        "increment" => slot.add(&quantity),
        other => return Err(wrong(format!("Invalid action: {other}"))),
    };
    Ok(json!({"object": "usage_record"}))
}

#[path = "server_invoicing.rs"]
pub(crate) mod invoicing;
