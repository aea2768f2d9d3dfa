//! Price books and the meters they define.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_catalog::PriceBook;
use counterfoil_metering::MeterSpec;
use counterfoil_types::{BookRef, Digest, MeterKey, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path},
    guard::Caller,
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
};

/// A published price book.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BookView {
    #[serde(flatten)]
    reference: BookRef,
    /// Hash of all that can change an amount.
    digest: Digest,
    /// First local day it may price a period that starts.
    effective_from: String,
    /// When it was published.
    published_at: Timestamp,
    /// Whether new subscriptions are refused.
    retired: bool,
    /// Its plans.
    plans: Vec<String>,
}

/// A price book as text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BookBody {
    /// The TOML text of the price book.
    text: String,
}

/// Two books to be compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffBody {
    /// The older one: `name@version` of a published book.
    from: String,
    /// The newer one: `name@version` of a published book, or absent with `text`.
    to: Option<String>,
    /// The text of a book that is not published yet.
    text: Option<String>,
}

/// A difference between two books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Difference {
    /// The key, for example `plan.pro.charge.calls.unit_price`.
    path: String,
    /// What it was; absent where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// What it is; absent where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Price books");
    routes
        .get("/v1/meters", "meters.list", Scope::Read, meters)
        .says("List meters")
        .answers::<Page<MeterSpec>>(200, "All meters");
    routes
        .get("/v1/meters/{meter}", "meters.get", Scope::Read, meter)
        .says("Read a meter")
        .answers::<MeterSpec>(200, "The meter");
    routes
        .get("/v1/books", "books.list", Scope::Read, list)
        .says("List price books")
        .answers::<Page<BookView>>(200, "All published price books");
    routes
        .post("/v1/books", "books.publish", Scope::Finance, publish)
        .says("Publish a price book")
        .explained("A published version never changes: the same content again is harmless, other content needs a new version. The book's own examples are run first. Send JSON with the text, or the text itself as `application/toml`.")
        .body::<BookBody>()
        .takes("application/toml")
        .answers::<BookView>(201, "The book");
    routes
        .post("/v1/books/check", "books.check", Scope::Read, check)
        .says("Check a price book without publishing it")
        .body::<BookBody>()
        .takes("application/toml")
        .answers::<BookRef>(200, "It is sound, and its examples come to what they say");
    routes
        .post("/v1/books/diff", "books.diff", Scope::Read, diff)
        .says("Compare two price books key by key")
        .body::<DiffBody>()
        .answers::<Page<Difference>>(200, "What differs");
    routes
        .get("/v1/books/{name}/{version}", "books.get", Scope::Read, get)
        .says("Read a price book's text")
        .gives(200, "The TOML text as published", "application/toml");
    routes
        .post("/v1/books/{name}/{version}/retire", "books.retire", Scope::Finance, retire)
        .says("Let no new subscription begin under a price book")
        .done("It is retired; subscriptions under it go on");
}

async fn meters(caller: Caller) -> Result<Json<Page<MeterSpec>>, Problem> {
    let tenant = &caller.engine.tenant().id;
    let rows = caller.engine.store().meters(tenant).await?;
    Ok(Json(Page::whole(rows.into_iter().map(|row| row.spec).collect())))
}

async fn meter(caller: Caller, Path(key): Path<MeterKey>) -> Result<Json<MeterSpec>, Problem> {
    let tenant = &caller.engine.tenant().id;
    let rows = caller.engine.store().meters(tenant).await?;
    let found = rows.into_iter().map(|row| row.spec).find(|spec| spec.key == key);
    let missing = || Problem::new("not_found", format!("there is no meter {key}"));
    found.map(Json).ok_or_else(missing)
}

async fn views(caller: &Caller) -> Result<Vec<BookView>, Problem> {
    let engine = &caller.engine;
    let mut views = Vec::new();
    for row in engine.store().books(&engine.tenant().id).await? {
        let book = parse(&row.text)?;
        views.push(BookView {
            retired: engine.is_retired(&row.reference).await?,
            reference: row.reference,
            digest: row.digest,
            effective_from: row.effective_from,
            published_at: row.published_at,
            plans: book.plans.iter().map(|plan| plan.key.to_string()).collect(),
        });
    }
    Ok(views)
}

async fn list(caller: Caller) -> Result<Json<Page<BookView>>, Problem> {
    Ok(Json(Page::whole(views(&caller).await?)))
}

fn parse(text: &str) -> Result<PriceBook, Problem> {
    PriceBook::parse("price book", text).map_err(|error| {
        Problem::new("invalid", error.to_string())
            .with("line", error.line)
            .with("column", error.column)
            .with("path", &error.path)
    })
}

/// A book whose examples come to what they say.
fn sound(text: &str) -> Result<PriceBook, Problem> {
    let book = parse(text)?;
    let outcomes = counterfoil_catalog::run_examples(&book)
        .map_err(|error| Problem::new("invalid", format!("an example cannot be rated: {error}")))?;
    let failures: Vec<String> = outcomes
        .into_iter()
        .flat_map(|outcome| {
            let name = outcome.name;
            outcome.deviations.into_iter().map(move |text| format!("{name}: {text}"))
        })
        .collect();
    if failures.is_empty() {
        return Ok(book);
    }
    Err(Problem::new("invalid", "examples of the book do not come to what they say")
        .with("failures", failures))
}

async fn text_of(request: Request) -> Result<String, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/toml")) {
        let bytes = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        let bytes = bytes.map_err(|_| Problem::new("malformed", "the body broke off"))?;
        return String::from_utf8(bytes.to_vec())
            .map_err(|_| Problem::new("malformed", "the body is not UTF-8 text"));
    }
    let Json(body) =
        <Json<BookBody> as axum::extract::FromRequest<()>>::from_request(request, &()).await?;
    Ok(body.text)
}

async fn publish(
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<BookView>), Problem> {
    let book = sound(&text_of(request).await?)?;
    caller.engine.publish(&book).await?;
    let view = views(&caller).await?.into_iter().find(|view| view.reference == book.reference);
    let missing = || Problem::new("internal", "the book was published and is not there");
    Ok((StatusCode::CREATED, Json(view.ok_or_else(missing)?)))
}

async fn check(_: Caller, request: Request) -> Result<Json<BookRef>, Problem> {
    Ok(Json(sound(&text_of(request).await?)?.reference))
}

async fn published(caller: &Caller, reference: &BookRef) -> Result<PriceBook, Problem> {
    let tenant = &caller.engine.tenant().id;
    let rows = caller.engine.store().books(tenant).await?;
    let found = rows.into_iter().find(|row| row.reference == *reference);
    let missing = || Problem::new("not_found", format!("there is no price book {reference}"));
    parse(&found.ok_or_else(missing)?.text)
}

fn reference(text: &str) -> Result<BookRef, Problem> {
    let (name, version) = text
        .split_once('@')
        .ok_or_else(|| Problem::new("invalid", format!("{text:?}: write name@version")))?;
    Ok(BookRef { name: name.to_owned(), version: version.to_owned() })
}

async fn diff(
    caller: Caller,
    Json(body): Json<DiffBody>,
) -> Result<Json<Page<Difference>>, Problem> {
    let before = published(&caller, &reference(&body.from)?).await?;
    let after = match (&body.to, &body.text) {
        (Some(to), None) => published(&caller, &reference(to)?).await?,
        (None, Some(text)) => parse(text)?,
        _ => return Err(Problem::new("invalid", "give either `to` or `text`")),
    };
    let (before, after) = (flat(&before)?, flat(&after)?);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let items = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Difference {
            path: key.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
        })
        .collect();
    Ok(Json(Page::whole(items)))
}

/// All keys of a book with their values. Tables in lists go by their own key, where they have one.
fn flat(book: &PriceBook) -> Result<BTreeMap<String, String>, Problem> {
    let value = serde_json::to_value(&book.spec)
        .map_err(|error| Problem::new("internal", error.to_string()))?;
    let mut out = BTreeMap::new();
    walk("", &value, &mut out);
    Ok(out)
}

fn walk(path: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
    let under =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                walk(&under(name), value, out);
            }
        }
        serde_json::Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let key = item.get("key").and_then(serde_json::Value::as_str);
                walk(&under(&key.map_or_else(|| at.to_string(), ToOwned::to_owned)), item, out);
            }
        }
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => {
            out.insert(path.to_owned(), text.clone());
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

async fn get(
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let book = published(&caller, &BookRef { name, version }).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], book.text).into_response())
}

async fn retire(
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.engine.retire_book(&BookRef { name, version }).await?;
    Ok(StatusCode::NO_CONTENT)
}
