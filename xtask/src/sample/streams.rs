//! The streams of usage: who uses what, how much of it, in which rhythm.

use counterfoil_types::{Timestamp, Zone};
use jiff::civil::{Date, date};

use super::{
    customers::{ACME, BAYSIDE, Customer, KOALA, LEXICA, MERIDIAN, NORDLICHT, TIFFIN},
    event::{Usage, Value},
    random::Random,
    rhythm::{Calendar, EVENING, MACHINE, MONTH, OFFICE, Rhythm, daily},
};
use crate::Outcome;

pub(super) const API_CALL: &str = "api.call";
pub(super) const BANDWIDTH: &str = "bandwidth.transfer";
pub(super) const REQUEST: &str = "api.request";
pub(super) const GATEWAY: &str = "edge-gateway";
pub(super) const COMPUTE: &str = "compute.usage";

/// All usage of the month.
pub(super) struct Streams {
    /// What arrives in time.
    pub(super) prompt: Vec<Usage>,
    /// What arrives at the very end.
    pub(super) late: Vec<Usage>,
}

/// A run of usage of one customer.
struct Stream {
    customer: &'static Customer,
    /// Unique per customer; part of the events' ids and the seed of its random numbers.
    name: &'static str,
    days: (Date, Date),
    rhythm: &'static Rhythm,
    count: u64,
}

impl Stream {
    fn new(customer: &'static Customer, name: &'static str, rhythm: &'static Rhythm) -> Self {
        Self { customer, name, days: MONTH, rhythm, count: 0 }
    }

    fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    fn days(self, days: (Date, Date)) -> Self {
        Self { days, ..self }
    }

    fn random(&self) -> Random {
        Random::named(&format!("{}/{}", self.customer.id, self.name))
    }

    fn zone(&self) -> Outcome<Zone> {
        Ok(self.customer.zone.parse()?)
    }

    fn id(&self, number: usize) -> String {
        format!("{}-{}-{number:05}", self.customer.id, self.name)
    }

    fn event(
        &self,
        source: &'static str,
        event_type: &'static str,
        number: usize,
        time: Timestamp,
    ) -> Usage {
        Usage::new(self.id(number), source, self.customer.id, event_type, time)
    }

    /// Draws the instants and makes the events `fill` completes.
    fn make(
        &self,
        source: &'static str,
        event_type: &'static str,
        mut fill: impl FnMut(Usage, &mut Random) -> Outcome<Usage>,
    ) -> Outcome<Vec<Usage>> {
        let mut random = self.random();
        let calendar = Calendar::of(&self.zone()?, self.days, self.rhythm)?;
        let instants = calendar.draw(self.count, &mut random)?;
        (1..)
            .zip(instants)
            .map(|(n, time)| fill(self.event(source, event_type, n, time), &mut random))
            .collect()
    }
}

/// Every stream of the month.
pub(super) fn all() -> Outcome<Streams> {
    let from = |day| (date(2026, 10, day), MONTH.1);
    // An edge node that was cut off for three days and delivers when it is back.
    let cut_off = (date(2026, 10, 2), date(2026, 10, 5));
    let prompt = [
        calls(&Stream::new(&ACME, "call", &OFFICE).count(1150))?,
        samples(&Stream::new(&ACME, "disk", &MACHINE))?,
        transfers(&Stream::new(&ACME, "net", &OFFICE).count(310), 280)?,
        requests(&Stream::new(&NORDLICHT, "req", &OFFICE).count(2600), 12)?,
        levels(&Stream::new(&NORDLICHT, "level", &MACHINE))?,
        transfers(&Stream::new(&NORDLICHT, "net", &MACHINE).count(420), 900)?,
        compute(&Stream::new(&NORDLICHT, "cpu", &MACHINE).count(460))?,
        queries(&Stream::new(&NORDLICHT, "sql", &OFFICE).count(620))?,
        functions(&Stream::new(&NORDLICHT, "fn", &MACHINE).count(560))?,
        tokens(&Stream::new(&NORDLICHT, "bot", &OFFICE).count(90))?,
        requests(&Stream::new(&TIFFIN, "req", &EVENING).count(850), 3)?,
        requests(&Stream::new(&BAYSIDE, "req", &EVENING).days(from(12)).count(1500), 9)?,
        requests(&Stream::new(&KOALA, "req", &EVENING).count(6000), 90)?,
        requests(&Stream::new(&MERIDIAN, "req", &OFFICE).days(from(5)).count(1800), 24)?,
        tokens(&Stream::new(&LEXICA, "gen", &OFFICE).count(760))?,
    ];
    let late = [
        calls(&Stream::new(&ACME, "edge7", &OFFICE).days(cut_off).count(44))?,
        compute(&Stream::new(&NORDLICHT, "edge7", &MACHINE).days(cut_off).count(20))?,
    ];
    Ok(Streams { prompt: prompt.concat(), late: late.concat() })
}

/// Calls counted by a gateway that reports them in batches.
fn calls(stream: &Stream) -> Outcome<Vec<Usage>> {
    stream.make(GATEWAY, API_CALL, |event, random| {
        Ok(event.quantity(random.mostly_small(25, 400), "calls"))
    })
}

/// One reading a day of the gigabytes stored: growing, with a clean-up on the twentieth.
fn samples(stream: &Stream) -> Outcome<Vec<Usage>> {
    let mut random = stream.random();
    let instants = daily(&stream.zone()?, stream.days, &[(0, 5)], 0, &mut random)?;
    let mut thousandths = 96_250;
    let mut events = Vec::new();
    for (n, time) in (1..).zip(instants) {
        thousandths += random.between(400, 2400);
        if n == 20 {
            thousandths -= 18_500;
        }
        let stored = Value::text_of_thousandths(thousandths);
        let event = stream.event("object-store", "storage.sample", n, time);
        events.push(event.quantity(stored, "GB"));
    }
    Ok(events)
}

/// Transfers of up to `megabytes` each, mostly small, mostly outward.
fn transfers(stream: &Stream, megabytes: u64) -> Outcome<Vec<Usage>> {
    stream.make(GATEWAY, BANDWIDTH, |event, random| {
        let bytes = random.mostly_small(1_000_000, megabytes * 1_000_000);
        let direction = random.weighted(&[(7, "egress"), (3, "ingress")], "egress");
        Ok(event.property("bytes", bytes).property("direction", direction))
    })
}

/// Single requests by a number of users, some of whom come far more often than others.
fn requests(stream: &Stream, users: u64) -> Outcome<Vec<Usage>> {
    stream.make(GATEWAY, REQUEST, |event, random| {
        let user = random.mostly_small(1, users);
        Ok(request(event, random).user(format!("u-{user:03}")))
    })
}

/// What one request asked for and what it got.
pub(super) fn request(event: Usage, random: &mut Random) -> Usage {
    let (method, endpoint) = random.weighted(
        &[
            (30, ("GET", "/v1/items")),
            (22, ("GET", "/v1/items/{id}")),
            (18, ("GET", "/v1/search")),
            (14, ("POST", "/v1/items")),
            (9, ("PUT", "/v1/items/{id}")),
            (5, ("POST", "/v1/exports")),
            (2, ("DELETE", "/v1/items/{id}")),
        ],
        ("GET", "/v1/items"),
    );
    let status = random.weighted(&[(92, 200), (4, 404), (2, 422), (1, 429), (1, 503)], 200);
    event
        .property("endpoint", endpoint)
        .property("method", method)
        .property("status", Value::Whole(status))
}

/// The bytes stored from now on, stated three times a day.
fn levels(stream: &Stream) -> Outcome<Vec<Usage>> {
    let mut random = stream.random();
    let times = [(2, 0), (10, 30), (18, 0)];
    let instants = daily(&stream.zone()?, stream.days, &times, 40, &mut random)?;
    let mut bytes: u64 = 52_000_000_000;
    let mut events = Vec::new();
    for (n, time) in (1..).zip(instants) {
        bytes += random.between(20_000_000, 900_000_000);
        if random.below(4) == 0 {
            bytes -= random.between(100_000_000, 1_200_000_000);
        }
        let event = stream.event("object-store", "storage.level", n, time);
        events.push(event.property("bytes", bytes));
    }
    Ok(events)
}

/// Processor seconds of finished jobs, to the millisecond.
fn compute(stream: &Stream) -> Outcome<Vec<Usage>> {
    stream.make("job-runner", COMPUTE, |event, random| {
        let seconds = Value::number_of_thousandths(random.mostly_small(2_000, 280_000))?;
        Ok(event.property("cpu_seconds", seconds))
    })
}

/// Queries, reported by the minute.
fn queries(stream: &Stream) -> Outcome<Vec<Usage>> {
    stream.make("database-proxy", "database.query", |event, random| {
        Ok(event.quantity(random.between(12, 140), "queries"))
    })
}

/// Invocations of functions, reported by the minute.
fn functions(stream: &Stream) -> Outcome<Vec<Usage>> {
    stream.make("function-runtime", "function.invocation", |event, random| {
        let function = random.weighted(
            &[(5, "resize-label"), (3, "route-plan"), (1, "send-receipt")],
            "resize-label",
        );
        Ok(event.quantity(random.between(4, 28), "invocations").property("function", function))
    })
}

/// Conversations with a model: each one event for what went in and one for what came out.
fn tokens(stream: &Stream) -> Outcome<Vec<Usage>> {
    let mut outputs = Vec::new();
    let mut events = stream.make("llm-router", "llm.tokens", |event, random| {
        let model = random.weighted(&[(3, "quill-small"), (1, "quill-large")], "quill-small");
        let direction = |mut event: Usage, suffix: &str, tokens, name: &str| {
            event.id.push_str(suffix);
            event.quantity(tokens, "tokens").property("direction", name).property("model", model)
        };
        let (given, made) = (random.between(600, 9000), random.mostly_small(80, 2400));
        outputs.push(direction(event.clone(), "-out", made, "output"));
        Ok(direction(event, "-in", given, "input"))
    })?;
    events.append(&mut outputs);
    Ok(events)
}
