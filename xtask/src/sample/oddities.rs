//! What makes a month of usage real: retries, a producer that reuses an id, corrections, strays
//! and stragglers, woven into the order in which the events arrive.

use std::fmt;

use counterfoil_types::Timestamp;

use super::{
    customers::{ACME, NORDLICHT},
    event::{Usage, Value},
    random::Random,
    streams::{self, API_CALL, BANDWIDTH, GATEWAY, REQUEST, Streams},
};
use crate::Outcome;

const DUPLICATES: usize = 40;
const CONFLICTS: usize = 2;

/// How many lines of each odd kind there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) duplicates: usize,
    pub(super) conflicts: usize,
    pub(super) reversals: usize,
    pub(super) amendments: usize,
    pub(super) late: usize,
    pub(super) unknown_customer: usize,
    pub(super) unknown_type: usize,
    pub(super) without_value: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} duplicates, {} conflicts, {} reversal, {} amendment, {} late, \
             {} of an unknown customer, {} of an unknown type, {} without its value",
            self.duplicates,
            self.conflicts,
            self.reversals,
            self.amendments,
            self.late,
            self.unknown_customer,
            self.unknown_type,
            self.without_value
        )
    }
}

/// All lines in the order of the file, and how many odd ones stand among them.
pub(super) fn weave(streams: Streams) -> Outcome<(Vec<Usage>, Counts)> {
    let mut counts = Counts::default();
    let mut events = streams.prompt;
    corrections(&mut events, &mut counts)?;
    strays(&mut events, &mut counts)?;
    events.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    let mut lines = repeated(events, &mut counts)?;
    counts.late = streams.late.len();
    lines.extend(streams.late);
    Ok((lines, counts))
}

/// A batch that was counted twice is taken back, and a wrong counter is set right. Each
/// correction names its target and is sent a few hours after it.
fn corrections(events: &mut Vec<Usage>, counts: &mut Counts) -> Outcome<()> {
    let named = |number: usize, event_type: &str| {
        events
            .iter()
            .filter(|event| event.customer == ACME.id && event.event_type == event_type)
            .nth(number)
            .cloned()
            .ok_or_else(|| format!("the sample holds no {event_type} event number {number}"))
    };
    let correction = |target: &Usage, id: &str, hours: i64| {
        let time = target.time.plus_micros(hours * counterfoil_types::timestamp::HOUR_MICROS);
        Usage::new(id.to_owned(), target.source, target.customer, target.event_type, time)
    };

    let counted_twice = named(400, API_CALL)?;
    let mut reversal = correction(&counted_twice, "acme-maps-call-undo-1", 5);
    reversal.reverses = Some(counted_twice.id);

    let misread = named(120, BANDWIDTH)?;
    let mut amendment = correction(&misread, "acme-maps-net-fix-1", 26)
        .property("bytes", 7_340_032)
        .property("direction", "egress");
    amendment.amends = Some(misread.id);

    events.extend([reversal, amendment]);
    counts.reversals = 1;
    counts.amendments = 1;
    Ok(())
}

/// Events that are kept but cannot be billed.
fn strays(events: &mut Vec<Usage>, counts: &mut Counts) -> Outcome<()> {
    let at = |text: &str| -> Outcome<Timestamp> { Ok(text.parse()?) };
    let mut random = Random::named("strays");
    let stranger = Usage::new(
        "ghost-works-req-00001".to_owned(),
        GATEWAY,
        "ghost-works",
        REQUEST,
        at("2026-10-13T09:41:07Z")?,
    );
    events.push(streams::request(stranger, &mut random).user("u-001".to_owned()));
    counts.unknown_customer = 1;

    for (number, time) in [(1, "2026-10-14T11:20:00Z"), (2, "2026-10-21T15:05:30Z")] {
        let id = format!("nordlicht-gpu-{number:05}");
        let lease = Usage::new(id, "job-runner", NORDLICHT.id, "gpu.lease", at(time)?);
        events.push(lease.quantity(Value::text_of_thousandths(1_250 * number), "hours"));
        counts.unknown_type += 1;
    }

    let id = "acme-maps-net-stray-1".to_owned();
    let empty = Usage::new(id, GATEWAY, ACME.id, BANDWIDTH, at("2026-10-16T18:03:44Z")?);
    events.push(empty.property("direction", "egress"));
    counts.without_value = 1;
    Ok(())
}

/// Repeats some lines further down, as producers do that did not hear the answer, and two of
/// them with another quantity, as producers do that are wrong.
fn repeated(events: Vec<Usage>, counts: &mut Counts) -> Outcome<Vec<Usage>> {
    let mut random = Random::named("repeats");
    // (line after which it stands, event); the originals come first among equals.
    let mut placed: Vec<(usize, Usage)> = events.into_iter().enumerate().collect();
    let originals = placed.len();
    let mut taken = std::collections::BTreeSet::new();
    let mut repeats = Vec::new();
    while counts.duplicates + counts.conflicts < DUPLICATES + CONFLICTS {
        let index = random.index(originals - 1);
        let gap = 3 + random.index(600);
        let (_, event) = placed.get(index).ok_or("no such line")?;
        let for_conflict = counts.conflicts < CONFLICTS;
        let corrects = event.reverses.is_some() || event.amends.is_some();
        if corrects || (for_conflict && event.event_type != API_CALL) || !taken.insert(index) {
            continue;
        }
        let mut event = event.clone();
        if for_conflict {
            event = event.quantity(401 + random.below(100), "calls");
            counts.conflicts += 1;
        } else {
            counts.duplicates += 1;
        }
        repeats.push(((index + gap).min(originals - 1), event));
    }
    placed.extend(repeats);
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, event)| event).collect())
}
