//! Events: taking them in one by one, in batches and as a stream of lines; listing them; telling
//! what became of one.

pub(crate) mod decode;
mod stream;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_engine::{
    events::{EventExplanation, EventFilter, Place},
    ingest::IngestOptions,
};
use counterfoil_ledger::{Event, Receipt, Reject, Scalar, StoredEvent, receipt::ReceiptCounts};
use counterfoil_types::{CustomerId, Digest, Quantity, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use crate::{
    extract::{Json, Query},
    guard::Caller,
    operation::Routes,
    page::{Page, bad_cursor, limit},
    problem::Problem,
    scope::Scope,
    service::Shared,
};

/// How events are taken.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct IngestQuery {
    /// Take events older than the tenant's window as well.
    #[serde(default)]
    pub(crate) backfill: bool,
    /// The producer, for events that do not name one.
    pub(crate) source: Option<String>,
    /// Of a stream: `problems` (the default) for what was not stored, `all` for every receipt, a
    /// line each.
    pub(crate) receipts: Option<Wanted>,
}

/// Which receipts of a stream are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// Those of events that were not stored.
    Problems,
    /// All of them.
    All,
}

/// A native event. A CloudEvent is taken in its place.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what the decoder reads")]
pub(crate) struct EventBody {
    /// Unique within the source, for ever.
    id: String,
    /// The producer.
    source: Option<String>,
    /// Whose usage it is.
    customer: CustomerId,
    /// What kind of usage.
    #[serde(rename = "type")]
    event_type: String,
    /// When it happened; now when absent.
    time: Option<Timestamp>,
    /// How much; 1 when absent. Negative amounts are corrections.
    quantity: Option<Quantity>,
    /// Unit the producer measured in, for information.
    unit: Option<String>,
    /// Further facts: texts, numbers, switches.
    properties: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    /// Subject within the customer.
    subject: Option<String>,
    /// Resource used.
    resource: Option<String>,
    /// End user.
    user: Option<String>,
    /// Id of an event of the same source that this one takes back.
    reverses: Option<String>,
    /// Id of an event of the same source that this one restates.
    amends: Option<String>,
}

/// One event or several.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what the decoder reads")]
pub(crate) enum OneOrMany {
    /// One.
    One(Box<EventBody>),
    /// Several.
    Many(Vec<EventBody>),
}

/// What became of an event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ReceiptBody {
    /// Its number in the request, from 0.
    pub(crate) index: u64,
    /// Its id, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// `inserted`, `duplicate`, `conflict` or `rejected`.
    pub(crate) status: &'static str,
    /// Lane of the stored event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lane: Option<i64>,
    /// Position of the stored event in its lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
    /// Why it was rejected, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// Why it was rejected, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Hash of the content that is stored, of a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<Digest>,
    /// Hash of the content that was given, of a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) given: Option<Digest>,
}

impl ReceiptBody {
    pub(crate) fn of(index: u64, id: Option<String>, receipt: Receipt) -> Self {
        let bare = Self {
            index,
            id,
            status: "inserted",
            lane: None,
            position: None,
            code: None,
            reason: None,
            stored: None,
            given: None,
        };
        match receipt {
            Receipt::Inserted { lane, position } => {
                Self { lane: Some(lane.0), position: Some(position), ..bare }
            }
            Receipt::Duplicate { lane, position } => {
                Self { status: "duplicate", lane: Some(lane.0), position: Some(position), ..bare }
            }
            Receipt::Conflict { lane, position, stored, given } => Self {
                status: "conflict",
                lane: Some(lane.0),
                position: Some(position),
                stored: Some(stored),
                given: Some(given),
                ..bare
            },
            Receipt::Rejected(reject) => Self {
                status: "rejected",
                code: Some(reject.code()),
                reason: Some(reject.to_string()),
                ..bare
            },
        }
    }

    pub(crate) fn is_problem(&self) -> bool {
        matches!(self.status, "conflict" | "rejected")
    }
}

/// Receipts of a request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Receipts {
    /// How many events got which receipt.
    pub(crate) counts: ReceiptCounts,
    /// The receipts, in the order of the events.
    pub(crate) receipts: Vec<ReceiptBody>,
    /// Whether there were more problems than are listed, of a stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// An event with its place.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EventView {
    id: String,
    source: String,
    customer: CustomerId,
    #[serde(rename = "type")]
    event_type: String,
    /// When the usage happened.
    time: Timestamp,
    /// When the ledger took it.
    recorded_at: Timestamp,
    quantity: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// Numbers stand here with all their digits.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    properties: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amends: Option<String>,
    lane: i64,
    position: u64,
    /// The seal: the leaf hash of its place and content.
    seal: Digest,
}

fn raw(value: &Scalar) -> Option<Box<serde_json::value::RawValue>> {
    let text = match value {
        Scalar::Text(text) => serde_json::to_string(text).ok()?,
        Scalar::Number(number) => number.to_string(),
        Scalar::Bool(flag) => flag.to_string(),
    };
    serde_json::value::RawValue::from_string(text).ok()
}

impl From<StoredEvent> for EventView {
    fn from(row: StoredEvent) -> Self {
        let (time, event) = (row.time(), row.event);
        let target = |kind| {
            let correction = event.correction.as_ref().filter(|correction| correction.kind == kind);
            correction.map(|correction| correction.target.clone())
        };
        Self {
            time,
            recorded_at: row.recorded_at,
            reverses: target(counterfoil_ledger::CorrectionKind::Reverses),
            amends: target(counterfoil_ledger::CorrectionKind::Amends),
            properties: event
                .properties
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), raw(value)?)))
                .collect(),
            id: event.id,
            source: event.source,
            customer: event.customer,
            event_type: event.event_type,
            quantity: event.quantity,
            unit: event.unit,
            subject: event.subject,
            resource: event.resource,
            user: event.user,
            lane: row.lane.0,
            position: row.position,
            seal: row.leaf,
        }
    }
}

/// Which events to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    /// Of this customer.
    customer: Option<CustomerId>,
    /// Of this type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// From this producer.
    source: Option<String>,
    /// That happened at this time or later.
    from: Option<Timestamp>,
    /// That happened before this time.
    to: Option<Timestamp>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Most items, 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// Which event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct FindQuery {
    /// Its producer.
    source: String,
    /// Its id.
    id: String,
}

/// An event and what became of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Explained {
    event: EventView,
    #[serde(flatten)]
    explanation: EventExplanation,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Events");
    routes
        .post("/v1/events", "events.append", Scope::Ingest, append)
        .says("Append events")
        .explained("One event, an array, a stream of lines, or CloudEvents (structured, binary or batch). Every event gets a receipt; one that is bad sinks no neighbour. Sending again is safe: the same event is a `duplicate`. Bodies may be gzip or zstd.")
        .query::<IngestQuery>()
        .body::<OneOrMany>()
        .takes("application/x-ndjson")
        .takes("application/cloudevents+json")
        .takes("application/cloudevents-batch+json")
        .answers::<Receipts>(200, "All events are stored, now or before")
        .answers::<Receipts>(201, "The one event was stored now")
        .answers::<Receipts>(207, "Some events were not stored; their receipts say why")
        .answers::<Receipts>(409, "The one event contradicts the stored one of its id")
        .answers::<Receipts>(422, "The one event was rejected")
        .streams();
    routes
        .get("/v1/events", "events.list", Scope::Read, list)
        .says("List events")
        .explained("In order of lane and position. A page may hold fewer events than its limit, even none, and still have a `next`: a page looks at a bounded number of rows.")
        .query::<ListQuery>()
        .answers::<Page<EventView>>(200, "A page of events");
    routes
        .get("/v1/events/find", "events.find", Scope::Read, find)
        .says("Find an event by its identity")
        .query::<FindQuery>()
        .answers::<EventView>(200, "The event");
    routes
        .get("/v1/events/explain", "events.explain", Scope::Read, explain)
        .says("Tell what became of an event: where it is billed, or why it is not")
        .query::<FindQuery>()
        .answers::<Explained>(200, "The event and what became of it");
}

/// Whether a request is a stream of lines.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    matches!(essence, "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}

async fn append(
    State(shared): State<Shared>,
    caller: Caller,
    Query(query): Query<IngestQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let options = IngestOptions { backfill: query.backfill };
    let defaults = counterfoil_ledger::decode::Defaults { source: query.source.clone() };
    if is_stream(request.headers()) {
        return stream::append(shared, caller, query, request).await;
    }
    let (one, decoded) = decode::batch(&shared, request, &defaults).await?;
    let ids: Vec<Option<String>> = decoded
        .iter()
        .map(|decoded| decoded.as_ref().ok().map(|event: &Event| event.id.clone()))
        .collect();
    let receipts = take(&shared, &caller, decoded, options).await?;
    let mut counts = ReceiptCounts::default();
    receipts.iter().for_each(|receipt| counts.count(receipt));
    shared.metrics.receipts(&counts);
    let receipts: Vec<ReceiptBody> = (0..)
        .zip(ids.into_iter().zip(receipts))
        .map(|(index, (id, receipt))| ReceiptBody::of(index, id, receipt))
        .collect();
    let status = match (one, receipts.first().map(|receipt| receipt.status)) {
        (true, Some("inserted")) => StatusCode::CREATED,
        (true, Some("conflict")) => StatusCode::CONFLICT,
        (true, Some("rejected")) => StatusCode::UNPROCESSABLE_ENTITY,
        _ if counts.conflict + counts.rejected > 0 => StatusCode::MULTI_STATUS,
        _ => StatusCode::OK,
    };
    Ok((status, Json(Receipts { counts, receipts, truncated: false })).into_response())
}

/// Appends what was decoded; receipts come in the same order.
pub(crate) async fn take(
    shared: &Shared,
    caller: &Caller,
    decoded: Vec<Result<Event, Reject>>,
    options: IngestOptions,
) -> Result<Vec<Receipt>, Problem> {
    let engine = &caller.engine;
    let now = engine.now();
    let decoded_count = decoded.len();
    let prepared = decoded
        .into_iter()
        .map(|decoded| match decoded {
            Ok(event) => engine.prepare(event, options, now),
            Err(reject) => counterfoil_engine::ingest::Prepared::Refused(reject),
        })
        .collect();
    let span = tracing::info_span!("append", events = decoded_count);
    let receipts = if shared.options.enforce_quotas_at_ingest {
        engine.append_within_quotas(prepared, now).instrument(span).await?
    } else {
        engine.append_prepared(prepared, now).instrument(span).await?
    };
    shared.appended.notify_one();
    Ok(receipts)
}

async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<EventView>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.as_deref().map(place).transpose()?;
    let filter = EventFilter {
        customer: query.customer,
        event_type: query.event_type,
        source: query.source,
        from: query.from,
        to: query.to,
    };
    let limit = usize::try_from(limit).unwrap_or(100);
    let page = caller.engine.list_events(&filter, after, limit).await?;
    let next = page.next.map(|place| format!("{}.{}", place.lane, place.position));
    Ok(Json(Page { items: page.events.into_iter().map(EventView::from).collect(), next }))
}

fn place(cursor: &str) -> Result<Place, Problem> {
    let read = || {
        let (lane, position) = cursor.split_once('.')?;
        Some(Place { lane: lane.parse().ok()?, position: position.parse().ok()? })
    };
    read().filter(|place| place.lane < 64 && place.position <= u64::MAX >> 1).ok_or_else(bad_cursor)
}

async fn find(caller: Caller, Query(query): Query<FindQuery>) -> Result<Json<EventView>, Problem> {
    Ok(Json(caller.engine.event(&query.source, &query.id).await?.into()))
}

async fn explain(
    caller: Caller,
    Query(query): Query<FindQuery>,
) -> Result<Json<Explained>, Problem> {
    let row = caller.engine.event(&query.source, &query.id).await?;
    let explanation = caller.engine.explain_event(&row).await?;
    Ok(Json(Explained { event: row.into(), explanation }))
}
