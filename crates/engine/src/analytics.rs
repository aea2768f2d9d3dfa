//! Endpoint analytics from metered API calls: requests, errors and latencies by endpoint and method.
//!
//! An API call is an event with the properties `endpoint`, `method`, `status` and `latency_ms`, as
//! the middlewares of the clients send it. Percentiles are exact: the smallest latency that at
//! least so many percent of the calls kept to.

use std::collections::BTreeMap;

use counterfoil_ledger::Event;
use counterfoil_types::{CustomerId, Exact, Period};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Engine, EngineError};

/// Calls of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EndpointUse {
    /// The endpoint.
    pub endpoint: String,
    /// The method; empty where events name none.
    pub method: String,
    /// Calls.
    pub requests: u64,
    /// Calls that were answered with 400 or above.
    pub errors: u64,
    /// Of these, with 500 or above.
    pub failures: u64,
    /// Latencies in milliseconds; absent where events name none.
    pub latency_ms: Option<Latencies>,
}

/// Percentiles of latency in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Latencies {
    /// Half of the calls took at most so long.
    pub p50: Exact,
    /// 95 percent.
    pub p95: Exact,
    /// 99 percent.
    pub p99: Exact,
    /// All of them.
    pub max: Exact,
}

/// The value at a percentile of sorted values, by nearest rank.
fn at_rank(sorted: &[Exact], percent: usize) -> Option<Exact> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).cloned()
}

impl Latencies {
    fn of(mut values: Vec<Exact>) -> Option<Self> {
        values.sort();
        Some(Self {
            p50: at_rank(&values, 50)?,
            p95: at_rank(&values, 95)?,
            p99: at_rank(&values, 99)?,
            max: values.last().cloned()?,
        })
    }
}

fn text(event: &Event, name: &str) -> String {
    event.properties.get(name).map(ToString::to_string).unwrap_or_default()
}

fn number(event: &Event, name: &str) -> Option<Exact> {
    event.properties.get(name)?.as_number().map(|number| number.exact())
}

impl Engine {
    /// Calls of a customer in a period, by endpoint and method, most used first.
    ///
    /// # Errors
    /// When the customer does not exist.
    pub async fn endpoint_use(
        &self,
        customer: &CustomerId,
        event_type: &str,
        period: Period,
    ) -> Result<Vec<EndpointUse>, EngineError> {
        self.customer(customer).await?;
        let mut groups: BTreeMap<(String, String), (EndpointUse, Vec<Exact>)> = BTreeMap::new();
        let (bad, broken) = (Exact::from(400_i64), Exact::from(500_i64));
        for standing in self.events_in(customer, period).await? {
            let event = &standing.event;
            if event.event_type != event_type || !event.properties.contains_key("endpoint") {
                continue;
            }
            let (endpoint, method) = (text(event, "endpoint"), text(event, "method"));
            let (found, latencies) =
                groups.entry((endpoint.clone(), method.clone())).or_insert_with(|| {
                    let none = EndpointUse {
                        endpoint,
                        method,
                        requests: 0,
                        errors: 0,
                        failures: 0,
                        latency_ms: None,
                    };
                    (none, Vec::new())
                });
            found.requests += 1;
            let status = number(event, "status");
            found.errors += u64::from(status.as_ref().is_some_and(|status| *status >= bad));
            found.failures += u64::from(status.is_some_and(|status| status >= broken));
            latencies.extend(number(event, "latency_ms"));
        }
        let mut all: Vec<EndpointUse> = groups
            .into_values()
            .map(|(found, latencies)| EndpointUse { latency_ms: Latencies::of(latencies), ..found })
            .collect();
        all.sort_by(|a, b| {
            let name = |one: &EndpointUse| (one.endpoint.clone(), one.method.clone());
            b.requests.cmp(&a.requests).then_with(|| name(a).cmp(&name(b)))
        });
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = |count: i64| (1..=count).map(Exact::from).collect::<Vec<_>>();
        let told = Latencies::of(values(200)).unwrap();
        let all = [told.p50, told.p95, told.p99, told.max].map(|value| value.to_string());
        assert_eq!(all, ["100", "190", "198", "200"]);
        let one = Latencies::of(values(1)).unwrap();
        assert_eq!((one.p50.to_string(), one.p99.to_string()), ("1".into(), "1".into()));
        assert_eq!(Latencies::of(Vec::new()), None);
    }
}
