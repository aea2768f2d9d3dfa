//! What customers used, what it costs so far and where it is going.

use counterfoil_engine::{
    analytics::EndpointUse,
    report::{AsOf, ChargeUsage, MeterValue, SubscriptionUsage},
    series::{CustomerShare, Point, Share, Step},
    unbilled::Unbilled,
};
use counterfoil_types::{CustomerId, Exact, MeterKey, Money, Period, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::{Json, Path, Query},
    guard::Caller,
    operation::Routes,
    page::Page,
    problem::Problem,
    scope::Scope,
};

/// Most customers of one batch.
const MOST_CUSTOMERS: usize = 500;

/// When, and as of when.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct UsageQuery {
    /// The billing periods that hold this instant; now when absent.
    at: Option<Timestamp>,
    /// As it stood at a position of the customer's lane, or at a recorded time. Slower.
    as_of: Option<String>,
}

/// A range of time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct RangeQuery {
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
}

impl RangeQuery {
    fn period(&self) -> Result<Period, Problem> {
        period(self.from, self.to)
    }
}

fn period(from: Timestamp, to: Timestamp) -> Result<Period, Problem> {
    if to <= from {
        return Err(Problem::parameter("to", "must lie after `from`"));
    }
    Ok(Period::new(from, to))
}

/// A series.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct SeriesQuery {
    /// The meter.
    meter: MeterKey,
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// Length of a step on the customer's clock; a day when absent.
    #[serde(default)]
    step: Step,
}

/// A breakdown.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct BreakdownQuery {
    /// The meter.
    meter: MeterKey,
    /// The property, or `subject`, `resource`, `user`, `unit`, `source`.
    by: String,
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// Most values listed, 1 to 1000; 20 when absent. The others are put together.
    #[schemars(range(min = 1, max = 1000))]
    top: Option<usize>,
}

/// Calls by endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct EndpointsQuery {
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// Type of the events; `api.request` when absent.
    #[serde(rename = "type")]
    event_type: Option<String>,
}

/// A ranking.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct TopQuery {
    /// Start, inclusive.
    from: Timestamp,
    /// End, exclusive.
    to: Timestamp,
    /// Most customers, 1 to 1000; 20 when absent.
    #[schemars(range(min = 1, max = 1000))]
    top: Option<usize>,
}

/// Usage of a charge, with where it is going.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ChargeView {
    #[serde(flatten)]
    usage: ChargeUsage,
    /// What usage comes to at the end of the period if it goes on like this; absent in the first
    /// hundredth of the period and after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Exact>,
}

/// Usage of a subscription.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SubscriptionView {
    /// The subscription.
    subscription: String,
    /// Its price book.
    book: counterfoil_types::BookRef,
    /// Its plan.
    plan: counterfoil_types::PlanKey,
    /// The billing period.
    period: Period,
    /// Usage up to here was looked at.
    until: Timestamp,
    /// Ledger position it is true as of.
    position: u64,
    /// By charge.
    charges: Vec<ChargeView>,
    /// Sum of the costs of usage.
    cost: Money,
}

impl From<SubscriptionUsage> for SubscriptionView {
    fn from(usage: SubscriptionUsage) -> Self {
        let whole = Exact::from(usage.period.micros());
        let passed = usage.until.micros() - usage.period.start.micros();
        let open = usage.until < usage.period.end && passed > usage.period.micros() / 100;
        let charges = usage
            .charges
            .into_iter()
            .map(|charge| ChargeView {
                forecast: open
                    .then(|| charge.used.mul(&whole).div(&Exact::from(passed)).ok())
                    .flatten()
                    .map(|forecast| {
                        forecast.round(2, counterfoil_types::Rounding::HalfAwayFromZero)
                    }),
                usage: charge,
            })
            .collect();
        Self {
            subscription: usage.subscription,
            book: usage.book,
            plan: usage.plan,
            period: usage.period,
            until: usage.until,
            position: usage.position,
            charges,
            cost: usage.cost,
        }
    }
}

/// Usage of a customer now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CustomerUsage {
    /// The customer.
    customer: CustomerId,
    /// By subscription.
    subscriptions: Vec<SubscriptionView>,
}

/// Several customers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// The customers, at most 500.
    customers: Vec<CustomerId>,
    /// The billing periods that hold this instant; now when absent.
    at: Option<Timestamp>,
}

/// Usage of one of several customers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BatchItem {
    /// The customer.
    customer: CustomerId,
    /// Its usage by subscription; absent when something was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<Vec<SubscriptionView>>,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Usage of a meter over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Series {
    /// The customer.
    customer: CustomerId,
    /// The meter.
    meter: MeterKey,
    /// The steps.
    points: Vec<Point>,
}

pub(crate) fn register(routes: &mut Routes) {
    routes.about("Usage");
    routes
        .get("/v1/customers/{customer}/usage", "usage.current", Scope::Read, current)
        .says("Usage and cost so far, by subscription and charge")
        .for_customers()
        .query::<UsageQuery>()
        .answers::<CustomerUsage>(200, "Used, included, remaining, overage, cost and forecast");
    routes
        .get("/v1/customers/{customer}/usage/meters", "usage.meters", Scope::Read, meters)
        .says("All meters of a customer over any range")
        .for_customers()
        .query::<RangeQuery>()
        .answers::<Page<MeterValue>>(200, "The meters that have usage");
    routes
        .get("/v1/customers/{customer}/usage/series", "usage.series", Scope::Read, series)
        .says("Usage by hour, day, week or month on the customer's clock")
        .for_customers()
        .query::<SeriesQuery>()
        .answers::<Series>(200, "The steps");
    routes
        .get("/v1/customers/{customer}/usage/breakdown", "usage.breakdown", Scope::Read, breakdown)
        .says("Usage by the values of a property")
        .for_customers()
        .query::<BreakdownQuery>()
        .answers::<Page<Share>>(200, "The values, largest first, and the rest");
    routes
        .get("/v1/customers/{customer}/endpoints", "usage.endpoints", Scope::Read, endpoints)
        .says("Requests, errors and latencies by endpoint, from metered API calls")
        .explained(
            "Calls are events with the properties `endpoint`, `method`, `status`, `latency_ms`.",
        )
        .for_customers()
        .query::<EndpointsQuery>()
        .answers::<Page<EndpointUse>>(200, "The endpoints, most used first");
    routes
        .post("/v1/usage/batch", "usage.batch", Scope::Read, batch)
        .says("Usage of several customers")
        .body::<BatchBody>()
        .answers::<Page<BatchItem>>(200, "The customers, in the order asked");
    routes
        .get("/v1/meters/{meter}/top", "usage.top", Scope::Read, top)
        .says("The customers that used most of a meter")
        .explained("Over the whole hours of the range.")
        .query::<TopQuery>()
        .answers::<Page<CustomerShare>>(200, "Customers, largest first");
    routes
        .get("/v1/unbilled", "usage.unbilled", Scope::Read, unbilled)
        .says("Events that no subscription bills, with the reason")
        .query::<RangeQuery>()
        .answers::<Page<Unbilled>>(200, "Groups of events");
}

async fn read(
    caller: &Caller,
    customer: &CustomerId,
    at: Option<Timestamp>,
    as_of: Option<AsOf>,
) -> Result<Vec<SubscriptionView>, Problem> {
    let at = at.unwrap_or_else(|| caller.engine.now_of(customer));
    let found = caller.engine.current_usage(customer, at, as_of).await?;
    Ok(found.into_iter().map(SubscriptionView::from).collect())
}

async fn current(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<CustomerUsage>, Problem> {
    let as_of = query.as_of.as_deref().map(str::parse).transpose();
    let as_of = as_of.map_err(|error| Problem::parameter("as_of", error))?;
    let subscriptions = read(&caller, &customer, query.at, as_of).await?;
    Ok(Json(CustomerUsage { customer, subscriptions }))
}

async fn meters(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Page<MeterValue>>, Problem> {
    caller.engine.customer(&customer).await?;
    Ok(Json(Page::whole(caller.engine.metered(&customer, query.period()?).await?)))
}

async fn series(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<SeriesQuery>,
) -> Result<Json<Series>, Problem> {
    let period = period(query.from, query.to)?;
    let points = caller.engine.usage_series(&customer, &query.meter, period, query.step).await?;
    Ok(Json(Series { customer, meter: query.meter, points }))
}

fn most(top: Option<usize>) -> Result<usize, Problem> {
    match top {
        None => Ok(20),
        Some(top) if (1..=1000).contains(&top) => Ok(top),
        Some(_) => Err(Problem::parameter("top", "must lie between 1 and 1000")),
    }
}

async fn breakdown(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<BreakdownQuery>,
) -> Result<Json<Page<Share>>, Problem> {
    let (period, top) = (period(query.from, query.to)?, most(query.top)?);
    let shares =
        caller.engine.usage_breakdown(&customer, &query.meter, &query.by, period, top).await?;
    Ok(Json(Page::whole(shares)))
}

async fn endpoints(
    caller: Caller,
    Path(customer): Path<CustomerId>,
    Query(query): Query<EndpointsQuery>,
) -> Result<Json<Page<EndpointUse>>, Problem> {
    let period = period(query.from, query.to)?;
    let kind = query.event_type.as_deref().unwrap_or("api.request");
    Ok(Json(Page::whole(caller.engine.endpoint_use(&customer, kind, period).await?)))
}

async fn batch(
    caller: Caller,
    Json(body): Json<BatchBody>,
) -> Result<Json<Page<BatchItem>>, Problem> {
    if body.customers.len() > MOST_CUSTOMERS {
        return Err(Problem::new("invalid", format!("at most {MOST_CUSTOMERS} customers at once")));
    }
    let mut items = Vec::with_capacity(body.customers.len());
    for customer in body.customers {
        items.push(match read(&caller, &customer, body.at, None).await {
            Ok(found) => BatchItem { customer, subscriptions: Some(found), problem: None },
            Err(problem) if problem.status >= 500 => return Err(problem),
            Err(problem) => BatchItem { customer, subscriptions: None, problem: Some(problem) },
        });
    }
    Ok(Json(Page::whole(items)))
}

async fn top(
    caller: Caller,
    Path(meter): Path<MeterKey>,
    Query(query): Query<TopQuery>,
) -> Result<Json<Page<CustomerShare>>, Problem> {
    let (period, top) = (period(query.from, query.to)?, most(query.top)?);
    Ok(Json(Page::whole(caller.engine.top_customers(&meter, period, top).await?)))
}

async fn unbilled(
    caller: Caller,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Page<Unbilled>>, Problem> {
    Ok(Json(Page::whole(caller.engine.unbilled(query.period()?).await?)))
}
