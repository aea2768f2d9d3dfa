//! Exports as downloads: rows are written while they are read. What breaks off after the first byte
//! ends the answer without its proper end, so that no half export is taken for a whole one; a client
//! that goes away stops the reading.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use counterfoil_engine::{
    Engine,
    exports::{Layout, Wanted, What, write_out},
};
use counterfoil_exports::{Format, Options, sink};
use counterfoil_types::{CustomerId, MeterKey, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::{
    extract::{Path, Query},
    guard::Caller,
    operation::{Entry, Routes},
    problem::Problem,
    scope::Scope,
};

/// Pieces that wait for the client.
const WAITING: usize = 4;

/// File format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileFormat {
    /// Comma-separated values.
    #[default]
    Csv,
    /// One JSON document with a summary.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A workbook.
    Xlsx,
    /// Columns, where the service was built with it.
    Parquet,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Csv => Self::Csv,
            FileFormat::Json => Self::Json,
            FileFormat::Ndjson => Self::Ndjson,
            FileFormat::Xlsx => Self::Xlsx,
            FileFormat::Parquet => Self::Parquet,
        }
    }
}

/// How events are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LayoutName {
    /// All fields.
    #[default]
    Native,
    /// What counts, newest first, with its cost.
    UsageRecords,
}

/// Which events, and how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct EventsQuery {
    /// That happened at this time or later.
    from: Option<Timestamp>,
    /// That happened before this time.
    to: Option<Timestamp>,
    /// Of this customer.
    customer: Option<CustomerId>,
    /// Of this type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// `csv` when absent.
    #[serde(default)]
    format: FileFormat,
    /// `native` when absent.
    #[serde(default)]
    layout: LayoutName,
}

/// Which invoices.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct InvoicesQuery {
    /// Whose cycle fell due at this time or later.
    from: Option<Timestamp>,
    /// Whose cycle fell due before this time.
    to: Option<Timestamp>,
    /// Of this customer.
    customer: Option<CustomerId>,
    /// `csv` when absent.
    #[serde(default)]
    format: FileFormat,
}

/// Which usage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct UsageQuery {
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// Of this customer.
    customer: Option<CustomerId>,
    /// By this meter.
    meter: Option<MeterKey>,
    /// `csv` when absent.
    #[serde(default)]
    format: FileFormat,
}

/// Which usage of a customer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct OwnUsageQuery {
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// By this meter.
    meter: Option<MeterKey>,
    /// `csv` when absent.
    #[serde(default)]
    format: FileFormat,
}

fn files(entry: Entry<'_>) {
    let mut entry = entry.explained("The answer is made as it is read: one that ends without its proper end is not whole. Times are in UTC; the columns stand in docs/exports.md.");
    for format in [Format::Csv, Format::Json, Format::Ndjson, Format::Xlsx, Format::Parquet] {
        let kind = format.media_type().split(';').next().unwrap_or_default();
        entry = entry.gives(200, "The file, in the format asked for", kind);
    }
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Exports");
    files(
        routes
            .get("/v1/exports/events", "exports.events", Scope::Finance, events)
            .says("Export rows of the ledger")
            .query::<EventsQuery>(),
    );
    files(
        routes
            .get("/v1/exports/lines", "exports.lines", Scope::Finance, lines)
            .says("Export invoice lines")
            .query::<InvoicesQuery>(),
    );
    files(
        routes
            .get("/v1/exports/invoices", "exports.invoices", Scope::Finance, invoices)
            .says("Export invoices")
            .query::<InvoicesQuery>(),
    );
    files(
        routes
            .get("/v1/exports/usage", "exports.usage", Scope::Finance, usage)
            .says("Export usage by customer, meter and day")
            .query::<UsageQuery>(),
    );
    files(
        routes
            .get(
                "/v1/customers/{customer}/exports/usage",
                "exports.customer_usage",
                Scope::Read,
                own_usage,
            )
            .says("Export usage of a customer by meter and day")
            .query::<OwnUsageQuery>()
            .for_customers(),
    );
}

/// Bytes on their way to a client.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn answer(engine: Engine, wanted: Wanted, format: FileFormat) -> Result<Response, Problem> {
    let format = Format::from(format);
    let json = matches!(format, Format::Json | Format::Ndjson);
    let wanted = Wanted { json, ..wanted };
    let layout = wanted.layout;
    let name = match layout {
        Layout::Native => wanted.what.as_str(),
        Layout::UsageRecords => "usage-records",
    };
    let export = engine.export(wanted, None).await?;
    let options = Options {
        numbers: layout == Layout::UsageRecords,
        document: export.document(),
        ..Options::new(export.made_at())
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let whole = Arc::new(AtomicBool::new(false));
    let written = Arc::clone(&whole);
    let target = io::BufWriter::with_capacity(1 << 16, Pipe(sender.clone()));
    let sink = sink(format, Box::new(target), &options)
        .map_err(|error| Problem::new("refused", error.to_string()))?;
    tokio::spawn(async move {
        match write_out(export, sink, true, 0, |_, _, _| Ok(())).await {
            Ok(_) => written.store(true, Ordering::Release),
            Err(error) => tracing::warn!(%error, "an export broke off"),
        }
        drop(sender);
    });
    // What ends without having been written whole, whatever the reason, ends as an error.
    let pieces = futures_util::stream::unfold(Some(receiver), move |receiver| {
        let whole = Arc::clone(&whole);
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(item) => Some((item, Some(receiver))),
                None if whole.load(Ordering::Acquire) => None,
                None => Some((Err(io::Error::other("the export broke off")), None)),
            }
        }
    });
    let file = format!("attachment; filename=\"{name}.{}\"", format.extension());
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn events(caller: Caller, Query(query): Query<EventsQuery>) -> Result<Response, Problem> {
    let wanted = Wanted {
        layout: match query.layout {
            LayoutName::Native => Layout::Native,
            LayoutName::UsageRecords => Layout::UsageRecords,
        },
        from: query.from,
        to: query.to,
        customer: query.customer,
        event_type: query.event_type,
        ..Wanted::all(What::Events)
    };
    answer(caller.engine, wanted, query.format).await
}

async fn of_invoices(
    caller: Caller,
    query: InvoicesQuery,
    what: What,
) -> Result<Response, Problem> {
    let wanted =
        Wanted { from: query.from, to: query.to, customer: query.customer, ..Wanted::all(what) };
    answer(caller.engine, wanted, query.format).await
}

async fn lines(caller: Caller, Query(query): Query<InvoicesQuery>) -> Result<Response, Problem> {
    of_invoices(caller, query, What::Lines).await
}

async fn invoices(caller: Caller, Query(query): Query<InvoicesQuery>) -> Result<Response, Problem> {
    of_invoices(caller, query, What::Invoices).await
}

async fn usage(caller: Caller, Query(query): Query<UsageQuery>) -> Result<Response, Problem> {
    let wanted = Wanted {
        from: Some(query.from),
        to: Some(query.to),
        customer: query.customer,
        meter: query.meter,
        ..Wanted::all(What::Usage)
    };
    answer(caller.engine, wanted, query.format).await
}

async fn own_usage(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<OwnUsageQuery>,
) -> Result<Response, Problem> {
    caller.engine.customer(&customer).await?;
    let wanted = Wanted {
        from: Some(query.from),
        to: Some(query.to),
        customer: Some(customer),
        meter: query.meter,
        ..Wanted::all(What::Usage)
    };
    answer(caller.engine, wanted, query.format).await
}
